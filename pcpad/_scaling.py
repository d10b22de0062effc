"""Scale a padded convolution's output by the ratio, which makes it a partial one, in the fewest passes over memory.

Private to the package: `pcpad.functional` is the public face. With a cached ratio this is one multiply, over the whole
map or over the border alone, as `pcpad._border.Plan` decides. The border alone is scaled in place, so under autograd it
needs a function of its own: slices written in place would each cost a copy of the gradient.
"""

from __future__ import annotations

from itertools import starmap
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from pcpad import _border, kernels
from pcpad._border import Plan, kept_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Kept", "kept_for", "quickly_kept", "scaled"]

_HALVES = (torch.float16, torch.bfloat16)
_KEPT_DTYPES = (torch.float32, torch.float64, *_HALVES)
# Each keeps strips of at most `_border.STRIP_ELEMENTS`, twice: 64 MiB in float32 at worst.
_MEMO_STRIPS = 64
_MEMO_CALLS = 256


class Strip(NamedTuple):
    """A part of the border."""

    where: tuple[Any, ...]  # its place in (..., *spatial)
    ratio: Tensor  # (*its size)
    rest: Tensor  # 1 - ratio
    part: slice  # its place in `Kept.rests`


class Kept(NamedTuple):
    """The cached ratio of a call: of the whole map or of the border, in strips or as a table."""

    ratio: Tensor | None
    strips: tuple[Strip, ...] = ()
    rests: Tensor | None = None  # 1 - ratio of all strips, one after the other
    dims: int = 2
    table: tuple[Tensor, Tensor] | None = None  # the border's places in a plane (int32), and their ratios

    @property
    def takes_bias(self) -> bool:
        """Whether the convolution adds the bias, whose excess at the border is then subtracted."""
        return self.ratio is None


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a ratio for outputs of a dtype: float32 or wider."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@kept_calls(_MEMO_STRIPS)
def _memoized_strips(plan: Plan, dtype: torch.dtype, device: torch.device, _stream: int) -> Kept:
    """A pure function of its arguments, as `_border.memoized` requires."""
    with torch.inference_mode(False), torch.no_grad():
        return _strips_of(plan, dtype, device)


def _strips_of(plan: Plan, dtype: torch.dtype, device: torch.device) -> Kept:
    geometry, windows = plan.geometry, plan.geometry.output_size(plan.size)
    ranges = _border.interior(plan.size, windows, geometry)
    counts = _border.kept_counts(plan, dtype, device)
    whole, inner = [slice(0, count) for count in windows], list(starmap(slice, ranges))
    strips: list[Strip] = []
    at = 0
    for axis, (start, end) in enumerate(ranges):
        for side in (slice(0, start), slice(end, windows[axis])):
            if side.stop > side.start:
                where = (*inner[:axis], side, *whole[axis + 1 :])
                taken = [count[part] for count, part in zip(counts, where, strict=True)]
                ratio = _border.ratio_of(taken, geometry)
                strips.append(Strip((..., *where), ratio, 1 - ratio, slice(at, at + ratio.numel())))
                at += ratio.numel()
    rests = torch.cat([strip.rest.flatten() for strip in strips]) if strips else None
    return Kept(None, tuple(strips), rests, len(plan.size))


@kept_calls(_MEMO_STRIPS)
def _memoized_table(plan: Plan, dtype: torch.dtype, device: torch.device, _stream: int) -> Kept:
    """A pure function, as `_border.memoized` requires: the same strips, for a kernel that takes all."""
    with torch.inference_mode(False), torch.no_grad():
        strips, windows = _strips_of(plan, dtype, device).strips, plan.geometry.output_size(plan.size)
        plane = torch.arange(prod(windows), device=device, dtype=torch.int32).view(windows)
        places = torch.cat([plane[strip.where].flatten() for strip in strips])
        ratios = torch.cat([strip.ratio.flatten() for strip in strips])
        return Kept(None, dims=len(plan.size), table=(places, ratios))


def kept_for(plan: Plan, like: Tensor, weight: Tensor, bias: Tensor | None) -> Kept | None:
    """The cached ratio for a call with this input, weight and bias; None where nothing may be cached."""
    if not (plan.memoize or plan.borders) or not _border.is_ordinary(like) or like.dtype not in _KEPT_DTYPES:
        return None
    if like.is_cuda and torch.cuda.is_current_stream_capturing():  # its memory holds no values until it is replayed
        return None
    stream = torch.cuda.current_stream(like.device).cuda_stream if like.is_cuda else 0
    if plan.borders and _alone(plan, like, weight, bias):
        keep = _memoized_table if kernels.is_chosen(like) else _memoized_strips
        strips: Kept | None = keep(plan, wide(like.dtype), like.device, stream)
        return strips
    if not plan.memoize:
        return None
    return Kept(_border.memoized(plan, wide(like.dtype), like.device, stream), dims=len(plan.size))


