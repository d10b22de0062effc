"""Change the padding of a network's convolutions, in place."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, overload

import torch
from torch import nn
from torch.nn.utils import parametrize

from pcpad import layers
from pcpad._other_layers import Guarded, lost_under, pads, watch_calls
from pcpad._own_padding import padding_of_its_own
from pcpad.errors import UserValueError
from pcpad.paddings import check_padding, pad_function

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConversionReport", "convert_padding", "watch_conversions"]

Model = TypeVar("Model", bound=nn.Module)

_PLAIN: dict[type, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_PARTIAL: dict[type, int] = {layers.PartialConv1d: 1, layers.PartialConv2d: 2, layers.PartialConv3d: 3}
_PADDED: dict[type, int] = {layers.PaddedConv1d: 1, layers.PaddedConv2d: 2, layers.PaddedConv3d: 3}
_EXPLICIT: dict[type, int] = {layers.ExplicitPadConv2d: 2}
_DIMS = {**_PLAIN, **_PARTIAL, **_PADDED, **_EXPLICIT}
_EXTRAS = ("return_mask", "fallback", "layer_name", "exponent")  # attributes that plain convolutions do not have
# Reasons for which it does not matter that a module is left.
_NO_PADDING = "no padding"
_CROPS = "a transposed convolution's padding crops its output"
_POOLS = "average pooling"
_watching: ContextVar[list[ConversionReport] | None] = ContextVar("watching", default=None)


class Row(NamedTuple):
    """One module of a report: where it is, its class, what it was, what it is now, and why."""

    name: str
    kind: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did: rows for the modules it converted and those it left, each with the reason.

    Args:
        converted: What has the padding that was asked for.
        left: What was left as it is.
        padding: What was asked for.
    """

    converted: tuple[Row, ...]
    left: tuple[Row, ...]
    padding: str = ""

    @property
    def kept(self) -> tuple[Row, ...]:
        """Those of `left` that go on padding in another way than was asked for, as far as is known."""
        other = [row for row in self.left if row.why not in (_NO_PADDING, _CROPS) and not row.why.startswith(_POOLS)]
        # What pads by itself, in a way that is not known, most likely pads with zeros.
        alike = {self.padding, "-"} if self.padding == "zeros" else {self.padding}
        return tuple(row for row in other if row.before not in alike)

    def said(self) -> str:
        """What a user has to know, in a sentence; nothing where all that pads was converted."""
        if not self.kept:
            nothing = not self.converted and self.padding != "zeros"
            return f"Nothing was converted to {self.padding!r}: no convolution pads" if nothing else ""
        names: dict[str, list[str]] = {}
        for row in self.kept:
            names.setdefault(f"{row.kind} ({row.why})", []).append(row.name)
        parts = [f"{len(group)} of {what}: {_some(group, 2)}" for what, group in names.items()]
        done = f"{len(self.converted)} modules were" if self.converted else "Nothing was"
        left = "1 keeps its" if len(self.kept) == 1 else f"{len(self.kept)} keep their"
        return f"{done} converted to {self.padding!r}; {left} own padding: {'; '.join(parts)}"

    def __str__(self) -> str:
        lines = [f"{len(self.converted)} modules converted, {len(self.left)} left as they are"]
        for row in (*self.converted, *self.left):
            change = f"{row.before} -> {row.after}" if row.before != row.after else row.before
            lines.append(f"  {row.name}  {row.kind}  {change}{'  (' + row.why + ')' if row.why else ''}")
        return "\n".join(lines)


@overload
def convert_padding(
    model: Model,
    padding: str = ...,
    *,
    fallback: str | None = ...,
    count_include_pad: bool | None = ...,
    drop_border_filters: bool = ...,
    return_report: Literal[False] = ...,
) -> Model: ...


@overload
def convert_padding(
    model: Model,
    padding: str = ...,
    *,
    fallback: str | None = ...,
    count_include_pad: bool | None = ...,
    drop_border_filters: bool = ...,
    return_report: Literal[True],
) -> tuple[Model, ConversionReport]: ...


