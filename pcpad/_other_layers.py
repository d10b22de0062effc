"""Other libraries' operations on our layers; those that would silently lose the padding are refused here.

Most code that changes a network keeps the layer, and with it what the layer does: averaging, pruning, norms, LoRA.
Some code takes only a convolution's numbers (`weight`, `stride`, `padding`) and convolves by itself: with zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from pcpad._border import Geometry
from pcpad._own_padding import borrows_padding
from pcpad.errors import UserTypeError, UserValueError

__all__ = ["Guarded", "check_dense", "check_unfused", "lost_under", "pads", "watch_calls"]

_VOID = "where a window holds nothing valid its output is 0, which the batch norm would have shifted"
_ORDINARY = ("partial", "reflect")  # what `type(layer)(channels, …)` makes again, as peft's LoRA calls it


class Guarded:
    """A convolution whose border must not become zeros unnoticed; goes in front of `nn.ConvNd`."""

    _padding_name: str = "partial"  # what others' code would lose
    pads_by_itself: bool = False  # besides what the attribute `padding` says
    holds_batch_norm: bool = False

    @property
    def most_padding(self) -> Any:
        """The widest padding for any input."""
        return self.padding  # type: ignore[attr-defined]

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """As in `nn.Module`: there are none; refuses `torch.utils.mkldnn`.

        That function has no hook: it builds its own convolution from the parameters of each `nn.ConvNd`, then asks for
        children.
        """
        if _called_by("torch.utils.mkldnn") and _loses(self):
            message = (
                f"`to_mkldnn` would put a zero-padded convolution in place of this {type(self).__name__}. Keep the "
                "network as it is (PyTorch uses oneDNN for float tensors by itself), or, if zeros are meant, build it "
                "again and `convert_padding(model, 'zeros')` first: layers before this one have been replaced already."
            )
            raise UserTypeError(message)
        children: Iterator[tuple[str, nn.Module]] = super().named_children()  # type: ignore[misc]
        return children

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As in `nn.Module`; refuses what `fuse_conv_bn_eval` would get wrong when it sets the fused weight."""
        if name == "weight" and _called_by("torch.nn.utils.fusion"):
            reason = self._why_not_fused()
            if reason:
                message = (
                    f"A batch norm cannot be fused into this {type(self).__name__}: {reason}. Leave both as they are."
                )
                raise UserTypeError(message)
            self.holds_batch_norm = True
        super().register_parameter(name, param)  # type: ignore[misc]

    def _why_not_fused(self) -> str | None:
        layer: Any = self
        if hasattr(layer, "border_weight"):
            return "its border filters would be left without it"
        if getattr(layer, "return_mask", False):
            return _VOID
        if layer._padding_name not in ("partial", "panoptic"):
            return None
        where = (layer.kernel_size, layer.stride, layer.most_padding, layer.dilation)
        return _VOID if Geometry.of(len(layer.kernel_size), *where).may_miss else None


def check_dense(input: Tensor) -> None:
    """Refuse tensors that are stored in a way our layers do not compute with.

    Raises:
        TypeError: For a quantized one or oneDNN's.
    """
    if input.is_quantized:
        message = (
            "Expected `input` to be a tensor of floats, but got a quantized one: layers with a padding of their own "
            "are not quantized. Compute them in float, between `DeQuantStub` and `QuantStub` (`QuantWrapper` for all "
            "that follow), or let `quantize_fx` find that by itself."
        )
        raise UserTypeError(message)
    if input.is_mkldnn:
        message = "Expected `input` to be a dense tensor, but got one in oneDNN's layout. Call `.to_dense()` before."
        raise UserTypeError(message)


def check_unfused(layer: Guarded) -> None:
    """Refuse a mask for a layer that a batch norm was fused into.

    Raises:
        TypeError: It was.
    """
    if layer.holds_batch_norm:
        message = (
            f"This {type(layer).__name__} got a mask, but a batch norm was fused into it: {_VOID}. Use the network as "
            "it was before fusion."
        )
        raise UserTypeError(message)


def pads(layer: nn.modules.conv._ConvNd) -> bool:
    """Whether a convolution pads; by its current attributes, since networks are dilated after they are built."""
    if getattr(layer, "pads_by_itself", False):
        return True
    if isinstance(layer.padding, str):
        return layer.padding == "same" and max(layer.kernel_size) > 1
    return any((layer.padding,) if isinstance(layer.padding, int) else layer.padding)


