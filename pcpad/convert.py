"""Change the padding of a network's convolutions, in place."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import torch
from torch import nn
from torch.nn.utils import parametrize

from pcpad import layers
from pcpad._conversion_report import CROPS, NO_PADDING, OUTSIDE, OWN_KIND, POOLS, REPLACED, ConversionReport, Row, some
from pcpad._observed import Observed, Zeros, weights_of
from pcpad._other_convolutions import class_for, own_class, rule_of
from pcpad._other_layers import Guarded, lost_under, pads, watch_calls
from pcpad._outside_padding import look
from pcpad._own_padding import BY_HAND, padding_of_its_own
from pcpad.errors import UserValueError
from pcpad.paddings import check_padding, pad_function

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConversionReport", "convert_padding", "watch_conversions"]

Model = TypeVar("Model", bound=nn.Module)

_PLAIN: tuple[type, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PARTIAL: tuple[type, ...] = (layers.PartialConv1d, layers.PartialConv2d, layers.PartialConv3d)
_PADDED: tuple[type, ...] = (layers.PaddedConv1d, layers.PaddedConv2d, layers.PaddedConv3d)
_EXPLICIT: tuple[type, ...] = (layers.ExplicitPadConv2d,)
_OURS = {*_PARTIAL, *_PADDED, *_EXPLICIT}
# Attributes that plain convolutions do not have.
_EXTRAS = ("return_mask", "fallback", "layer_name", "zeros_before")
_watching: ContextVar[list[ConversionReport] | None] = ContextVar("watching", default=None)


@overload
def convert_padding(
    model: Model,
    padding: str = ...,
    *,
    fallback: str | None = ...,
    count_include_pad: bool | None = ...,
    drop_border_filters: bool = ...,
    example: Any = ...,
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
    example: Any = ...,
    return_report: Literal[True],
) -> tuple[Model, ConversionReport]: ...


def convert_padding(
    model: Model,
    padding: str = "partial",
    *,
    fallback: str | None = None,
    count_include_pad: bool | None = None,
    drop_border_filters: bool = False,
    example: Any = None,
    return_report: bool = False,
) -> Model | tuple[Model, ConversionReport]:
    """Give the padded convolutions of a network another padding, in place.

    Weights, state-dict keys, hooks, shared modules, parametrizations, dtype and device stay as they are, and a
    network can be converted back and forth: its own weights stay the same under every padding. Only `explicit` adds
    parameters (eight border filters a convolution, at first copies of its filter; hand them to the optimizer
    after converting).

    Converted are `nn.Conv1d/2d/3d` and this package's layers, by their current attributes, so convert after a
    network has been dilated. So are subclasses without a forward of their own, or whose forward calls `nn.ConvNd`'s
    methods; and those known by name: timm's `Conv2dSame` (whose padding depends on the input's size), `StdConv2d` and
    `ScaledStdConv2d`, and the like of segmentation_models_pytorch and transformers. They stay instances of their class.
    Where zeros are padded in front of a convolution, by `nn.ZeroPad2d` or `F.pad`, the convolution puts its own border
    in their place. What else pads is left alone: one warning says which, or the report.

    Args:
        model: Any module, a single convolution included.
        padding: One of `pcpad.padding_names`, yours included (`pcpad.register_padding`).
        fallback: The padding for axes that are too small for that one, `"replicate"` say: `reflect` needs more
            than the padding, `circular` as much.
        count_include_pad: Also set this on average pooling that pads; False is its partial padding. None leaves
            pooling alone.
        drop_border_filters: Allow leaving `explicit`, which deletes trained border filters.
        example: What the network takes (a tensor, a tuple of arguments, or a dict of named ones), to see in forward
            passes which zeros reach which convolution, where `torch.fx` cannot tell; and for the report, which then
            counts multiply-adds. Nothing is computed where the network runs on the device "meta".
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
        module  class          padding           weights  why
        0       PartialConv2d  zeros -> partial    77.1%
        2       Conv2d         zeros               22.9%  no padding
    """
    check_padding(padding)
    if fallback is not None:
        pad_function(fallback)
    outside = look(model, example) if padding != "zeros" or example is not None else Observed()
    changes, left = _sorted(model, padding, count_include_pad, outside)
    _check([(row.name, module) for row, module in changes], padding, drop_border_filters)
    for row, module in changes:
        zeros = outside.before(row.name)
        if isinstance(zeros, tuple) and padding != "zeros":
            vars(module)["zeros_before"] = zeros
    converted = [_convert(row, module, padding, fallback) for row, module in changes]
    _watch_wrappers(model)
    if count_include_pad is not None:
        converted += _convert_pools(model, count_include_pad)
    costs = outside.multiply_adds
    rows = (tuple(row._replace(multiply_adds=costs.get(row.name)) for row in part) for part in (converted, left))
    weights = sum(map(weights_of, model.modules()))
    report = ConversionReport(*rows, padding, weights, sum(costs.values()) or None)
    watched = _watching.get()
    if watched is not None:
        watched.append(report)
    elif not return_report and report.said():
        warnings.warn(f"{report.said()}. `convert_padding(…, return_report=True)` lists all.", stacklevel=2)
    return (model, report) if return_report else model


def _sorted(
    model: nn.Module, padding: str, count_include_pad: bool | None, outside: Observed
) -> tuple[list[tuple[Row, nn.modules.conv._ConvNd]], list[Row]]:
    """The convolutions to convert, with a row of a report each; and rows for what is left."""
    changes, left, wrapped, within = [], [], _wrapped(model, padding), set()
    taken = set()
    for name, module in model.named_modules():
        zeros = outside.before(name) if padding != "zeros" else None
        reason = _why_left(module, padding, count_include_pad)
        if isinstance(module, nn.modules.conv._ConvNd) and zeros is not None and reason in (None, NO_PADDING):
            reason = _why_not_taken(module, padding, zeros)
        if reason is None:
            reason = wrapped.get(module)
        current = _padding_of(module) or "-"
        row = Row(name or "(root)", type(module).__name__, current, current, reason or "", weights_of(module))
        if reason is None and isinstance(module, nn.modules.conv._ConvNd):
            changes.append((row, module))
            taken.add(name)
            within.update(set(module.modules()) - {module})  # layers that pad by which it pads itself
        elif reason:
            left.append((module, row))
    rows = (_by_whom(row, module in within, taken, outside) for module, row in left)
    return changes, [row for row in rows if row is not None]


def _why_not_taken(module: nn.modules.conv._ConvNd, padding: str, zeros: Zeros) -> str | None:
    """Why the zeros that a convolution's input comes with cannot be replaced; None if they can."""
    if isinstance(zeros, str):
        return zeros
    rule = rule_of(_own_class(module))
    if rule is None or rule.hands_on or rule.pads(module):
        return "its input comes with zeros around it, and its class has a forward of its own"
    return None


