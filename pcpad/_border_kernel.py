"""Scale the border of a convolution's output by one Triton kernel, without touching the interior.

Private to the package, and imported only where `pcpad.kernels` says so: it needs Triton. The ratios are those of
`pcpad._border`, kept in a table, so that no mathematics is written twice.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["scale_border_"]

_TILE = 1024  # elements per program


@triton.jit  # type: ignore[untyped-decorator]  # Triton has no types
def _scale(  # type: ignore[no-untyped-def]  # pointers, and numbers that Triton types by their values
    y, bias, places, ratios, count, blocks, planes, channels, image_step, channel_step, place_step,  # noqa: ANN001
    HAS_BIAS: tl.constexpr, PLACES: tl.constexpr, PLANES: tl.constexpr,
) -> None:  # fmt: skip
    """`y·r`, or `y·r + b·(1 - r)`, at some places of some planes (a plane is one channel of one image)."""
    at = tl.program_id(0) % blocks * PLACES + tl.arange(0, PLACES)
    plane = tl.program_id(0) // blocks * PLANES + tl.arange(0, PLANES)
    is_place, is_plane = at < count, plane < planes
    ratio = tl.load(ratios + at, mask=is_place, other=1)[None, :]
    place = tl.load(places + at, mask=is_place, other=0)
    channel = plane % channels
    # 64 bits: large images make maps of more than 2^31 elements.
    start = (plane // channels).to(tl.int64) * image_step + channel.to(tl.int64) * channel_step
    where = y + (start[:, None] + place.to(tl.int64)[None, :] * place_step)
    inside = is_plane[:, None] & is_place[None, :]
    old = tl.load(where, mask=inside, other=0)
    new = old.to(ratio.dtype) * ratio
    if HAS_BIAS:
        new += tl.load(bias + channel, mask=is_plane, other=0).to(ratio.dtype)[:, None] * (1 - ratio)
    tl.store(where, new.to(old.dtype), mask=inside)


def scale_border_(y: Tensor, bias: Tensor | None, places: Tensor, ratios: Tensor, dims: int) -> Tensor:
    """Scale some places of every plane, in place and in the ratios' precision: one launch.

    Args:
        y: (N, O, *spatial) or (O, *spatial), of any layout.
        bias: O values in `y`'s dtype, already added to `y` in full: the excess is subtracted. None without a bias.
        places: (count,) of int32: places in a plane, row by row.
        ratios: (count,) in float32 or float64.
        dims: How many spatial axes there are.

    Returns:
        `y`.
    """
    if not _planes_are_whole(y, dims):
        return y.copy_(scale_border_(y.contiguous(), bias, places, ratios, dims))
    channels = y.shape[-dims - 1]
    planes = channels * (y.shape[0] if y.dim() > dims + 1 else 1)
    if not planes or not places.numel():
        return y
    channel_step, place_step = y.stride(-dims - 1), y.stride(-1)
    image_step = y.stride(0) if y.dim() > dims + 1 else 0
    # Neighbors in memory belong to one program: channels in channels-last layout, else positions of a row.
    width = 64 if channel_step == 1 and channels > 1 else 16
    blocks = triton.cdiv(places.numel(), _TILE // width)
    grid = (blocks * triton.cdiv(planes, width),)
    given = y if bias is None else bias.flatten()  # a pointer that is not read where there is no bias
    with torch.cuda.device_of(y):
        _scale[grid](
            y, given, places, ratios, places.numel(), blocks, planes, channels, image_step, channel_step, place_step,
            HAS_BIAS=bias is not None, PLACES=_TILE // width, PLANES=width,
        )  # fmt: skip
    return y


def _planes_are_whole(y: Tensor, dims: int) -> bool:
    """Whether the positions of a plane are in memory order with a constant stride."""
    sizes, steps = y.shape[-dims:], y.stride()[-dims:]
    return all(steps[axis] == steps[axis + 1] * sizes[axis + 1] for axis in range(dims - 1))
