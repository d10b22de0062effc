"""Change the padding of a network's convolutions, in place."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from torch import nn
from torch.nn.utils import parametrize

from pcpad import layers
from pcpad._conversion_report import IN_PLACE, ConversionReport, LayerRow, some
from pcpad._observed import CHANGED, Observed, weights_of
from pcpad._other_convolutions import BY_CONFIG, class_for, set_config_padding
from pcpad._other_layers import Guarded, watch_calls
from pcpad._outside_padding import look
from pcpad._what_to_convert import EXTRAS, add_configured, own_of, padding_of, pool_pads, what_to_convert
from pcpad.errors import UserValueError
from pcpad.paddings import check_padding, pad_function

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConversionReport", "convert_padding", "watch_conversions"]

Model = TypeVar("Model", bound=nn.Module)

_PARTIAL: tuple[type, ...] = (layers.PartialConv1d, layers.PartialConv2d, layers.PartialConv3d)
_PADDED: tuple[type, ...] = (layers.PaddedConv1d, layers.PaddedConv2d, layers.PaddedConv3d)
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
    parameters (eight border filters per convolution, at first copies of its filter; hand them to the optimizer
    after converting).

    `nn.Conv1d/2d/3d` and this package's layers are converted by their current attributes, so convert after a network
    has been dilated. So are subclasses without a forward of their own, or whose forward calls `nn.ConvNd`'s
    methods; and those known by name: timm's `Conv2dSame` (whose padding depends on the input's size), `StdConv2d` and
    `ScaledStdConv2d`, and similar ones of segmentation_models_pytorch and transformers. They stay instances of their
    class. Where zeros are padded before a convolution, by `nn.ZeroPad2d` or `F.pad`, the convolution puts its own
    border in their place. Everything else that pads is left alone, and named in one warning or in the report.

    Args:
        model: Any module, a single convolution included.
        padding: One of `pcpad.padding_names`, yours included (`pcpad.register_padding`).
        fallback: The padding for axes that are too small for `padding`, such as `"replicate"`: `reflect` needs an axis
            longer than the padding, `circular` one at least as long.
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
    add_configured(model, outside)
    changes, left = what_to_convert(model, padding, count_include_pad, outside)
    _check([(row.name, module) for row, module in changes], padding, drop_border_filters)
    for row, module in changes if padding != "zeros" else ():
        zeros = outside.before(row.name)
        if zeros is not None and zeros != CHANGED:
            vars(module)["zeros_before"] = zeros
        if zeros == BY_CONFIG:
            set_config_padding(model.get_submodule(row.name.rpartition(".")[0]), pads=False)
    for part in model.modules() if padding == "zeros" else ():
        set_config_padding(part, pads=True)
    converted = [_convert(row, module, padding, fallback) for row, module in changes]
    _watch_wrappers(model)
    if count_include_pad is not None:
        converted += _convert_pools(model, count_include_pad)
    costs = outside.multiply_adds
    done, kept = ([row._replace(multiply_adds=costs.get(row.name)) for row in part] for part in (converted, left))
    weights = sum(map(weights_of, model.modules()))
    report = ConversionReport(tuple(done), tuple(kept), padding, weights, sum(costs.values()) or None)
    watched = _watching.get()
    if watched is not None:
        watched.append(report)
    elif not return_report and report.said():
        warnings.warn(f"{report.said()}. `convert_padding(…, return_report=True)` lists all.", stacklevel=2)
    return (model, report) if return_report else model


@contextmanager
def watch_conversions() -> Iterator[list[ConversionReport]]:
    """Collect the reports of all conversions in this block, in place of their warnings.

    Yields:
        A list to which each `convert_padding` appends its report.

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


def _watch_wrappers(model: nn.Module) -> None:
    for wrapper in model.modules():
        for name, layer in wrapper._modules.items():
            if isinstance(layer, Guarded):
                watch_calls(wrapper, name)


def _check(changes: list[tuple[str, nn.modules.conv._ConvNd]], padding: str, drop_border_filters: bool) -> None:
    """Refuse what cannot be done before anything is."""
    if padding == "explicit":
        other = [name for name, module in changes if len(module.kernel_size) != 2]
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


def _convert(row: LayerRow, module: nn.modules.conv._ConvNd, padding: str, fallback: str | None) -> LayerRow:
    before = padding_of(module) or "zeros"
    kept_mask = padding == "partial" and getattr(module, "return_mask", False)
    zeros_before = getattr(module, "zeros_before", None)
    exponent = getattr(module, "exponent", None) if before == padding == "partial" else None
    if isinstance(module, Guarded):  # a plain convolution has none of these, or one of its own
        for extra in (*EXTRAS, "_found_as"):
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
    if exponent is not None:
        extras["exponent"] = exponent
    if not ordinary:
        extras = {"fallback": fallback, "_found_as": row.name}
    if zeros_before is not None and padding != "zeros":
        extras["zeros_before"] = zeros_before
    vars(module).update(extras)
    why = "was so already" if before == padding else ""
    if zeros_before is not None and padding != "zeros" and not why:
        why = IN_PLACE
    return row._replace(kind=type(module).__name__, before=before, after=padding, why=why)


def _class_under(module: nn.modules.conv._ConvNd, padding: str, zeros_before: bool) -> type:
    """The class of a convolution under a padding; under zeros, the one that it was made from.

    Raises:
        TypeError: There can be no such class.
    """
    own = own_of(module)
    if padding == "zeros":
        return own
    family = _family(padding, module)
    return class_for(own, family, zeros_before=zeros_before)


def _family(padding: str, module: nn.modules.conv._ConvNd) -> type:
    families = {"partial": _PARTIAL, "explicit": (None, layers.ExplicitPadConv2d, None)}
    family = families.get(padding, _PADDED)[len(module.kernel_size) - 1]
    assert family is not None
    return family


def _swap_class(module: nn.Module, cls: type) -> None:
    """Swapping the class keeps what a new module would lose: hooks, keys, sharing, dtype, device."""
    if parametrize.is_parametrized(module):
        # The class in front has one property per parametrized tensor; the same ones go in front of the new class.
        own = {k: v for k, v in vars(type(module)).items() if k not in ("__dict__", "__weakref__", "__doc__")}
        cls = type(f"Parametrized{cls.__name__}", (cls,), own)
    module.__class__ = cls


def _convert_pools(model: nn.Module, count_include_pad: bool) -> Iterator[LayerRow]:
    for name, module in model.named_modules():
        if pool_pads(module):
            before, module.count_include_pad = module.count_include_pad, count_include_pad
            was, now = (f"count_include_pad={value}" for value in (before, count_include_pad))
            yield LayerRow(name or "(root)", type(module).__name__, was, now, "")