def lost_under(
    wrapper: nn.Module, name: str, padding: str, *, padded: bool = True, masks: bool = False, made: bool = True
) -> str | None:
    """Why a layer's padding would get lost under a module that wraps it.

    Args:
        wrapper: The module whose child the layer is.
        name: The child's name.
        padding: The layer's: one of `padding_names`, or `panoptic`.
        padded: Whether the layer pads at all.
        masks: Whether it returns masks.
        made: Whether the wrapper still has to make convolutions of the layer's class.

    Returns:
        The reason in words; None where nothing is lost, as far as is known.
    """
    kind = type(wrapper)
    if (padded or masks or padding == "panoptic") and borrows_padding(kind):
        return f"{kind.__name__} calls a convolution as a function with this layer's `padding`, which then is zeros"
    if name != "base_layer" or not _is_of(kind, "peft"):
        return None
    if padding == "explicit":
        return f"{kind.__name__} merges into `weight` alone, not into the border filters"
    if padding == "panoptic" or masks:
        return f"{kind.__name__} does not hand ids and masks to what it adds"
    if made and padded and padding not in _ORDINARY and _is_of(kind, "peft.tuners.lora"):
        return (
            f"{kind.__name__} makes convolutions of this class with its default padding. Add adapters to the network "
            f"of plain convolutions and `convert_padding(model, {padding!r})` afterwards, which converts both"
        )
    return None


def watch_calls(wrapper: nn.Module, name: str) -> None:
    """Have an adapter around a layer refuse the calls that would lose holes or padding.

    Args:
        wrapper: The module whose child the layer is.
        name: The child's name.
    """
    around = name == "base_layer" and _is_of(type(wrapper), "peft")
    if (around or borrows_padding(type(wrapper))) and _check_call not in wrapper._forward_pre_hooks.values():
        wrapper.register_forward_pre_hook(_check_call, with_kwargs=True)


def _check_call(wrapper: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if getattr(wrapper, "disable_adapters", False) or getattr(wrapper, "merged", False):
        return
    kind = f"{type(wrapper).__module__}.{type(wrapper).__qualname__}"
    if len(args) > 1 or kwargs.get("mask") is not None:
        message = (
            f"{kind} hands the mask to the layer that it wraps, and not to what it adds: holes would be seen. Merge "
            "the adapter first (`merge_adapter()`), or adapt layers that get no mask."
        )
        raise UserTypeError(message)
    dora, dropout = getattr(wrapper, "use_dora", {}), getattr(wrapper, "lora_dropout", {})
    active = [a for a in getattr(wrapper, "active_adapters", ()) if dora.get(a) and a in dropout]
    if wrapper.training and not all(isinstance(dropout[a], nn.Identity) for a in active):
        message = (
            f"{kind}: DoRA with `lora_dropout` trains with zero padding and is then applied with another. Set "
            "`lora_dropout=0`, or `use_dora=False`."
        )
        raise UserValueError(message)


def _loses(layer: Any) -> bool:
    """Whether a zero-padded convolution of the same numbers differs from the layer."""
    return pads(layer) or getattr(layer, "return_mask", False) or getattr(layer, "_padding_name", "") == "panoptic"


def _is_of(kind: type, package: str) -> bool:
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in kind.__mro__)


def _called_by(module: str) -> bool:
    """Whether a method was called from that module, directly or through a base class's method or two."""
    frame = sys._getframe(2)
    for _ in range(3):
        if frame.f_globals.get("__name__") == module:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _registered(wrapper: nn.Module, name: str, layer: nn.Module | None) -> None:
    """Called by torch whenever a module becomes another's child."""
    if not isinstance(layer, Guarded):
        return
    padding, masks = layer._padding_name, getattr(layer, "return_mask", False)
    reason = lost_under(wrapper, name, padding, padded=pads(layer), masks=masks)
    if reason:
        message = (
            f"The padding of {type(layer).__name__} ({padding!r}) would be lost under {type(wrapper).__module__}."
            f"{type(wrapper).__qualname__}: {reason}. Wrap layers that pad with zeros (`convert_padding(model, "
            "'zeros')`) or none that pad; docs/promises.md lists what works."
        )
        raise UserTypeError(message)
    watch_calls(wrapper, name)


register_module_module_registration_hook(_registered)
