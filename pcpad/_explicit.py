"""The nine filters of explicit padding, in few kernels; `pcpad.layers.ExplicitPadConv2d` is the public face.

Private to the package. The map is cut into nine regions, each of which is convolved with its own filter. For small maps
this is cheap because interior windows read the input itself, not a padded copy, and because corners of a single window
are matrix products (on one EPYC core a convolution of 4x64x3x3 to one position takes 210 us, the product 36). The
gradients of all slices of the padded copy are added up in one map, instead of one map of full size per slice. Filters
are views, whose gradients are assembled once.
"""

from __future__ import annotations

import itertools
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import _border
from pcpad._border import Geometry, interior, kept_calls
from pcpad._other_layers import check_dense

__all__ = ["explicit_conv2d"]

_Place = tuple[int, ...]  # one entry per axis: 0 before the interior, 1 inside, 2 after it
_INSIDE = (1, 1)
_AROUND = [place for place in itertools.product(range(3), repeat=2) if place != _INSIDE]


class _Layout(NamedTuple):
    """The regions of a geometry and a size."""

    geometry: Geometry
    reads: dict[_Place, tuple[Any, ...]]  # what each region's windows read of the padded input; row by row
    whole: tuple[Any, ...]  # where the input is in that
    corners: dict[int, list[_Place]]  # by row, if each is a single window