def _by_whom(row: Row, within: bool, taken: set[str], outside: Observed) -> Row | None:
    """What is to be said of a module that pads outside of convolutions, once it is known which these are."""
    pads_elsewhere = row.why in (OUTSIDE, BY_HAND)
    if within and pads_elsewhere:
        return row._replace(why=REPLACED)
    if not pads_elsewhere or row.name.removeprefix("(root)") not in outside.seen:
        return row
    name = row.name.removeprefix("(root)")
    if name in outside.elsewhere:
        return row if row.why == OUTSIDE else row._replace(why=outside.elsewhere[name])
    reached = outside.reached.get(name)
    if not reached:  # never padded
        return row if row.why == OUTSIDE else None
    # Those that are not taken have a row of their own.
    return row._replace(why=REPLACED) if reached <= taken or row.why == BY_HAND else row


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


def _dims(module: nn.modules.conv._ConvNd) -> int:
    return len(module.kernel_size)


def _own_class(module: nn.modules.conv._ConvNd) -> type:
    """The class of a convolution as it was before any conversion."""
    base = _base(module)
    return _PLAIN[_dims(module) - 1] if base in _OURS else own_class(base)


def _padding_of(module: nn.Module) -> str | None:
    base = _base(module)
    if issubclass(base, _PARTIAL):
        return "partial"
    if issubclass(base, layers.ExplicitPadConv2d):
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
        return CROPS
    if isinstance(module, nn.modules.conv._ConvNd):
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            return "not initialised yet: run it once first"
        return _why_kept(module, padding)
    if _pool_pads(module) and count_include_pad is None:
        return f"{POOLS} with count_include_pad={module.count_include_pad}: ask for a change by name"
    if isinstance(module, tuple(_PAD_MODULES)) or (isinstance(module, nn.Unfold) and _unfold_pads(module)):
        return OUTSIDE
    return padding_of_its_own(module) or ""