def convert_padding(
    model: Model,
    padding: str = "partial",
    *,
    fallback: str | None = None,
    count_include_pad: bool | None = None,
    drop_border_filters: bool = False,
    return_report: bool = False,
) -> Model | tuple[Model, ConversionReport]:
    """Give the padded convolutions of a network another padding, in place.

    Weights, state-dict keys, hooks, shared modules, parametrizations, dtype and device stay as they are, and a
    network can be converted back and forth: its own weights stay the same under every padding. Only `explicit` adds
    parameters (eight border filters a convolution, at first copies of its filter; hand them to the optimizer
    after converting).

    Converted are `nn.Conv1d/2d/3d` and this package's layers, by their current attributes, so convert after a
    network has been dilated. Subclasses and other modules that pad, or whose code does so by `F.pad`, are left alone:
    one warning says which, or the report.

    Args:
        model: Any module, a single convolution included.
        padding: One of `pcpad.padding_names`, yours included (`pcpad.register_padding`).
        fallback: The padding for axes that are too small for that one, `"replicate"` say: `reflect` needs more
            than the padding, `circular` as much.
        count_include_pad: Also set this on average pooling that pads; False is its partial padding. None leaves
            pooling alone.
        drop_border_filters: Allow leaving `explicit`, which deletes trained border filters.
        return_report: Also return a `ConversionReport`, in place of the warning.

    Returns:
        The model, or the model and the report.

    Raises:
        ValueError: For an unknown padding; if border filters would be lost; for `explicit` on a 1D or 3D
            convolution. Nothing has been changed then.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> print(convert_padding(network, "partial", return_report=True)[1])
        1 modules converted, 1 left as they are
          0  PartialConv2d  zeros -> partial
          2  Conv2d  zeros  (no padding)
    """
    check_padding(padding)
    if fallback is not None:
        pad_function(fallback)
    changes, left, wrapped = [], [], _wrapped(model, padding)
    for name, module in model.named_modules():
        reason = _why_left(module, padding, count_include_pad)
        if reason is None and module in wrapped:
            reason = wrapped[module]
        if reason is None and isinstance(module, nn.modules.conv._ConvNd):
            changes.append((name or "(root)", module))
        elif reason:
            current = _padding_of(module) or "-"
            left.append(Row(name or "(root)", type(module).__name__, current, current, reason))
    _check(changes, padding, drop_border_filters)
    converted = [_convert(name, module, padding, fallback) for name, module in changes]
    _watch_wrappers(model)
    if count_include_pad is not None:
        converted += _convert_pools(model, count_include_pad)
    report = ConversionReport(tuple(converted), tuple(left), padding)
    watched = _watching.get()
    if watched is not None:
        watched.append(report)
    elif not return_report and report.said():
        warnings.warn(f"{report.said()}. `convert_padding(…, return_report=True)` lists all.", stacklevel=2)
    return (model, report) if return_report else model


@contextmanager
def watch_conversions() -> Iterator[list[ConversionReport]]:
    """Collect the reports of all conversions within, which then warn of nothing.

    Yields:
        A list that grows by a report at each `convert_padding`.

    Example:
        >>> with watch_conversions() as reports:
        ...     _ = convert_padding(nn.Conv2d(3, 8, 1), "partial")
        >>> reports[0].said()
        "Nothing was converted to 'partial': no convolution pads"
    """
    reports: list[ConversionReport] = []
    before = _watching.set(reports)
    try:
        yield reports
    finally:
        _watching.reset(before)


def _base(module: nn.Module) -> type:
    """The module's class, behind the one that a parametrization puts in front."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def _padding_of(module: nn.Module) -> str | None:
    base = _base(module)
    if base in _PARTIAL:
        return "partial"
    if base is layers.ExplicitPadConv2d:
        return "explicit"
    if any(kind.__name__ == "PanopticPartialConv2d" for kind in base.__mro__):
        return "partial"
    for kind, mode in _PAD_MODULES.items():
        if isinstance(module, kind):
            return mode if getattr(module, "value", 0) == 0 else "constant"
    return getattr(module, "padding_mode", None)


def _why_left(module: nn.Module, padding: str, count_include_pad: bool | None) -> str | None:
    """Why a module that could matter is left alone; None for one to convert, "" for one that does not matter."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript: convert before scripting"
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return _CROPS
    if isinstance(module, nn.modules.conv._ConvNd):
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            return "not initialised yet: run it once first"
        if _base(module) not in _DIMS:
            if max(module.kernel_size) == 1 and not pads(module):
                return _NO_PADDING
            return "a convolution of its own kind, not exactly torch.nn's"
        if getattr(module, "return_mask", False) and padding != "partial":
            return "it returns masks, which only partial convolution has"
        return None if pads(module) else _NO_PADDING
    if _pool_pads(module) and count_include_pad is None:
        return f"{_POOLS} with count_include_pad={module.count_include_pad}: ask for a change by name"
    if isinstance(module, tuple(_PAD_MODULES)) or (isinstance(module, nn.Unfold) and _unfold_pads(module)):
        return "pads outside of a convolution"
    return padding_of_its_own(module) or ""