def explicit_conv2d(
    input: Tensor,
    weight: Tensor,
    border_weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    """The convolution of `ExplicitPadConv2d`, without state.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, kH, kW), of windows inside.
        border_weight: (8, O, C / groups, kH, kW), row by row.
        bias: (O,) or None.
        stride: As in `torch.nn.functional.conv2d`, as `dilation` and `groups`.
        padding: Also `"same"`, `"valid"` or pairs (before, after) per axis.
        dilation: Step between taps.
        groups: Groups of channels that are convolved separately.

    Returns:
        (N, O, H', W') or (O, H', W').
    """
    tensors, where = (input, weight, border_weight, bias), (stride, padding, dilation, groups)
    if has_torch_function(tensors):  # torch.fx's proxies: the whole is one node, whatever the input's size
        return handle_torch_function(explicit_conv2d, tensors, *tensors, *where)
    check_dense(input)
    geometry, size = Geometry.of(2, weight.shape[2:], stride, padding, dilation), tuple(input.shape[-2:])
    if _is_recorded(*tensors):
        layout = _layout(geometry, size)
        padded = F.pad(input, geometry.pads_of_f_pad)
        pieces = {place: padded[reads] for place, reads in layout.reads.items()}
        filters, outputs = dict(zip(_AROUND, border_weight.unbind(), strict=True)), {}
    else:
        layout = _kept_layout(geometry, size)
        pieces = _pieces(input, layout)
        filters, pairs = _filters(border_weight)
        outputs = _of_corners(pieces, pairs, bias, layout) if groups == 1 else {}
        if not outputs:
            filters |= {(row, side): one for row, pair in pairs.items() for side, one in zip((0, 2), pair, strict=True)}
    filters[_INSIDE] = weight
    left = [place for place in layout.reads if place not in outputs]
    for place, own in zip(left, _copies(bias, len(left)), strict=True):
        outputs[place] = F.conv2d(pieces[place], filters[place], own, geometry.stride, 0, geometry.dilation, groups)
    lines = [[outputs[place] for place in layout.reads if place[0] == row] for row in range(3)]
    bands = [torch.cat(line, dim=-1) if len(line) > 1 else line[0] for line in lines if line]
    return torch.cat(bands, dim=-2) if len(bands) > 1 else bands[0]


def _is_recorded(*tensors: Tensor | None) -> bool:
    """Whether the call is traced or transformed in a way that a `Function` with only a backward does not support."""
    return _border.is_recorded() or any(t is not None and _border.is_wrapped(t) for t in tensors)


def _layout(geometry: Geometry, size: tuple[int, ...]) -> _Layout:
    windows = geometry.output_size(size)
    spans = zip(interior(size, windows, geometry), windows, strict=True)
    rows, columns = (_thirds(*span, count) for span, count in spans)
    reads: dict[_Place, tuple[Any, ...]] = {}
    corners: dict[int, list[_Place]] = {}
    single = True
    for place in itertools.product(range(3), repeat=2):
        counts = [side.stop - side.start for side in (rows[place[0]], columns[place[1]])]
        if min(counts) < 1:
            continue
        spans_read = zip(
            (rows[place[0]], columns[place[1]]), geometry.kernel, geometry.stride, geometry.dilation, strict=True
        )
        reads[place] = (
            ...,
            *(slice(side.start * s, (side.stop - 1) * s + d * (k - 1) + 1) for side, k, s, d in spans_read),
        )
        if 1 not in place:
            corners.setdefault(place[0], []).append(place)
            single = single and max(counts) == 1
    ends = zip(geometry.lead, size, strict=True)
    whole = (..., *(slice(before, before + length) for before, length in ends))
    return _Layout(geometry, reads, whole, corners if single else {})


_kept_layout = kept_calls(256)(_layout)


def _thirds(start: int, end: int, count: int) -> list[slice]:
    """Windows before, inside and after the interior; those that reach out on both sides go to the nearer one."""
    if end < start:
        start = end = (start + end + 1) // 2
    return list(itertools.starmap(slice, ((0, start), (start, end), (end, count))))


def _pieces(input: Tensor, layout: _Layout) -> dict[_Place, Tensor]:
    """The part of the input that each region's windows read."""
    found: dict[_Place, Tensor] = {_INSIDE: input} if layout.reads.get(_INSIDE) == layout.whole else {}
    cut = [place for place in layout.reads if place not in found]
    if not cut:
        return found
    followed = torch.is_grad_enabled() and input.requires_grad
    taken = (_Cut.apply if followed else _cut)(input, layout, cut)
    return found | dict(zip(cut, taken, strict=True))


def _cut(input: Tensor, layout: _Layout, places: list[_Place]) -> tuple[Tensor, ...]:
    padded = F.pad(input, layout.geometry.pads_of_f_pad)
    return tuple(padded[layout.reads[place]] for place in places)


class _Cut(Function):
    """Slices of the padded input, whose gradients are added up in one map."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layout: _Layout, places: list[_Place]) -> tuple[Tensor, ...]:
        ctx.layout, ctx.places, ctx.ahead = layout, places, input.shape[:-2]
        return _cut(input, layout, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        geometry, layout = ctx.layout.geometry, ctx.layout
        inside = [where.stop for where in layout.whole[1:]]
        total = gradients[0].new_zeros(*ctx.ahead, *(map(sum, zip(inside, geometry.trail, strict=True))))
        for place, gradient in zip(ctx.places, gradients, strict=True):
            total[layout.reads[place]].add_(gradient)
        return total[layout.whole], None, None


def _filters(border_weight: Tensor) -> tuple[dict[_Place, Tensor], dict[int, Tensor]]:
    """The filters between two corners, and by row those of the two corners, (2, O, C / groups, kH, kW)."""
    followed = torch.is_grad_enabled() and border_weight.requires_grad
    above, top, left, right, bottom, below = (_Filters.apply if followed else _views)(border_weight)
    return {(0, 1): top, (1, 0): left, (1, 2): right, (2, 1): bottom}, {0: above, 2: below}


def _views(border_weight: Tensor) -> tuple[Tensor, ...]:
    corners = border_weight[0:3:2], border_weight[5:8:2]
    return corners[0], border_weight[1], border_weight[3], border_weight[4], border_weight[6], corners[1]


class _Filters(Function):
    """Border filters as views, whose gradients are put together in one tensor."""

    @staticmethod
    def forward(ctx: Any, border_weight: Tensor) -> tuple[Tensor, ...]:
        return _views(border_weight.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        above, top, left, right, bottom, below = gradients
        return torch.stack([above[0], top, above[1], left, right, below[0], bottom, below[1]])


def _copies(bias: Tensor | None, count: int) -> list[Tensor | None]:
    """One copy per user; the gradients of all are summed at once."""
    if bias is None or not bias.requires_grad or count < 2:
        return [bias] * count
    return list(bias.expand(count, -1).unbind())


def _of_corners(
    pieces: dict[_Place, Tensor], pairs: dict[int, Tensor], bias: Tensor | None, layout: _Layout
) -> dict[_Place, Tensor]:
    """Outputs of corners that are single windows, one product per row; none for larger corners."""
    if not layout.corners or len(layout.reads) == 1:  # a view of several would be returned, which nobody may overwrite
        return {}
    down, right = layout.geometry.dilation
    taken = [pieces[place] for row in layout.corners.values() for place in row]
    if (down, right) != (1, 1):
        taken = [piece[..., ::down, ::right] for piece in taken]
    *ahead, channels, height, width = taken[0].shape
    windows = torch.stack(taken).reshape(len(taken), prod(ahead), channels * height * width)
    parts = windows.split([len(row) for row in layout.corners.values()])
    outputs: dict[_Place, Tensor] = {}
    for (row, corners), part in zip(layout.corners.items(), parts, strict=True):
        both = len(corners) == 2
        own = (pairs[row] if both else pairs[row][corners[0][1] // 2].unsqueeze(0)).flatten(2)
        values = _product(part, own, bias)
        outputs |= zip(corners, values.reshape(len(corners), *ahead, values.shape[-1], 1, 1).unbind(), strict=True)
    return outputs


def _product(windows: Tensor, filters: Tensor, bias: Tensor | None) -> Tensor:
    """Windows (n, N, K) by filters (n, O, K): (n, N, O)."""
    if not torch.is_grad_enabled():
        factors = windows, filters.transpose(1, 2)
        return torch.bmm(*factors) if bias is None else torch.baddbmm(bias, *factors)
    # Filters first, so that their gradients come in their own order.
    factors = filters, windows.transpose(1, 2)
    values = torch.bmm(*factors) if bias is None else torch.baddbmm(bias.unsqueeze(1), *factors)
    return values.transpose(1, 2)
