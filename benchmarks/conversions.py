"""timm's whole list under `convert_padding`: how many padded convolutions are converted, which are left, and why.

Networks are built and run on the device "meta", where only sizes are computed. After the conversion to `partial` the
operators of a forward pass are checked, below the layers: no convolution may pad with zeros, and none may get an
input that `constant_pad_nd` made, unless it is one of this package's layers or in the report.

`python benchmarks/conversions.py [--filter "resnet*"] [--minutes 30] [--json FILE]`; networks that are already in FILE
are skipped.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter, defaultdict
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from pcpad import convert_padding
from pcpad._other_layers import Guarded

_aten = torch.ops.aten
_SAME_VALUES = (_aten.clone.default, _aten._to_copy.default, _aten.detach.default, _aten.view.default)
_SMALL = (
    "test_", "atto", "femto", "pico", "xxs", "xx_small", "zepto", "nano", "_t0", "_xs", "x_small", "tiny", "_s0", "_m0",
    "_n_", "_b0", "mini", "small", "_002", "18", "11_", "_a0", "26", "_s_", "_t_", "34", "50", "_l_", "base", "_b_",
)  # fmt: skip


class ZeroPadded(TorchDispatchMode):
    """The modules in which a convolution, or an input unfolded for one, is padded with zeros, by name.

    Args:
        model: Watched in forward passes within the context.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.found, self.stack = model, set[str](), [("", model)]
        self.padded: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self.handles: list[Any] = []

    def __enter__(self) -> "ZeroPadded":
        """Follow which module is running."""
        for name, module in self.model.named_modules():
            self.handles.append(module.register_forward_pre_hook(lambda m, _, name=name: self.stack.append((name, m))))
            self.handles.append(module.register_forward_hook(lambda *_: (self.stack.pop(), None)[1]))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        """Remove the hooks from the network."""
        super().__exit__(*error)
        for handle in self.handles:
            handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note convolutions that pad, and tensors with zeros around them."""
        output = func(*args, **(kwargs or {}))
        if any(isinstance(module, Guarded) for _, module in self.stack):
            return output
        name = self.stack[-1][0]
        if func is _aten.convolution.default and not args[6] and (any(args[4]) or args[0] in self.padded):
            self.found.add(name)
            self.found.update(self.padded.get(args[0], ()))
        elif func is _aten.im2col.default and any(args[3]):
            self.found.add(name)
        elif func is _aten.constant_pad_nd.default and any(args[1]) and (len(args) < 3 or args[2] == 0):
            self.padded[output] = (name,)
        elif func in _SAME_VALUES and args[0] in self.padded:
            self.padded[output] = self.padded[args[0]]
        return output


def unlisted(model: nn.Module, kept: set[str], example: Tensor) -> list[str]:
    """Modules that pad a convolution's input with zeros, and that no report names.

    Args:
        model: The converted network.
        kept: The names that the report lists as left with their own padding.
        example: What the network takes.

    Returns:
        Their names.
    """
    watch = ZeroPadded(model)
    with watch, torch.no_grad():
        model(example)
    return sorted(name for name in watch.found if name not in kept and (name or "(root)") not in kept)


def one(name: str) -> dict[str, Any]:
    """Convert a network of timm to `partial`, and check what its forward pass does.

    Args:
        name: One of `timm.list_models()`.

    Returns:
        The counts; the reasons with theirs; the modules that no report names, or the error if it does not run.
    """
    import timm

    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False).eval()
        size = model.pretrained_cfg.get("input_size") or (3, 224, 224)
        example = torch.empty(1, *size)
    plain = sum(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())
    _, report = convert_padding(model, "partial", return_report=True)
    row: dict[str, Any] = {
        "name": name, "convolutions": plain, "converted": len(report.converted), "left": len(report.kept),
        "reasons": dict(Counter(f"{row.kind}: {row.why}" for row in report.kept)), "share": 0.0, "unlisted": [],
        "error": "",
    }  # fmt: skip
    try:
        row["unlisted"] = unlisted(model, {kept.name for kept in report.kept}, example)
        if report.kept:
            with torch.device("meta"):
                fresh = timm.create_model(name, pretrained=False).eval()
            _, report = convert_padding(fresh, "partial", example=example, return_report=True)
            row["share"] = report.share(report.kept)
    except Exception as error:  # of any kind: some networks need more than one tensor, or compute on values
        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
    return row


def names(pattern: str) -> list[str]:
    """Timm's networks, one of each family first, then the next of each.

    Args:
        pattern: As `timm.list_models` takes it.
    """
    import timm
    from timm.models import model_entrypoint

    families = defaultdict(list)
    for name in timm.list_models(pattern):
        family = model_entrypoint(name).__module__
        if family.startswith("timm."):  # others may be registered too
            families[family].append(name)
    ranked = (sorted(part, key=_size_by_name) for part in families.values())
    return [name for name in chain(*zip_longest(*ranked)) if name]


def _size_by_name(name: str) -> int:
    """The first of these words in a name: networks that are called small are cheap to check."""
    found = (rank for rank, word in enumerate(_SMALL) if word in f"{name}_")
    return next(found, len(_SMALL))


def table(rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A row for each family, and one for all.

    Args:
        rows: Of `one`.
    """
    from timm.models import model_entrypoint

    families = defaultdict(list)
    for row in rows:
        families[model_entrypoint(row["name"]).__module__.removeprefix("timm.models.")].append(row)
    lines = []
    for family, part in [*sorted(families.items()), ("all", rows)]:
        if not any(row["converted"] or row["left"] for row in part):
            continue
        reasons: Counter[str] = Counter()
        for row in part:
            reasons.update(row["reasons"] if family != "all" else {})
        lines.append({
            "family": family, "networks": len(part),
            "with padded convolutions": sum(bool(row["converted"] or row["left"]) for row in part),
            "converted": sum(row["converted"] for row in part), "left": sum(row["left"] for row in part),
            "largest share of multiply-adds left": f"{max(row['share'] for row in part):.1%}",
            "unlisted": sum(len(row["unlisted"]) for row in part),
            "not run": sum(bool(row["error"]) for row in part),
            "why left": "; ".join(f"{count} {reason}" for reason, count in reasons.most_common()),
        })  # fmt: skip
    return lines


def main() -> None:
    """Convert, watch, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="", help="names, as `timm.list_models` takes them")
    parser.add_argument("--minutes", type=float, help="stop after this time; one network per family comes first")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    file = Path(arguments.json) if arguments.json else None
    known = {row["name"]: row for row in json.loads(file.read_text())["rows"]} if file and file.is_file() else {}
    chosen, start, rows = names(arguments.filter), time.monotonic(), []
    for name in chosen:
        if name not in known:
            if arguments.minutes and time.monotonic() - start > 60 * arguments.minutes:
                continue
            known[name] = one(name)
            print(f"{len(known)} of {len(chosen)} {name} {known[name]}", file=sys.stderr, flush=True)
            common.save(list(known.values()), arguments.json)
        rows.append(known[name])
    print(f"{len(rows)} of {len(chosen)} networks of timm\n")
    common.show(table(rows))


if __name__ == "__main__":
    main()
