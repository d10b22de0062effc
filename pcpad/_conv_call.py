"""One call of a convolution: its arguments, what they must be, and steps that calls with and without a mask share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad import _border
from pcpad._border import is_uneven
from pcpad._other_layers import check_dense
from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Conv", "IntOrTuple", "Padding", "add_where", "check_input", "check_mask", "times"]

IntOrTuple = int | tuple[int, ...]
Padding = IntOrTuple | tuple[tuple[int, int], ...] | str

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Conv(NamedTuple):
    """The arguments of one convolution, as `torch.nn.functional.convNd` takes them."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: IntOrTuple
    padding: Padding
    dilation: IntOrTuple
    groups: int

    @property
    def dims(self) -> int:
        """The number of spatial axes."""
        return self.weight.dim() - 2

    def run(self, input: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve an input with the call's other arguments; only with this bias, not with the call's."""
        _, weight, _, stride, padding, dilation, groups = self
        if is_uneven(padding):  # torch's convolutions pad alike on both sides
            pairs: Any = padding
            input, padding = F.pad(input, [side for pair in reversed(pairs) for side in pair]), 0
        return _CONV[weight.dim() - 2](input, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]

    def bias_for(self, y: Tensor) -> Tensor:
        """The call's bias in the dtype of an output, (O, 1, …) to be added to it."""
        assert self.bias is not None
        return self.bias.to(y.dtype).view(-1, *[1] * self.dims)


def add_where(y: Tensor, bias: Tensor, valid: Tensor) -> Tensor:
    """`y + bias·valid`, in place except under function transforms, where one y may have many biases."""
    if torch.compiler.is_compiling() or not (_border.is_wrapped(y) or _border.is_wrapped(bias)):
        return y.addcmul_(bias, valid)
    return y + bias * valid


def times(y: Tensor, factor: Tensor) -> Tensor:
    """`y·factor` in the dtype of y, not in place: the factor may be learned."""
    return (y * factor).to(y.dtype)


def check_input(dims: int, conv: Conv) -> None:
    """Refuse an input or a weight that a convolution over `dims` spatial axes cannot take.

    Raises:
        TypeError: If the input is not a tensor, or is stored in a way that layers do not compute with.
        ValueError: If the weight has another number of dimensions.
    """
    input, weight = conv.input, conv.weight
    if not isinstance(input, Tensor):
        message = (
            f"Expected `input` to be a tensor, but got {type(input).__name__}. A layer with `return_mask=True` returns "
            "`(output, mask)`; `pcpad.MaskedSequential` threads masks through layers."
        )
        raise UserTypeError(message)
    check_dense(input)
    if weight.dim() != dims + 2:
        message = (
            f"Expected a weight of {dims + 2} dimensions for a {dims}D convolution, but got {tuple(weight.shape)}."
        )
        raise UserValueError(message)


def check_mask(conv: Conv, mask: Tensor, mask_channels: Sequence[int] | None) -> tuple[int, ...]:
    """How many input channels each channel of the mask covers.

    Raises:
        ValueError: If the mask does not fit the input.
        TypeError: If it is not a tensor of bool, integers or floats.
    """
    meaning = "A mask is 1 where the input is valid and 0 in holes."
    if not isinstance(mask, Tensor) or mask.is_complex():
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        message = f"Expected `mask` to be a tensor of bool, integers or floats, but got {came}. {meaning}"
        raise UserTypeError(message)
    x = conv.input
    if mask.device != x.device:
        message = f"Expected `mask` on the input's device {x.device}, but it is on {mask.device}. {meaning}"
        raise UserValueError(message)
    channels = x.shape[-conv.dims - 1]
    if isinstance(mask_channels, int):
        message = (
            f"Expected `mask_channels` to be a sequence of ints, one per channel of the mask, but got {mask_channels}."
        )
        raise UserTypeError(message)
    sizes = tuple(mask_channels) if mask_channels is not None else None
    if sizes is not None and (sum(sizes) != channels or min(sizes) < 1):
        message = (
            f"Expected `mask_channels` to be positive and sum to the input's {channels} channels, but got {sizes}."
        )
        raise UserValueError(message)
    batched = x.dim() == conv.dims + 2
    # No set: while torch.jit traces, sizes are tensors, which can be equal with different hashes.
    allowed = [1, channels] if sizes is None else [len(sizes)]
    fits = mask.dim() == x.dim() and mask.shape[-conv.dims :] == x.shape[-conv.dims :]
    fits = fits and mask.shape[-conv.dims - 1] in allowed and (not batched or mask.shape[0] in (1, x.shape[0]))
    if not fits:
        lead = [f"1 or {x.shape[0]}"] if batched else []
        wanted = ", ".join([*lead, " or ".join(map(str, dict.fromkeys(allowed))), *map(str, x.shape[-conv.dims :])])
        message = f"Expected `mask` of shape ({wanted}) for an input of {tuple(x.shape)}, but got {tuple(mask.shape)}. "
        hint = f"`mask_channels={sizes}` asks for one channel per group. " if sizes is not None else ""
        raise UserValueError(message + hint + meaning)
    if sizes is None:
        sizes = (channels,) if mask.shape[-conv.dims - 1] == 1 else (1,) * channels
    return sizes
