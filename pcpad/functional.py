"""Partial convolution and partial-convolution padding as stateless functions.

Sources: Liu et al., "Partial Convolution based Padding" (2018, arXiv 1811.11718), Eq. 1-5, and Liu et al.,
"Partial Convolution for Padding, Inpainting, and Image Synthesis" (2022), Eq. 1-3.

For the window at one output position, with `m` the validity of its taps (1 valid, 0 hole or padding)::

    y = W · (x ⊙ m) · r + b,   r = |1| / |m|     where |m| > 0
    y = 0                                        where no tap is valid (bias included)
    m' = 1 where |m| > 0, else 0                 the mask for the next layer

Taps are counted as exact integers and divided in float32 or wider; there is no epsilon. A tap is
valid where the mask is not 0; no value is read back from the device.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import _border
from pcpad._border import Geometry, Plan, is_uneven, plan_for
from pcpad._exponent import Exponent, checked, to_power
from pcpad._mask_counts import can_count, count, full_mask, known_full, ratio_of
from pcpad._other_layers import check_dense
from pcpad._scaling import kept_for, quickly_kept, scaled
from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["padding_ratio", "partial_conv1d", "partial_conv2d", "partial_conv3d", "update_mask"]

IntOrTuple = int | tuple[int, ...]
Padding = IntOrTuple | tuple[tuple[int, int], ...] | str

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Conv(NamedTuple):
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
        return self.weight.dim() - 2

    def run(self, input: Tensor, bias: Tensor | None = None) -> Tensor:
        _, weight, _, stride, padding, dilation, groups = self
        if is_uneven(padding):  # torch's convolutions pad alike on both sides
            pairs: Any = padding
            input, padding = F.pad(input, [side for pair in reversed(pairs) for side in pair]), 0
        return _CONV[weight.dim() - 2](input, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]

    def bias_for(self, y: Tensor) -> Tensor:
        assert self.bias is not None
        return self.bias.to(y.dtype).view(-1, *[1] * self.dims)


def partial_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Partial convolution of a sequence; see `partial_conv2d`, with one spatial axis (N, C, L)."""
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(1, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv1d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = _Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv1d, 1, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def partial_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve the valid taps only, and rescale by how many there were (2022 paper, Eq. 1-3).

    Without a mask every input position is valid and the padding is not: partial-convolution padding
    (2018 paper, Eq. 4-5).

    Args:
        input: (N, C, H, W) or (C, H, W), floating point, any value range.
        weight: (O, C / groups, kH, kW).
        bias: (O,) or None.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`.
        dilation: As in `torch.nn.functional.conv2d`.
        groups: As in `torch.nn.functional.conv2d`.
        mask: (N|1, 1|C, H, W) of bool, integers or floats: 1 (anything but 0) valid, 0 a hole. Without the
            batch axis if the input has none. What lies under a hole never reaches the output, NaN included.
        mask_channels: Sizes of groups of channels that share a mask, as after a concatenation: with
            `(512, 512)` the mask is (N|1, 2, H, W). They sum to C.
        return_mask: Also return the new mask (Eq. 3).
        holes_are_zero: A promise that the input is 0 wherever the mask is, as a partial convolution's output is under
            the mask it returned, also after a ReLU. Saves a pass over the input and a copy of it for the backward
            pass. It is not checked: if the promise is broken, the sums are wrong.
        exponent: `W·(x ⊙ m) · r^exponent + b`: a number, or a tensor () or (O,), one for each output channel, which
            may be learned. None is 1, the papers' definition; 0 does not renormalize: without a mask that is zero
            padding. Windows without a valid tap stay 0 under any other exponent.

    Returns:
        The output (N, O, H', W'), or `(output, new_mask)`. The new mask is (N|1, 1, H', W') in the input's
        dtype; it has O channels exactly when `groups > 1` and the mask differs between channels.

    Raises:
        ValueError: If a shape does not fit.
        TypeError: If the mask is not a tensor of bool, integers or floats.

    Example:
        >>> x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
        >>> partial_conv2d(x, weight, padding=1)[0, 0, 0]  # a zero-padded border would give 4, 6, 6, 4
        tensor([9., 9., 9., 9.])
    """
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(2, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv2d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = _Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv2d, 2, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def partial_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Partial convolution of a volume or clip; see `partial_conv2d`, with three spatial axes (N, C, T, H, W)."""
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(3, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv3d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = _Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv3d, 3, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def padding_ratio(
    size: int | Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The factor `r` of partial-convolution padding at every output position (2018 paper, Eq. 5).

    Args:
        size: The input's spatial size, one int per axis; its length says how many axes there are.
        kernel_size: An int or one int per axis.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`.
        dilation: As in `torch.nn.functional.conv2d`.
        dtype: The result's dtype, torch's default if None; divided in float32 or wider.
        device: The result's device.

    Returns:
        A tensor of the output's spatial size: taps in the window over valid taps; 1 in the interior, more at
        the border, 0 where a window lies in the padding entirely.

    Example:
        >>> padding_ratio((3, 3), 3, padding=1)
        tensor([[2.2500, 1.5000, 2.2500],
                [1.5000, 1.0000, 1.5000],
                [2.2500, 1.5000, 2.2500]])
    """
    dtype = dtype or torch.get_default_dtype()
    size = (size,) if isinstance(size, int) else tuple(size)
    geometry = Geometry.of(len(size), kernel_size, stride, padding, dilation)
    wide = torch.promote_types(dtype, torch.float32)
    ratio = _border.closed_form(size, geometry.output_size(size), geometry, wide, torch.device(device or "cpu"))
    return ratio.to(dtype)


def update_mask(
    mask: Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
) -> Tensor:
    """The mask after one layer: valid where a window holds a valid tap (2018 and 2022 papers, Eq. 3).

    Args:
        mask: (N, C, *spatial), valid where not 0; each channel is processed separately.
        kernel_size: An int or one int per axis.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`; it counts as holes.
        dilation: As in `torch.nn.functional.conv2d`.

    Returns:
        (N, C, *output size) in the mask's dtype, of zeros and ones.
    """
    geometry = Geometry.of(mask.dim() - 2, kernel_size, stride, padding, dilation)
    taps = _border.window_sum((mask != 0).to(torch.float32), geometry, geometry.output_size(mask.shape[2:]))
    return (taps > 0).to(mask.dtype)


def _partial_conv(
    public: Callable[..., Any],
    dims: int,
    conv: _Conv,
    mask: Tensor | None,
    mask_channels: Sequence[int] | None,
    return_mask: bool,
    holes_are_zero: bool,
    exponent: Exponent | None,
) -> Tensor | tuple[Tensor, Tensor]:
    input, weight, bias, *arguments = conv
    overriding = (input, weight, bias, mask)
    if has_torch_function(overriding):  # torch.fx's proxies, and tensor subclasses that override torch's functions
        options: dict[str, Any] = {"mask": mask, "mask_channels": mask_channels, "return_mask": return_mask}
        options |= {"holes_are_zero": True} if holes_are_zero else {}
        options |= {"exponent": exponent} if exponent is not None else {}
        result: Tensor | tuple[Tensor, Tensor] = handle_torch_function(public, overriding, *conv, **options)
        return result
    _check_input(dims, conv)
    exponent = checked(exponent, conv.weight.shape[0])
    plan = plan_for(input, weight, *arguments)
    sizes = None if mask is None else _check_mask(conv, mask, mask_channels)
    if mask is None or sizes is None or known_full(mask):
        if mask is None and mask_channels is not None:
            message = f"`mask_channels={mask_channels}` says how a mask's channels are shared, but no mask was given."
            raise UserValueError(message)
        y = _padded(conv, plan) if exponent is None else _padded_to_power(conv, plan, exponent)
        return (y, _mask_of_padding(conv, plan, y)) if return_mask else y
    if input.dim() == dims + 2:
        y, new_mask = _masked(conv, plan.geometry, mask, sizes, holes_are_zero, exponent, return_mask)
    else:
        batched = conv._replace(input=input[None])
        y, new_mask = _masked(batched, plan.geometry, mask[None], sizes, holes_are_zero, exponent, return_mask)
        y, new_mask = y[0], new_mask[0]
    return (y, new_mask.to(input.dtype)) if return_mask else y


def _padded(conv: _Conv, plan: Plan) -> Tensor:
    """Partial-convolution padding: only windows that reach into the padding differ from a plain convolution."""
    if not plan.pads:
        return conv.run(conv.input, conv.bias)
    kept = None if plan.may_miss else kept_for(plan, conv.input, conv.weight, conv.bias)
    if kept is not None:
        first = conv.bias.detach() if kept.takes_bias and conv.bias is not None else None
        return scaled(conv.run(conv.input, first), conv.bias, kept)
    y = conv.run(conv.input)
    ratio = _border.ratio_for(y, plan)
    if plan.may_miss and conv.bias is not None:
        return _add_where(y.mul_(ratio), conv.bias_for(y), (ratio > 0).to(y.dtype))
    return _scaled(y, ratio, conv.bias)


def _padded_to_power(conv: _Conv, plan: Plan, exponent: Exponent) -> Tensor:
    """`_padded` with another exponent than 1; with the number 0 it is the zero-padded convolution itself."""
    if not plan.pads or (not isinstance(exponent, Tensor) and exponent == 0):
        return conv.run(conv.input, conv.bias)
    y = conv.run(conv.input)
    ratio = _border.ratio_for(y, plan)
    y = _times(y, to_power(ratio, exponent, conv.dims, plan.may_miss))
    if conv.bias is None:
        return y
    return y + (conv.bias_for(y) * (ratio > 0).to(y.dtype) if plan.may_miss else conv.bias_for(y))


def _add_where(y: Tensor, bias: Tensor, valid: Tensor) -> Tensor:
    """`y + bias·valid`, in place except under function transforms, where one y may have many biases."""
    if torch.compiler.is_compiling() or not (_border.is_wrapped(y) or _border.is_wrapped(bias)):
        return y.addcmul_(bias, valid)
    return y + bias * valid


def _times(y: Tensor, factor: Tensor) -> Tensor:
    return (y * factor).to(y.dtype)


def _scaled(y: Tensor, ratio: Tensor, bias: Tensor | None) -> Tensor:
    """`y·r + b` with a ratio that is not cached, for recorded programs, which fuse it with what follows."""
    if bias is None:
        return y.mul_(ratio)
    bias = bias.to(y.dtype).view(-1, *[1] * ratio.dim())
    # One pass instead of two; in half precision the ratio is wider than y and has to be multiplied first.
    # The sum is a new tensor: a bias that `torch.vmap` maps over makes many of one y.
    return torch.addcmul(bias, y, ratio) if ratio.dtype == y.dtype else y.mul_(ratio) + bias


def _mask_of_padding(conv: _Conv, plan: Plan, y: Tensor) -> Tensor:
    """The new mask where no mask was given: (1, 1, *output size), without the batch axis if the input has none."""
    if not plan.may_miss:
        return full_mask(conv.input, (*[1] * (conv.input.dim() - conv.dims), *y.shape[-conv.dims :]))
    valid = (_border.ratio_for(y, plan) > 0).to(conv.input.dtype)
    return valid.view(*[1] * (conv.input.dim() - conv.dims), *valid.shape)


def _masked(
    conv: _Conv,
    geometry: Geometry,
    mask: Tensor,
    sizes: tuple[int, ...],
    holes_are_zero: bool,
    exponent: Exponent | None,
    needs_mask: bool,
) -> tuple[Tensor, Tensor]:
    """Output and new mask (bool) for a batched input and a mask whose channel g covers `sizes[g]` channels."""
    if len(sizes) == 1 and exponent is None and can_count(conv.input, mask, conv.weight, conv.bias, geometry):
        return _masked_alike(conv, geometry, mask, holes_are_zero, needs_mask)
    valid = mask != 0
    y = conv.run(conv.input if holes_are_zero else _fill_holes(conv.input, valid, sizes))
    dtype = torch.promote_types(y.dtype, torch.float32)
    # With one mask for all channels it is taps that are counted, else taps times channels; the ratio is the same.
    channels = 1 if len(sizes) == 1 else conv.weight.shape[1]
    taken = _border.window_sum(
        valid.to(dtype) if len(sizes) == 1 else _valid_channels(valid, sizes, conv.groups, dtype),
        geometry,
        y.shape[2:],
    )
    if taken.shape[1] > 1:
        taken = taken.repeat_interleave(y.shape[1] // taken.shape[1], dim=1)
    new_mask = taken > 0
    ratio = torch.where(new_mask, channels * prod(geometry.kernel) / taken, torch.zeros_like(taken))
    # Out of place where the factor may be learned.
    y = y.mul_(ratio) if exponent is None else _times(y, to_power(ratio, exponent, conv.dims, may_miss=True))
    if conv.bias is not None:
        y = _add_where(y, conv.bias_for(y), new_mask.to(y.dtype))
    return y, new_mask


def _masked_alike(
    conv: _Conv, geometry: Geometry, mask: Tensor, holes_are_zero: bool, needs_mask: bool
) -> tuple[Tensor, Tensor]:
    """`_masked` where all channels have one mask; the new mask is in the input's dtype, and any if not needed."""
    valid = count(conv.input, mask, geometry)
    y = conv.run(conv.input if holes_are_zero else valid.fill(conv.input))
    dtype = torch.promote_types(y.dtype, torch.float32)
    needs_mask = needs_mask or conv.bias is not None
    ratio, new_mask = ratio_of(mask, valid, geometry, dtype, conv.input.dtype, with_mask=needs_mask)
    y = y.mul_(ratio)
    if new_mask is None:
        return y, mask
    return (y if conv.bias is None else y.addcmul_(conv.bias_for(y), new_mask.to(y.dtype))), new_mask


def _fill_holes(input: Tensor, valid: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Zeros under the holes by selection: a product would let NaN through. No mask is copied per channel."""
    if valid.shape[1] in (1, input.shape[1]):
        return torch.where(valid, input, 0)  # masked_fill would lose channels_last
    if len(set(sizes)) == 1:
        return torch.where(valid.unsqueeze(2), input.unflatten(1, (len(sizes), sizes[0])), 0).flatten(1, 2)
    parts = zip(input.split(sizes, dim=1), valid.split(1, dim=1), strict=True)
    return torch.cat([torch.where(mask, part, 0) for part, mask in parts], dim=1)


def _valid_channels(valid: Tensor, sizes: tuple[int, ...], groups: int, dtype: torch.dtype) -> Tensor:
    """How many input channels are valid at each position, per group of the convolution: (N|1, groups, *spatial)."""
    width = sum(sizes) // groups
    if len(sizes) == sum(sizes):
        summed: Tensor = valid.unflatten(1, (groups, width)).sum(2, dtype=dtype)
        return summed
    counts = []
    for low in range(0, sum(sizes), width):
        total, start = torch.zeros((), dtype=dtype, device=valid.device), 0
        for channel, size in enumerate(sizes):
            overlap = min(start + size, low + width) - max(start, low)
            if overlap > 0:
                total = total + overlap * valid[:, channel : channel + 1].to(dtype)
            start += size
        counts.append(total)
    return torch.cat(counts, dim=1)


def _check_input(dims: int, conv: _Conv) -> None:
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


def _check_mask(conv: _Conv, mask: Tensor, mask_channels: Sequence[int] | None) -> tuple[int, ...]:
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
