"""Partial convolution with a mask of the input; `pcpad.functional` is the public face."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcpad import _border
from pcpad._conv_call import Conv, add_where, times
from pcpad._exponent import Exponent, to_power
from pcpad._mask_counts import can_count, count, ratio_of

if TYPE_CHECKING:
    from pcpad._border import Geometry

__all__ = ["masked"]


def masked(
    conv: Conv,
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
    y = y.mul_(ratio) if exponent is None else times(y, to_power(ratio, exponent, conv.dims, may_miss=True))
    if conv.bias is not None:
        y = add_where(y, conv.bias_for(y), new_mask.to(y.dtype))
    return y, new_mask


def _masked_alike(
    conv: Conv, geometry: Geometry, mask: Tensor, holes_are_zero: bool, needs_mask: bool
) -> tuple[Tensor, Tensor]:
    """`masked` where all channels have one mask; the new mask is in the input's dtype, and any if not needed."""
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