def _alone(plan: Plan, input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether to scale only the border: for maps whose ratio is not cached, and for large ones on a CPU.

    Memory is slow on a CPU, so skipping the interior pays. Where a gradient is wanted, which is copied once in any
    case, it only pays if the ratio would have to be recomputed. On a GPU it pays where its kernel was measured to be
    faster.
    """
    tensors = (input, weight) if bias is None else (input, weight, bias)
    if not all(map(_in_place, tensors)):
        return False
    if bias is not None and bias.dtype != input.dtype and not _casts(input.device.type):
        return False  # the convolution would not take it
    if not plan.memoize or kernels.is_chosen(input):
        return True
    if not plan.strips or not _border.on_cpu(input):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


def _casts(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _in_place(tensor: Tensor) -> bool:
    """Whether results of a tensor may be overwritten: not under function transforms, which have no rule for it."""
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor) and forward_ad._current_level < 0


def quickly_kept(dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, *arguments: Any) -> Kept | None:
    """The cached ratio of the most common calls, by a single lookup; None for all others, which take the slower path.

    Python code between two convolutions runs on cold caches, at four times the cost that a loop over one layer shows:
    of ResNet-50's 2 % on two CPU cores most was lookups.
    """
    if torch.compiler.is_compiling() or type(input) is not Tensor or not _border.on_cpu(input) or input.is_mkldnn:
        return None
    if torch._C._get_tracing_state() is not None or torch._C._functorch.is_functorch_wrapped_tensor(input):
        return None
    try:
        found = _remembered(dims, input.shape, weight.shape, input.dtype, _border._STRIPS_FROM, *arguments)
    except TypeError:  # a list cannot be a key
        return None
    if found is None:
        return None
    whole: Kept | None
    border: Kept | None
    plan, whole, border = found
    if border is not None and _alone(plan, input, weight, bias):
        return border
    return whole


@kept_calls(_MEMO_CALLS)
def _remembered(
    dims: int, input: Sequence[int], weight: Sequence[int], dtype: torch.dtype, strips_from: int, *arguments: Any
) -> tuple[Plan, Kept | None, Kept | None] | None:
    if len(weight) != dims + 2 or dtype not in _KEPT_DTYPES or _border.is_uneven(arguments[1]):
        return None
    plan = _border.make_plan(input, weight, *arguments, strips_from=strips_from)
    if not plan.pads or plan.may_miss:
        return None
    where = (plan, wide(dtype), torch.device("cpu"), 0)
    whole = Kept(_border.memoized(*where), dims=dims) if plan.memoize else None
    border = _memoized_strips(*where) if plan.borders and (plan.strips or not plan.memoize) else None
    return plan, whole, border


def scaled(y: Tensor, bias: Tensor | None, kept: Kept) -> Tensor:
    """`y·r + b` of a convolution's output, which is overwritten.

    Args:
        y: (N, O, *spatial) or (O, *spatial), without bias; with it where `kept.takes_bias`.
        bias: (O,) or None.
        kept: What `kept_for` returned.
    """
    ratio = kept.ratio
    shaped = None if bias is None else bias.to(y.dtype).view(-1, *[1] * kept.dims)
    learns = torch.is_grad_enabled() and (y.requires_grad or (shaped is not None and shaped.requires_grad))
    if ratio is not None:
        if shaped is None and (not learns or ratio.dtype == y.dtype):
            return y.mul_(ratio)
        if shaped is not None and learns and ratio.dtype == y.dtype:
            return torch.addcmul(shaped, y, ratio)
        if not (_border.is_ordinary(y) and (shaped is None or _in_place(shaped)) and _in_place(y)):
            return y.mul_(ratio) if shaped is None else y.mul_(ratio) + shaped
    if learns:
        output: Tensor = _Scale.apply(y, shaped, kept)
        return output
    return _scale_(y, shaped, kept)


def _scale_(y: Tensor, bias: Tensor | None, kept: Kept) -> Tensor:
    if kept.table is not None:
        from pcpad._border_kernel import scale_border_  # Triton, which is imported nowhere else

        return scale_border_(y, bias, *kept.table, kept.dims)
    if kept.ratio is not None:
        # One pass: half precision is read and written as such and computed in the ratio's.
        return y.mul_(kept.ratio) if bias is None else torch.addcmul(bias, y, kept.ratio, out=y)
    added = None
    if bias is not None and bias.dtype in _HALVES and kept.rests is not None:
        added = bias.flatten().unsqueeze(1) * kept.rests  # of all strips at once, in the ratio's precision
    for where, ratio, rest, part in kept.strips:
        strip = y[where]
        if bias is None:
            strip.mul_(ratio)
        elif added is None:  # in one pass: a column's elements lie a cache line apart, and fetching these is the cost
            strip.lerp_(bias, rest)  # y·r + b·(1 - r)
        else:
            torch.addcmul(added[:, part].unflatten(1, ratio.shape), strip, ratio, out=strip)
    return y


class _Scale(Function):
    """`y·r + b` in place; linear, so its derivative is `_Times`, whatever the order."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor | None, kept: Kept) -> Tensor:
        ctx.kept, ctx.shape = kept, None if bias is None else bias.shape
        ctx.mark_dirty(y)
        return _scale_(y, bias, kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_y = _Times.apply(gradient, ctx.kept) if ctx.needs_input_grad[0] else None
        of_bias = gradient.sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None
        return of_y, of_bias, None


class _Times(Function):
    """`g·r`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, kept: Kept) -> Tensor:
        ctx.kept = kept
        if kept.ratio is not None:
            return torch.mul(gradient, kept.ratio, out=torch.empty_like(gradient))
        return _scale_(gradient.clone(), None, kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Times.apply(gradient, ctx.kept), None
