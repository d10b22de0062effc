"""How many taps of each window are valid, in closed form, and how a border is scaled by it.

Private to the package: `pcpad.functional` is the public face.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from pcpad._renamed import moved
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A memoized ratio has at most this many elements (256 KiB in float32). Each of the two memos that hold ratios keeps 256
# of them, mostly the same ones: 128 MiB at worst.
_MEMO_ELEMENTS = 1 << 16
_MEMO_ENTRIES = 256
# For larger maps only the border's ratio is kept, with at most this many elements.
STRIP_ELEMENTS = 1 << 17
# Below this many output elements one multiply over everything is quicker than some slices of it
# (one CPU core, float32: 64x112x112 takes 98 us whole and 48 to 156 us in strips; 64x224x224 takes 430 and 55 to 152).
_STRIPS_FROM = 1 << 20


_MEMOS: list[Any] = []


def kept_calls(maxsize: int) -> Callable[[Callable[..., Any]], Any]:
    """`functools.lru_cache`, for pure functions only; `forget` empties it."""

    def remember(function: Callable[..., Any]) -> Any:
        memo = lru_cache(maxsize=maxsize)(function)
        _MEMOS.append(memo)
        return memo

    return remember


class Geometry(NamedTuple):
    """Where a convolution's windows lie, one entry per axis; `lead`/`trail` are the padding on either side."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    lead: tuple[int, ...]
    trail: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        dims: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] | Sequence[tuple[int, int]] | str,
        dilation: int | Sequence[int],
        *,
        centered: bool = False,
    ) -> Geometry:
        """Read the arguments as `nn.ConvNd` does, and pairs of padding; with `centered` only kernels with a center.

        Raises:
            ValueError: For a wrong number of entries, a negative padding, an unknown padding string, an even kernel.
        """
        kernel = per_axis("kernel_size", kernel_size, dims)
        stride = per_axis("stride", stride, dims)
        dilation = per_axis("dilation", dilation, dims)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                message = f"Expected `padding` to be 'same', 'valid', an int or {dims} ints, but got {padding!r}."
                raise UserValueError(message)
            total = [d * (k - 1) * (padding == "same") for d, k in zip(dilation, kernel, strict=True)]
            lead = tuple(t // 2 for t in total)
            trail = tuple(t - left for t, left in zip(total, lead, strict=True))
        elif is_uneven(padding):
            pairs: Any = padding
            if len(pairs) != dims:
                message = f"Expected `padding` to be {dims} pairs (before, after), one per axis, but got {padding}."
                raise UserValueError(message)
            lead, trail = (tuple(pair[side] for pair in pairs) for side in (0, 1))
        else:
            lead = trail = per_axis("padding", padding, dims)  # type: ignore[arg-type]
        if any(not is_symbol(side) and side < 0 for side in lead + trail):
            message = f"Expected `padding` of at least 0, but got {padding}."
            raise UserValueError(message)
        if centered and prod(kernel) % 2 == 0:
            message = f"Expected odd kernel sizes, since a window is compared with its center, but got {kernel}."
            raise UserValueError(message)
        return cls(kernel, stride, lead, trail, dilation)

    @property
    def pads_of_f_pad(self) -> list[int]:
        """The padding in the order of `torch.nn.functional.pad`: before and after, the last axis first."""
        pads: list[int] = []
        for pair in zip(reversed(self.lead), reversed(self.trail), strict=True):
            pads += pair
        return pads

    @property
    def may_miss(self) -> bool:
        """Whether a window could hold no valid tap for some input size (otherwise each holds one at any size)."""
        if any(map(is_symbol, self.lead + self.trail)):
            return True  # not known: comparing would bind a program to the size that it was exported with
        for kernel, _, lead, trail, dilation in zip(*self, strict=True):
            if dilation == 1:  # a window is an interval without gaps
                hits = max(lead, trail) < kernel
            else:  # one tap must lie inside for the first and the last window, and so for all between
                hits = any(k * dilation >= lead and (kernel - 1 - k) * dilation >= trail for k in range(kernel))
            if not hits:
                return True
        return False

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Windows per axis for an input of this size.

        Raises:
            ValueError: If a kernel does not fit even once.
        """
        windows: tuple[int, ...] = ()
        for length, k, s, before, after, d in zip(size, *self, strict=True):
            windows += ((length + before + after - d * (k - 1) - 1) // s + 1,)
        if min(windows) < 1:
            message = f"A kernel of {self.kernel} (dilation {self.dilation}) does not fit an input of {tuple(size)}."
            raise UserValueError(message)
        return windows


def is_uneven(padding: object) -> bool:
    """Whether a padding is given as pairs (before, after), one per axis."""
    return isinstance(padding, tuple | list) and bool(padding) and isinstance(padding[0], tuple | list)


def is_symbol(size: object) -> bool:
    """Whether a size is not known yet: `torch.export` passes symbols."""
    return isinstance(size, torch.SymInt)


def per_axis(name: str, value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One int per axis from an int, a one-element or a `dims`-element sequence.

    Raises:
        ValueError: For another number of elements.
    """
    if isinstance(value, int):
        return (value,) * dims
    if not isinstance(value, list | tuple) or len(value) not in (1, dims):
        message = f"Expected `{name}` to be an int or {dims} ints, but got {value}."
        raise UserValueError(message)
    return tuple(value) * (dims // len(value))


def axis_taps(
    size: int, windows: int, kernel: int, stride: int, lead: int, dilation: int, device: torch.device
) -> Tensor:
    """Valid taps of each window along one axis: those at or after 0 and before `size`; int64 of (windows,)."""
    start = torch.arange(windows, device=device) * stride - lead
    before_end, before_start = (size - start).clamp(min=0), (-start).clamp(min=0)
    if dilation > 1:
        before_end = torch.div(before_end + (dilation - 1), dilation, rounding_mode="floor")
        before_start = torch.div(before_start + (dilation - 1), dilation, rounding_mode="floor")
    return before_end.clamp(max=kernel) - before_start.clamp(max=kernel)


def closed_form(
    size: Sequence[int], windows: Sequence[int], geometry: Geometry, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """`r` of partial-convolution padding, separable over the axes; 0 where no tap is valid; of size `windows`."""
    return ratio_of(axis_counts(size, windows, geometry, dtype, device), geometry)


def axis_counts(
    size: Sequence[int], windows: Sequence[int], geometry: Geometry, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """Valid taps of each window along each axis: one vector per axis."""
    return tuple(
        axis_taps(length, count, k, s, lead, d, device).to(dtype)
        for length, count, k, s, lead, _, d in zip(size, windows, *geometry, strict=True)
    )


def kept_counts(plan: Plan, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """`axis_counts` of a plan of plain numbers.

    On a CPU Python counts, with one operation per axis: a first call runs on cold caches, where each operation costs
    as much as counting the few windows at the border. A GPU would be waited for.
    """
    windows = plan.geometry.output_size(plan.size)
    if device.type != "cpu":
        return axis_counts(plan.size, windows, plan.geometry, dtype, device)
    axes = list(zip(plan.size, windows, *plan.geometry, interior(plan.size, windows, plan.geometry), strict=True))
    counts = {axis: torch.tensor(_counted(*axis), dtype=dtype, device=device) for axis in dict.fromkeys(axes)}
    return tuple(counts[axis] for axis in axes)


def _counted(
    size: int, windows: int, kernel: int, stride: int, lead: int, _: int, dilation: int, inside: tuple[int, int]
) -> list[int]:
    """`axis_taps` in plain numbers; all windows in `inside` see every tap."""
    start, end = inside if inside[0] < inside[1] else (windows, windows)
    counts = [kernel] * windows
    for window in (*range(start), *range(end, windows)):
        first = window * stride - lead
        counts[window] = sum(0 <= first + tap * dilation < size for tap in range(kernel))
    return counts


def ratio_of(counts: Sequence[Tensor], geometry: Geometry) -> Tensor:
    """`r` where each axis has these numbers of valid taps; 0 where no tap is valid."""
    taps = counts[0]
    for count in counts[1:]:
        taps = taps.unsqueeze(-1) * count
    ratio = prod(geometry.kernel) / taps
    return torch.where(taps > 0, ratio, torch.zeros_like(ratio)) if geometry.may_miss else ratio


def window_sum(values: Tensor, geometry: Geometry, windows: Sequence[int]) -> Tensor:
    """Sum of each window of (..., *spatial), zeros outside.

    Shifted slices are added axis by axis: exact for integers in float32 up to 2^24 on every device, which
    a convolution with ones is not (TF32, Winograd), and it takes any stride and dilation.
    """
    total = F.pad(values, geometry.pads_of_f_pad)
    for axis in range(len(geometry.kernel)):
        source = total
        taps = (
            every(
                source, axis - len(geometry.kernel), k * geometry.dilation[axis], windows[axis], geometry.stride[axis]
            )
            for k in range(geometry.kernel[axis])
        )
        total = sum(taps, start=next(taps))
    return total


def every(values: Tensor, axis: int, start: int, count: int, step: int) -> Tensor:
    """`count` entries along `axis` (negative), from `start` in steps of `step`."""
    if step > 1 and torch.compiler.is_compiling():
        # A strided slice leaves torch.export a guard on a dynamic size that it cannot prove.
        return values.index_select(axis, torch.arange(count, device=values.device) * step + start)
    later: tuple[Any, ...] = (slice(None),) * (-axis - 1)
    return values[(..., slice(start, start + (count - 1) * step + 1, step), *later)]


class Plan(NamedTuple):
    """What a call's shapes determine; computed once where these are plain numbers."""

    geometry: Geometry
    size: tuple[int, ...]  # of the input
    pads: bool
    may_miss: bool  # a window may hold no valid tap
    strips: bool  # on a CPU, scaling the border alone beats one multiply over the whole map
    memoize: bool  # the ratio is small enough to be cached
    borders: bool  # the border's ratio is, and the border is at most half of the map
    numbers: bool  # sizes are plain numbers, so that something can be kept for them


def make_plan(
    input: Sequence[int],
    weight: Sequence[int],
    stride: int | Sequence[int],
    padding: int | Sequence[int] | Sequence[tuple[int, int]] | str,
    dilation: int | Sequence[int],
    groups: int,
    *,
    strips_from: int | None,
) -> Plan:
    """Plan the call for these shapes; with `strips_from=None` for shapes that are still symbols.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    dims = len(weight) - 2
    if len(input) not in (dims + 1, dims + 2) or input[-dims - 1] != weight[1] * groups:
        axes, channels = ("L", "H, W", "T, H, W")[dims - 1], weight[1] * groups
        message = f"Expected an input of shape (N, {channels}, {axes}) or ({channels}, {axes}), but got {tuple(input)}."
        raise UserValueError(message)
    geometry, size = Geometry.of(dims, weight[2:], stride, padding, dilation), tuple(input[-dims:])
    may_miss, strips, memoize, borders = geometry.may_miss, False, False, False
    if strips_from is not None:
        windows = geometry.output_size(size)
        inner = 1
        for start, end in interior(size, windows, geometry):
            inner *= max(end - start, 0)
        outputs = (input[0] if len(input) == dims + 2 else 1) * weight[0] * prod(windows)
        # The interior is then not empty, on which `pcpad._scaling` relies.
        borders = 2 * inner > prod(windows) and not may_miss and prod(windows) - inner <= STRIP_ELEMENTS
        strips = borders and outputs >= strips_from
        memoize = prod(windows) <= _MEMO_ELEMENTS
    pads = any(is_symbol(side) or side for side in geometry.lead + geometry.trail)
    return Plan(geometry, size, pads, may_miss, strips, memoize, borders, strips_from is not None)


_remembered_plan = kept_calls(4 * _MEMO_ENTRIES)(make_plan)


def plan_for(input: Tensor, weight: Tensor, *arguments: Any) -> Plan:
    """The plan of a call; `arguments` are stride, padding, dilation and groups."""
    if not torch.compiler.is_compiling() and torch._C._get_tracing_state() is None:
        try:
            plan: Plan = _remembered_plan(input.shape, weight.shape, *arguments, strips_from=_STRIPS_FROM)
            return plan
        except TypeError:  # a list cannot be a key, nor a symbolic size
            pass
    return make_plan(input.shape, weight.shape, *arguments, strips_from=None)


def ratio_for(y: Tensor, plan: Plan) -> Tensor:
    """`r` at every position of the output `y`, on its device, in float32 or wider."""
    dtype = y.dtype if y.dtype in (torch.float32, torch.float64) else torch.float32
    windows = y.shape[-len(plan.size) :]
    capturing = y.is_cuda and torch.cuda.is_current_stream_capturing()  # its memory holds values after a replay
    if capturing or not plan.numbers or not is_ordinary(y):
        return closed_form(plan.size, windows, plan.geometry, dtype, y.device)
    stream = torch.cuda.current_stream(y.device).cuda_stream if y.is_cuda else 0
    if plan.memoize:
        ratio: Tensor = memoized(plan, dtype, y.device, stream)
        return ratio
    return ratio_of(_memoized_counts(plan, dtype, y.device, stream), plan.geometry)


@kept_calls(_MEMO_ENTRIES)
def memoized(plan: Plan, dtype: torch.dtype, device: torch.device, _stream: int) -> Tensor:
    """A pure function of its arguments, the stream included, so that no other stream reads an unfinished result."""
    # A tensor made under inference_mode could not be used in a later training step.
    with torch.inference_mode(False), torch.no_grad():
        return ratio_of(kept_counts(plan, dtype, device), plan.geometry)


@kept_calls(_MEMO_ENTRIES)
def _memoized_counts(plan: Plan, dtype: torch.dtype, device: torch.device, _stream: int) -> tuple[Tensor, ...]:
    """The same for maps whose ratio is too large to keep: one vector per axis."""
    with torch.inference_mode(False), torch.no_grad():
        return kept_counts(plan, dtype, device)


def known_valid(mask: Tensor) -> bool:
    """Whether the mask is known to have no hole; checked only where that is cheap.

    Only on a CPU and outside of tracing: on a GPU the check would wait for queued kernels, and a trace would fix the
    answer for this mask.
    """
    if torch.compiler.is_compiling() or not mask.is_cpu or not is_ordinary(mask):
        return False
    return torch._C._get_tracing_state() is None and bool((mask != 0).all())


def forget() -> None:
    """Empty every memo, so that the next call behaves like a first one: for measuring first calls."""
    for memo in _MEMOS:
        memo.cache_clear()


def is_recorded() -> bool:
    """Whether a program is being recorded or forward-mode derivatives are taken, which only see torch's operations."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or forward_ad._current_level >= 0


def is_ordinary(x: Tensor) -> bool:
    """Whether new tensors are ordinary ones: no fake tensor, no function transform."""
    return type(x) is Tensor and not is_wrapped(x)


def is_wrapped(x: Tensor) -> bool:
    """Whether a function transform of `torch.func` wraps x; torch.compile cannot query it."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x)


def on_cpu(x: Tensor) -> bool:
    """Whether to take the CPU's code path; `benchmarks.operations` replaces this to count a GPU's operations."""
    return x.is_cpu


def interior(size: Sequence[int], windows: Sequence[int], geometry: Geometry) -> list[tuple[int, int]]:
    """The range of windows that read no padding, per axis; `start > end` where windows reach out on both sides."""
    ranges = []
    for length, count, k, s, lead, d in zip(
        size, windows, geometry.kernel, geometry.stride, geometry.lead, geometry.dilation, strict=True
    ):
        start = min(-(-lead // s), count)
        end = min((length - 1 + lead - d * (k - 1)) // s + 1, count)
        ranges.append((start, max(end, 0)))
    return ranges


def __getattr__(name: str) -> Any:
    """Names that earlier versions had here."""
    return moved(__name__, name)