def _why_kept(module: nn.modules.conv._ConvNd, padding: str) -> str | None:
    """Why a convolution is left as it is; None for one to convert."""
    rule = rule_of(_own_class(module))
    if rule is None:
        return NO_PADDING if max(module.kernel_size) == 1 and not pads(module) else OWN_KIND
    if getattr(module, "return_mask", False) and padding != "partial":
        return "it returns masks, which only partial convolution has"
    if not (pads(module) or rule.pads(module)):
        return NO_PADDING
    if rule.hands_on and padding == "explicit":
        return "its class has a forward of its own, which knows one filter where explicit padding has nine"
    return None


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
        other = [name for name, module in changes if _dims(module) != 2]
        if other:
            message = (
                f"Explicit padding has nine filters for 2D convolutions; these have another dimension: {some(other)}."
            )
            raise UserValueError(message)
    elif not drop_border_filters:
        explicit = [name for name, module in changes if isinstance(module, layers.ExplicitPadConv2d)]
        if explicit:
            message = (
                f"Leaving explicit padding would delete the border filters of {some(explicit)}. "
                "Pass `drop_border_filters=True` if that is meant."
            )
            raise UserValueError(message)


def _convert(row: Row, module: nn.modules.conv._ConvNd, padding: str, fallback: str | None) -> Row:
    before = _padding_of(module) or "zeros"
    kept_mask = padding == "partial" and getattr(module, "return_mask", False)
    zeros_before = getattr(module, "zeros_before", None)
    for extra in _EXTRAS:
        vars(module).pop(extra, None)
    if before == "explicit" and padding != "explicit":
        del module.border_weight
    _swap_class(module, _class_under(module, padding, zeros_before is not None))
    ordinary = padding in ("partial", "zeros", "explicit")
    module.padding_mode = "zeros" if ordinary else padding  # type: ignore[assignment]
    # nn.ConvNd pads reflected borders by this list, which goes stale when a network is dilated.
    module._reversed_padding_repeated_twice = layers.f_pad_order(module)
    if isinstance(module, layers.ExplicitPadConv2d) and before != "explicit":
        module.add_border_filters()
    extras: dict[str, object] = {"return_mask": True} if kept_mask else {}
    if not ordinary:
        extras = {"fallback": fallback, "layer_name": row.name}
    if zeros_before is not None and padding != "zeros":
        extras["zeros_before"] = zeros_before
    vars(module).update(extras)
    why = "was so already" if before == padding else ""
    if zeros_before is not None and padding != "zeros" and not why:
        why = "in the place of zeros that are padded before it"
    return row._replace(kind=type(module).__name__, before=before, after=padding, why=why)


def _class_under(module: nn.modules.conv._ConvNd, padding: str, zeros_before: bool) -> type:
    """The class of a convolution under a padding; under zeros that is the one that it was made of.

    Raises:
        TypeError: There can be no such class.
    """
    own = _own_class(module)
    if padding == "zeros":
        return own
    family = _family(padding, module)
    return class_for(own, family, zeros_before=zeros_before)


def _family(padding: str, module: nn.modules.conv._ConvNd) -> type:
    families = {"partial": _PARTIAL, "explicit": (None, *_EXPLICIT, None)}
    family = families.get(padding, _PADDED)[_dims(module) - 1]
    assert family is not None
    return family


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
