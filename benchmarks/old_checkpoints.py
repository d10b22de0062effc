"""Does what people saved still work? Checkpoints, configs and import paths of one version, tested with another.

    PYTHONPATH=OLD python benchmarks/old_checkpoints.py make DIR      train, with the old version
    PYTHONPATH=NEW python benchmarks/old_checkpoints.py check DIR     load, run, test and resume, with the new one
    PYTHONPATH=OLD python benchmarks/old_checkpoints.py names FILE    list class paths, arguments and public names

OLD and NEW are checkouts. This file runs with both, so it only uses what every version has: the command,
`load_task`, and torch. Everything runs on the CPU, on one thread, so that results are equal to the last bit; `check`
ends with exit code 1 and one line per failure.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pcpad

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One checkpoint: its recipe, its sample data, and its task's inputs."""

    recipe: str
    sample: str
    inputs: Callable[[], Inputs]
    options: tuple[str, ...] = ()


def _bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def _maps() -> Inputs:
    label = torch.randint(35, (2, 1, 64, 128))
    return {"label": label, "instance": 1000 * label + torch.randint(2, label.shape)}


def _digits() -> Inputs:
    return {"image": _bytes(3, 3, 64, 64)}


def _street() -> Inputs:
    return {"image": _bytes(1, 3, 96, 128)}


_LITTLE = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.check_val_every_n_epoch=1")
_DEEPLAB = ("--model.architecture=deeplabv3plus", "--model.encoder=resnet18", "--data.batch_size=2")
_SMALL_STREETS = ("--data.crop_size=64", "--data.effective_batch=null")
# Callbacks and loggers are also named in a config by their class paths.
_WRITTEN_OUT = (
    "--trainer.callbacks+=pcpad.tasks.callbacks.SampleImages",
    "--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor",
)
CASES = {
    "classification": Case("cls_digits", "digits", _digits),
    "explicit": Case("cls_digits", "digits", _digits, ("--model.padding=explicit",)),
    "segmentation": Case("seg_demo", "cityscapes", _street, (*_DEEPLAB, *_SMALL_STREETS)),
    "smp": Case("seg_demo", "cityscapes", _street, ("--data.batch_size=2", *_SMALL_STREETS, *_WRITTEN_OUT)),
    "action_recognition": Case("act_demo", "kinetics", lambda: {"clip": _bytes(2, 3, 8, 48, 48)}),
    "inpainting": Case(
        "inp_demo",
        "photos",
        lambda: {"image": _bytes(2, 3, 64, 64), "mask": torch.rand(2, 1, 64, 64).gt(0.3).float()},
        ("--data.image_size=64",),
    ),
    "synthesis": Case("syn_demo", "cityscapes", _maps),
    "gaussian_filtering": Case("gauss_small", "photos", lambda: {"image": _bytes(2, 3, 50, 61)}),
}
SAMPLES = {"digits": "digits", "cityscapes": "streets", "kinetics": "motion", "photos": "photos"}
# Configs of tests are saved as well, with the evaluators asked for.
EVALUATED = ("--eval+=Tile", "--eval.size=64", "--eval+=pcpad.tasks.evaluators.Border", "--eval+=Regular")


def command(*args: str) -> str:
    """Run `pcpad` in this process, silently.

    Raises:
        RuntimeError: It failed; with its output.
    """
    from pcpad.cli import main

    said = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(args))
        except SystemExit as stop:
            code = stop.code
    if code not in (None, 0):
        message = f"`pcpad {' '.join(args)}` ended with {code}: …{said.getvalue()[-2000:]}"
        raise RuntimeError(message)
    return said.getvalue()


def run(verb: str, folder: Path, *args: str) -> Path:
    """Run a trainer's verb on the CPU; returns the folder that it wrote to."""
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
    command(verb, *args, "--trainer.accelerator=cpu", f"--trainer.default_root_dir={folder}", *quiet)
    return next(folder.glob("*/version_0"))


def train(case: Case, folder: Path) -> Path:
    """Train two steps with the recipe."""
    ends = ("--trainer.max_steps=-1", "--trainer.max_epochs=1", "--data.num_workers=0")
    return run("fit", folder, "--config", f"{case.recipe}.yaml", *_LITTLE, *ends, *case.options)