def _wrapped(model: nn.Module, padding: str) -> dict[nn.Module, str]:
    """The convolutions whose new padding would be lost under the module that wraps them, and why."""
    found = {}
    for wrapper in model.modules() if padding != "zeros" else ():
        for name, layer in wrapper._modules.items():
            # The convolutions that an adapter has made are converted with the layer, whatever their class.
            reason = isinstance(layer, nn.modules.conv._ConvNd) and lost_under(wrapper, name, padding, made=False)
            if layer is not None and reason:
                found[layer] = reason
    return found


def _watch_wrappers(model: nn.Module) -> None:
    for wrapper in model.modules():
        for name, layer in wrapper._modules.items():
            if isinstance(layer, Guarded):
                watch_calls(wrapper, name)


_PAD_MODULES: dict[type, str] = {
    nn.modules.padding._ConstantPadNd: "zeros",
    nn.modules.padding._ReflectionPadNd: "reflect",
    nn.modules.padding._ReplicationPadNd: "replicate",
    nn.modules.padding._CircularPadNd: "circular",
}


def _unfold_pads(module: nn.Unfold) -> bool:
    return any(module.padding if isinstance(module.padding, tuple) else (module.padding,))


def _pool_pads(module: nn.Module) -> bool:
    if not isinstance(module, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
        return False
    return any(module.padding if isinstance(module.padding, tuple) else (module.padding,))


def _check(changes: list[tuple[str, nn.modules.conv._ConvNd]], padding: str, drop_border_filters: bool) -> None:
    """Refuse what cannot be done before anything is."""
    if padding == "explicit":
        other = [name for name, module in changes if _DIMS[_base(module)] != 2]
        if other:
            message = (
                f"Explicit padding has nine filters for 2D convolutions; these have another dimension: {_some(other)}."
            )
            raise UserValueError(message)
    elif not drop_border_filters:
        explicit = [name for name, module in changes if _base(module) is layers.ExplicitPadConv2d]
        if explicit:
            message = (
                f"Leaving explicit padding would delete the border filters of {_some(explicit)}. "
                "Pass `drop_border_filters=True` if that is meant."
            )
            raise UserValueError(message)


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _convert(name: str, module: nn.modules.conv._ConvNd, padding: str, fallback: str | None) -> Row:
    before, dims = _padding_of(module) or "zeros", _DIMS[_base(module)]
    kept_mask = padding == "partial" and getattr(module, "return_mask", False)
    exponent = getattr(module, "exponent", None) if before == padding == "partial" else None
    for extra in _EXTRAS:
        vars(module).pop(extra, None)
    if before == "explicit" and padding != "explicit":
        del module.border_weight
    families: dict[str, dict[type, int]] = {"partial": _PARTIAL, "zeros": _PLAIN, "explicit": _EXPLICIT}
    family = families.get(padding, _PADDED)
    _swap_class(module, next(cls for cls, d in family.items() if d == dims))
    module.padding_mode = "zeros" if padding in families else padding  # type: ignore[assignment]
    # nn.ConvNd pads reflected borders by this list, which goes stale when a network is dilated.
    module._reversed_padding_repeated_twice = layers.f_pad_order(module)
    if isinstance(module, layers.ExplicitPadConv2d) and before != "explicit":
        module.add_border_filters()
    extras: dict[str, object] = {"return_mask": True} if kept_mask else {}
    if exponent is not None:
        extras["exponent"] = exponent
    if family is _PADDED:
        extras = {"fallback": fallback, "layer_name": name}
    vars(module).update(extras)
    return Row(name, type(module).__name__, before, padding, "" if before != padding else "was so already")


def _swap_class(module: nn.Module, cls: type) -> None:
    """Swapping the class keeps what a new module would lose: hooks, keys, sharing, dtype, device."""
    if parametrize.is_parametrized(module):
        # The class in front holds a property a parametrized tensor; the same ones go in front of the new class.
        own = {k: v for k, v in vars(type(module)).items() if k not in ("__dict__", "__weakref__", "__doc__")}
        cls = type(f"Parametrized{cls.__name__}", (cls,), own)
    module.__class__ = cls


def _convert_pools(model: nn.Module, count_include_pad: bool) -> Iterator[Row]:
    for name, module in model.named_modules():
        if _pool_pads(module):
            before, module.count_include_pad = module.count_include_pad, count_include_pad
            was, now = (f"count_include_pad={value}" for value in (before, count_include_pad))
            yield Row(name or "(root)", type(module).__name__, was, now, "")