def resume(folder: Path, into: Path) -> Path:
    """Train two more steps from a checkpoint, with the config saved next to it."""
    from_there = ("--config", str(folder / "config.yaml"), "--ckpt_path", str(folder / "last.ckpt"))
    return run("fit", into, *from_there, "--trainer.max_epochs=2")


def test(name: str, folder: Path, into: Path) -> Path:
    """Test a checkpoint with the settings that it keeps."""
    options = EVALUATED if name == "smp" else ()
    return run("test", into, "--ckpt_path", str(folder / "last.ckpt"), "--trainer.limit_test_batches=1", *options)


def outputs(case: Case, checkpoint: Path) -> dict[str, Any]:
    """The loaded task's outputs for seeded inputs, and its settings."""
    from pcpad.commands.loading import load_task

    task: Any = load_task(checkpoint)
    torch.manual_seed(0)
    inputs = case.inputs()
    with torch.no_grad():
        output = task(**inputs)
    return {**inputs, "output": output, "trained_with": task.trained_with, "padding": task.padding}


def metrics(folder: Path, verb: str) -> dict[str, float]:
    """The metrics of a run's `results.json`."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))[verb]["metrics"]


def make() -> None:
    """Write samples, train, and save the results, all in the current folder."""
    for sample, name in SAMPLES.items():
        command("sample", sample, f"data/{name}")
    for name, case in CASES.items():
        folder = Path(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with tempfile.TemporaryDirectory() as temporary:
            written = train(case, Path(temporary, "fit"))
            shutil.copy(written / "checkpoints" / "last.ckpt", folder / "last.ckpt")
            shutil.copy(written / "config.yaml", folder / "config.yaml")
            tested = test(name, folder, Path(temporary, "test"))
            shutil.copy(tested / "config.yaml", folder / "test_config.yaml")
            resumed = resume(folder, Path(temporary, "resumed"))
            seen = {
                "loaded": outputs(case, folder / "last.ckpt"),
                "resumed": outputs(case, resumed / "checkpoints" / "last.ckpt"),
                "tested": metrics(tested, "test"),
            }
        torch.save(seen, folder / "seen.pt")
        print(f"{name}: made, |output| {seen['loaded']['output'].abs().mean():.4f}", flush=True)


def check() -> int:
    """Check everything in the current folder.

    Returns:
        The number of failures printed.
    """
    failures = 0
    for name, case in CASES.items():
        for what, problem in _problems(name, case, Path(name)):
            failures += problem is not None
            print(f"{'FAILED' if problem else 'ok    '} {name}: {what}{f': {problem}' if problem else ''}", flush=True)
    print(f"{failures} failures")
    return failures


def _problems(name: str, case: Case, folder: Path) -> Iterator[tuple[str, str | None]]:
    seen = torch.load(folder / "seen.pt", weights_only=True)
    with tempfile.TemporaryDirectory() as temporary:

        def resumed() -> Any:
            return outputs(case, resume(folder, Path(temporary, "resumed")) / "checkpoints" / "last.ckpt")

        def parsed(verb: str, config: str) -> Any:
            return "class_path" in command(verb, "--config", str(folder / config), "--print_config")

        tries: dict[str, tuple[Callable[[], Any], Any]] = {
            "fit --config config.yaml": (lambda: parsed("fit", "config.yaml"), True),
            "test --config test_config.yaml": (lambda: parsed("test", "test_config.yaml"), True),
            "load_task and its outputs": (lambda: outputs(case, folder / "last.ckpt"), seen["loaded"]),
            "test --ckpt_path": (lambda: metrics(test(name, folder, Path(temporary, "test")), "test"), seen["tested"]),
            "fit --ckpt_path, trained on": (resumed, seen["resumed"]),
        }
        for what, (attempt, expected) in tries.items():
            try:
                got = attempt()
            except Exception as error:
                yield what, f"{type(error).__name__}: {error}"
            else:
                yield what, _difference(expected, got)


def _difference(expected: Any, got: Any) -> str | None:
    """None if both are equal to the last bit, else the difference."""
    if isinstance(expected, dict) and isinstance(got, dict):
        lacking = sorted(set(expected) ^ set(got))
        parts = [f"{key}: {_difference(expected[key], got[key])}" for key in expected if key in got]
        parts = [*(part for part in parts if not part.endswith(": None")), *(f"{key} in one alone" for key in lacking)]
        return "; ".join(parts) or None
    if isinstance(expected, Tensor) and isinstance(got, Tensor):
        if expected.shape != got.shape or expected.dtype != got.dtype:
            return f"{tuple(expected.shape)} {expected.dtype} has become {tuple(got.shape)} {got.dtype}"
        if torch.equal(expected, got):
            return None
        return f"differs by up to {(expected.double() - got.double()).abs().max():.3g}"
    return None if expected == got else f"{expected!r} has become {got!r}"


def names() -> dict[str, Any]:
    """Every name of this version that a checkpoint, a config or someone's program can contain.

    Returns:
        `classes`: the import paths of each class that can be given as a class path, its own and its packages', with the
        names of its arguments; `short_names`: those that the command knows without a path; `modules`: every
        module's public names, from `__all__` if it has one, else those defined in it.
    """
    importlib.import_module("pcpad.commands.run")
    short = sorted({kind.__name__ for kind in _kinds()})
    modules = sorted(_import_all("pcpad"))
    classes: dict[str, list[str]] = {}
    for kind in _kinds():
        arguments = [name for name in inspect.signature(kind).parameters]
        for package in _packages(kind.__module__):
            if getattr(sys.modules[package], kind.__name__, None) is kind:
                classes[f"{package}.{kind.__name__}"] = arguments
    public = {module: _public_names(Path(str(sys.modules[module].__file__))) for module in modules}
    return {"classes": dict(sorted(classes.items())), "short_names": short, "modules": public}


def _import_all(package: str) -> Iterator[str]:
    yield package
    for info in pkgutil.iter_modules(getattr(importlib.import_module(package), "__path__", []), f"{package}."):
        # In a checkout the suite's folders lie next to others, which `pcpad.__path__` reaches too.
        if info.name not in ("pcpad.pcpad", "pcpad.benchmarks"):
            yield from _import_all(info.name)


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _kinds() -> set[type]:
    """The public classes of pcpad, as far as imported, that a class path can name."""
    from lightning.pytorch import Callback, LightningDataModule, LightningModule
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.plugins import Precision
    from lightning.pytorch.profilers import Profiler
    from lightning.pytorch.strategies import Strategy
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    bases: list[type] = [Callback, LightningDataModule, LightningModule, Logger, Precision, Profiler, Strategy]
    bases += [Optimizer, LRScheduler, importlib.import_module("pcpad.tasks.evaluators").Evaluator]
    found: set[type] = set()
    while bases:
        base = bases.pop()
        if base not in found:
            found.add(base)
            bases += base.__subclasses__()
    own = {kind for kind in found if kind.__module__.partition(".")[0] == "pcpad"}
    return {kind for kind in own if not kind.__name__.startswith("_") and "<locals>" not in kind.__qualname__}


def _public_names(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            defined.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = [target.id for target in targets if isinstance(target, ast.Name)]
            if assigned == ["__all__"] and node.value is not None:
                return sorted(ast.literal_eval(node.value))
            defined += assigned
    return sorted({name for name in defined if not name.startswith("_")})


def _one_line_each(found: dict[str, dict[str, list[str]] | list[str]]) -> str:
    """JSON in which a change of one class or module is a change of one line."""
    parts = []
    for title, entries in found.items():
        if isinstance(entries, dict):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
            parts.append(f" {json.dumps(title)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(title)}: {json.dumps(entries)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["make", "check", "names"])
    parser.add_argument("target", type=Path, metavar="DIR|FILE")
    given = parser.parse_args()
    print(f"pcpad of {Path(pcpad.__file__).parent}", file=sys.stderr)
    if given.command == "names":
        given.target.write_text(_one_line_each(names()), encoding="utf-8")
        return
    torch.set_num_threads(1)
    given.target.mkdir(parents=True, exist_ok=True)
    os.chdir(given.target)  # the recipes' `data/…` is relative to it
    if given.command == "make":
        make()
    else:
        raise SystemExit(check() > 0)


if __name__ == "__main__":
    main()
