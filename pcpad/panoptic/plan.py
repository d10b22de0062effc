"""Which windows of a map mix ids, and what each of them may see; see `pcpad.panoptic`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from pcpad import _border
from pcpad._border import Geometry
from pcpad._mask_counts import ratio_of_counts
from pcpad.errors import UserTypeError, UserValueError
from pcpad.panoptic.packing import Packed, pack
from pcpad.panoptic.rows import Places, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcpad._conv_call import IntOrTuple, Padding

__all__ = ["PanopticPlan", "is_traced", "panoptic_ids", "tap_of"]

_HARDLY_SUPPORTED = (torch.uint16, torch.uint32, torch.uint64)
# Between these shares of windows that mix ids it depends on the layer whether all are computed.
SOME_EVERYWHERE_FROM, NEVER_EVERYWHERE_FROM = 0.2, 0.5
_FLOATS = "Ids are compared exactly, which floating-point ones do not survive: 26001 equals 26002 in float16."

_Move = Callable[[Tensor], Tensor]  # by a name: torch.jit reads methods' annotations, and no list within one


class PanopticPlan:
    """Which windows of a map mix ids, and what each of them may see: built once, used by all layers of a resolution.

    It depends on the ids and on where the windows lie, not on channels, dtype or weights. Build it with
    `build` and hand it to layers in place of the ids. A data loader's workers may build it (see `complete`): it
    pickles, is pinned with its batch, and Lightning moves it as it moves tensors, by `to`.

    Attributes:
        geometry: Kernel, stride, padding and dilation.
        size: (H, W) of the ids and so of the inputs.
        windows: (H', W') of the outputs.
        batch: Its number of samples; a plan of one serves any number.
        may_be_void: Whether a window's center can lie in the padding, so that no tap is valid.
        valid: (N|1, K, H', W') of bool: whether a tap has the id of its window's center.
        count: (N|1, 1, H', W') of int32: how many taps have.
        mixed: (N|1, 1, H', W') of bool: windows that an ordinary convolution, even with partial padding, gets wrong.
        form: "rows" or "dense", see `build`.

    Example:
        >>> ids = torch.tensor([[7, 7, 7, 9]]).expand(4, 4)[None, None]
        >>> plan = PanopticPlan.build(ids, kernel_size=3, padding=1)
        >>> plan.mixed_fraction, plan.count[0, 0, 1].tolist()
        (0.5, [6, 9, 6, 3])
    """

    def __init__(self, geometry: Geometry, ids: Tensor, form: str) -> None:
        self.geometry, self.form = geometry, form
        self.size = tuple(ids.shape[2:])
        self.windows = geometry.output_size(self.size)
        self.batch = ids.shape[0]
        (height, width), _, (above, left), _, (down, right) = geometry
        self.may_be_void = above > height // 2 * down or left > width // 2 * right
        compare = _compare_at_once if form == "rows" else _compare
        self.valid, self.count, self.mixed = compare(ids, geometry, self.windows)
        self._tables: dict[tuple[bool, bool], Table] = {}
        self._ratios: dict[torch.dtype, Tensor] = {}
        self._mixed = Places.where(self.mixed) if form == "rows" else None
        self._packed: Packed | None = None

    @classmethod
    def build(
        cls,
        ids: Tensor,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: Padding = 0,
        dilation: IntOrTuple = 1,
        *,
        form: Literal["auto", "rows", "dense"] = "auto",
    ) -> PanopticPlan:
        """Compare the ids of each window with its center's.

        Args:
            ids: (N|1, 1, H, W) of any integer type or bool; (1, H, W) for inputs without a batch axis.
            kernel_size: Odd, an int or one int per axis, as the three that follow.
            stride: As in `torch.nn.functional.conv2d`.
            padding: Also `"valid"` or `"same"`; it belongs to no id.
            dilation: As in `torch.nn.functional.conv2d`.
            form: "rows" lists the windows that mix ids, which on a GPU waits for it once; "dense" lists
                nothing and reads nothing back, so that it can be exported and compiled without a graph break, at
                K times the memory. "auto" is dense while exporting, under `torch.func` and without values (on the
                meta device, fake tensors), else rows.

        Returns:
            The plan.

        Raises:
            ValueError: For even kernels, a shape that does not fit, or an unknown form.
            TypeError: If the ids are not integers.
        """
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.is_complex():
            came = f"a tensor of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
            message = f"Expected `ids` to be a tensor of integers, but got {came}. {_FLOATS}"
            raise UserTypeError(message)
        if ids.dim() not in (3, 4) or ids.shape[-3] != 1:
            message = f"Expected `ids` of shape (N, 1, H, W), one id per pixel, but got {tuple(ids.shape)}."
            raise UserValueError(message)
        if form not in ("auto", "rows", "dense"):
            message = f'Expected `form` to be "auto", "rows" or "dense", but got {form!r}.'
            raise UserValueError(message)
        geometry = Geometry.of(2, kernel_size, stride, padding, dilation, centered=True)
        if form == "auto":
            form = "dense" if is_traced(ids) else "rows"
        if form == "rows" and torch.compiler.is_compiling():
            build: Callable[..., PanopticPlan] = torch.compiler.disable(cls.build)
            return build(ids, kernel_size, stride, padding, dilation, form=form)
        # A plan that was made under inference_mode could not be used in a later training step.
        with torch.inference_mode(False) if form == "rows" else nullcontext(), torch.no_grad():
            return cls(geometry, ids if ids.dim() == 4 else ids[None], form)

    @property
    def mixed_fraction(self) -> float:
        """The share of windows that mix ids, over the batch."""
        if self._mixed is None:
            return float(self.mixed.double().mean())
        return len(self._mixed.places) / max(self.mixed.numel(), 1)

    def ratio(self, dtype: torch.dtype, at: Places | None = None) -> Tensor:
        """`r` of Eq. 2, 0 where no tap is valid.

        Args:
            dtype: The result's dtype, which is at least float32.
            at: Some windows alone.

        Returns:
            (N|1, 1, H', W'), or (n,) for some windows.
        """
        dtype = torch.promote_types(dtype, torch.float32)
        if at is None and dtype in self._ratios:
            return self._ratios[dtype]
        kept = at is None and self.form == "rows"
        with torch.inference_mode(False) if kept else nullcontext():
            count = self.count if at is None else self.count.flatten(1)[at.samples, at.places]
            if self.form == "rows" and not is_traced(count):
                ratio = ratio_of_counts(count, prod(self.geometry.kernel), dtype)
            else:
                count = count.to(dtype)
                ratio = torch.where(count > 0, prod(self.geometry.kernel) / count, torch.zeros_like(count))
        if kept:
            self._ratios[dtype], self._packed = ratio, None
        return ratio

    def complete(self, *, gradients: bool = True) -> PanopticPlan:
        """Compute now what layers would request one by one, except what one kernel derives from the rest.

        Args:
            gradients: Also what a backward pass needs.

        Returns:
            The plan itself.

        Example:
            >>> ids = torch.tensor([[7, 7, 7, 9]]).expand(4, 4)[None, None]
            >>> PanopticPlan.build(ids, kernel_size=3, padding=1).complete().to("cpu").size
            (4, 4)
        """
        fraction = self.mixed_fraction
        if self.form != "rows" or not fraction:
            return self
        # Where more windows mix than in `_EVERYWHERE_FROM` of the layer, all are computed.
        for everywhere in [False] * (fraction <= NEVER_EVERYWHERE_FROM) + [True] * (fraction > SOME_EVERYWHERE_FROM):
            self.table(everywhere=everywhere)
            if gradients and not self._is_mutual:
                self.table(transpose=True, everywhere=everywhere)
        return self

    @property
    def _is_mutual(self) -> bool:
        """Whether a position is read by the windows that its own window reads; having the same id is mutual."""
        return set(self.geometry.stride) == {1} and self.windows == self.size and not self.may_be_void

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PanopticPlan:
        """The plan on a device, in one copy; itself if it is there.

        Args:
            device: Any.
            non_blocking: Do not wait for a copy from or to pinned memory.
        """
        if self.mixed.device == torch.empty(0, device=device).device:
            return self
        return self._of(self._in_one(), lambda memory: memory.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> PanopticPlan:
        """The plan in pinned memory, as `torch.utils.data.DataLoader(pin_memory=True)` asks for.

        Args:
            device: See `torch.Tensor.pin_memory`.
        """
        return self._of(self._in_one(), lambda memory: memory.pin_memory(device) if device else memory.pin_memory())

    def _in_one(self) -> Packed:
        if self._packed is None:
            self._packed = pack({name: value for name, value in vars(self).items() if name != "_packed"})
        return self._packed

    @classmethod
    def _of(cls, packed: Packed, move: _Move) -> PanopticPlan:
        plan = cls.__new__(cls)
        plan.__setstate__(packed._replace(memory=move(packed.memory)))
        return plan

    def __getstate__(self) -> Packed:
        return self._in_one()

    def __setstate__(self, packed: Packed) -> None:
        vars(self).update(packed.unpack(), _packed=packed)

    def __repr__(self) -> str:
        name = f"PanopticPlan(batch={self.batch}, size={self.size}, kernel_size={self.geometry.kernel}"
        return f"{name}, windows={self.windows}, form={self.form!r})"

    def table(self, *, transpose: bool = False, everywhere: bool = False) -> Table:
        """The windows that mix ids (or all of them), and what they read; of the transposed convolution if asked for.

        Kept, since the layers of a resolution share them.
        """
        table = self._tables.get((transpose, everywhere))
        if table is not None:
            return table
        stride = self.geometry.stride
        with torch.inference_mode(False), torch.no_grad():
            if transpose:
                table = self._transposed_table(everywhere)
            else:
                windows = self._mixed
                if everywhere or windows is None:
                    windows = Places.where(torch.ones_like(self.mixed) if everywhere else self.mixed)
                first = windows.places if stride[1] == 1 else windows.places * stride[1]
                ahead = stride[0] * self.size[1] - stride[1] * self.windows[1]
                if ahead:  # from the end of one row of windows to the start of the next
                    row = torch.div(windows.places, self.windows[1], rounding_mode="floor")
                    first = torch.add(first, row, alpha=ahead)
                taps = _for_values(_tap_offsets, self.geometry, self.size, like=first)
                table = Table.of(windows, first.unsqueeze(1) + taps, self.valid, prod(self.size))
        self._tables[transpose, everywhere], self._packed = table, None
        return table

    def _transposed_table(self, everywhere: bool) -> Table:
        kernel, stride, lead, _, dilation = self.geometry
        if self._is_mutual:
            table = self.table(everywhere=everywhere)
            return table._replace(taps=table.taps.flip(1))
        valid, affected = _transposed_valid(self.valid, self.geometry, self.size)
        positions = Places.where(torch.ones_like(affected) if everywhere else affected)
        targets = []
        for tap in itertools.product(*map(range, kernel)):
            shift = [p - t * d for p, t, d in zip(lead, tap, dilation, strict=True)]
            y = torch.div(positions.places // self.size[1] + shift[0], stride[0], rounding_mode="floor")
            x = torch.div(positions.places % self.size[1] + shift[1], stride[1], rounding_mode="floor")
            targets.append(y * self.windows[1] + x)
        return Table.of(positions, torch.stack(targets, dim=1).add_(1), valid, prod(self.windows))


def panoptic_ids(label: Tensor, instance: Tensor) -> Tensor:
    """One id for each pair of label and instance.

    Args:
        label: Integers (N, 1, H, W) of at most 31 bits, at least 0.
        instance: Likewise, of 32 bits.

    Returns:
        (N, 1, H, W) int64, equal where both are.

    Example:
        >>> panoptic_ids(torch.tensor([1, 1, 2]), torch.tensor([5, 5, 5])).unique().numel()
        2
    """
    return label.long() * 2**32 + instance.long()


def tap_of(padded: Tensor, tap: Sequence[int], geometry: Geometry, windows: Sequence[int]) -> Tensor:
    """The values that one tap of every window reads from a padded map (..., H, W): (..., H', W')."""
    y, x = tap[0] * geometry.dilation[0], tap[1] * geometry.dilation[1]
    down, right = geometry.stride
    if torch.compiler.is_compiling():
        return _border.every(_border.every(padded, -2, y, windows[0], down), -1, x, windows[1], right)
    return padded[..., y : y + (windows[0] - 1) * down + 1 : down, x : x + (windows[1] - 1) * right + 1 : right]


def _compare(ids: Tensor, geometry: Geometry, windows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Validity (N, K, H', W'), its count (N, 1, H', W'), and where that is not the number of taps on the map."""
    if ids.dtype in _HARDLY_SUPPORTED:
        ids = ids.to(torch.int64)  # uint64 wraps around, different ids staying different
    kernel, stride, lead, _, dilation = geometry
    on_map = []  # for each axis, (k, H') or (k, W')
    for axis in (0, 1):
        first = torch.arange(windows[axis], device=ids.device) * stride[axis] - lead[axis]
        at = first + torch.arange(kernel[axis], device=ids.device).unsqueeze(1) * dilation[axis]
        on_map.append((at >= 0) & (at < ids.shape[2 + axis]))
    rows, columns = on_map
    reach = rows.sum(0, dtype=torch.int32).unsqueeze(1) * columns.sum(0, dtype=torch.int32)
    middle = (kernel[0] // 2, kernel[1] // 2)
    rows, columns = rows & rows[middle[0]], columns & columns[middle[1]]  # without its center a window has no id
    pads = geometry.pads_of_f_pad
    padded = F.pad(ids, pads) if any(pads) else ids
    center = tap_of(padded, middle, geometry, windows)
    taps = []
    for t in range(kernel[0]):
        inside = rows[t].unsqueeze(1).expand(windows).contiguous()  # once: to broadcast rows is slow
        for u in range(kernel[1]):
            same = tap_of(padded, (t, u), geometry, windows) == center
            if any(pads):  # no id is left that padding could have
                same &= inside
                same &= columns[u]
            taps.append(same)
    count = taps[0].to(torch.int32)
    for same in taps[1:]:
        count += same  # a third of the time of a sum over all, which would first make integers of them
    return torch.cat(taps, dim=1), count, count != reach


def _compare_at_once(ids: Tensor, geometry: Geometry, windows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """`_compare` in few kernels, where sizes are numbers: all taps in one, through views of a padded copy.

    Ids of at most 32 bits are floating-point numbers in that copy, all different, and the padding is NaN, which
    equals no id, not even itself. Those of 64 bits have no room for that, so taps in the padding are taken out
    afterwards.
    """
    if ids.dtype in _HARDLY_SUPPORTED:
        ids = ids.to(torch.int64)  # uint64 wraps around, different ids staying different
    kernel, stride, lead, _, dilation = geometry
    size, pads, exact = ids.shape[2:], any(geometry.lead + geometry.trail), ids.dtype != torch.int64
    rows, columns, reach = _for_values(_on_map, geometry, tuple(size), like=ids)
    padded = ids
    if pads:
        ends = [before + length + after for before, length, after in zip(lead, size, geometry.trail, strict=True)]
        dtype = (torch.float32 if ids.element_size() < 4 else torch.float64) if exact else ids.dtype
        padded = ids.new_full((*ids.shape[:2], *ends), float("nan") if exact else 0, dtype=dtype)
        padded[:, :, lead[0] : lead[0] + size[0], lead[1] : lead[1] + size[1]] = ids
    taps = padded
    for axis in (0, 1):
        taps = taps.unfold(2 + axis, dilation[axis] * (kernel[axis] - 1) + 1, stride[axis])
    taps = taps[:, 0, ..., :: dilation[0], :: dilation[1]].permute(0, 3, 4, 1, 2)
    center = taps[:, kernel[0] // 2, kernel[1] // 2, None, None]
    valid = torch.empty(taps.shape, dtype=torch.bool, device=ids.device)
    torch.eq(taps, center, out=valid)
    if pads and not exact:
        valid.logical_and_(rows[:, None, :, None]).logical_and_(columns[:, None, :])
    valid = valid.flatten(1, 2)
    if _border.on_cpu(valid):
        count = valid[:, :1].to(torch.int32)
        for tap in range(1, prod(kernel)):
            count += valid[:, tap : tap + 1]  # a third of the time of a sum over all, which would make integers of them
    else:
        count = valid.sum(1, keepdim=True, dtype=torch.int32)
    return valid, count, count != reach[0].unsqueeze(1) * reach[1]


def _for_values(function: Any, geometry: Geometry, size: tuple[int, ...], *, like: Tensor) -> Any:
    """The cached result for a geometry and a size, on the device of a tensor that has values."""
    if not like.is_cuda:
        return function(geometry, size, like.device, 0)
    if torch.cuda.is_current_stream_capturing():  # its memory holds no values until it is replayed
        return function.__wrapped__(geometry, size, like.device, 0)
    return function(geometry, size, like.device, torch.cuda.current_stream(like.device).cuda_stream)


@_border.kept_calls(64)
def _on_map(
    geometry: Geometry, size: tuple[int, ...], device: torch.device, _stream: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Where taps and centers are on the map, (kH, H') and (kW, W'), and how many taps are, along each axis, int32."""
    valid, reach = [], []
    with torch.inference_mode(False), torch.no_grad():
        for axis, windows in enumerate(geometry.output_size(size)):
            kernel = geometry.kernel[axis]
            first = torch.arange(windows, device=device) * geometry.stride[axis] - geometry.lead[axis]
            at = first + torch.arange(kernel, device=device).unsqueeze(1) * geometry.dilation[axis]
            on_map = (at >= 0) & (at < size[axis])
            reach.append(on_map.sum(0, dtype=torch.int32))
            valid.append(on_map & on_map[kernel // 2])  # without its center a window has no id
    return valid[0], valid[1], (reach[0], reach[1])


@_border.kept_calls(64)
def _tap_offsets(geometry: Geometry, size: tuple[int, ...], device: torch.device, _stream: int) -> Tensor:
    """From a window's place to its taps', row by row, which are numbered from 1: (K,)."""
    with torch.inference_mode(False), torch.no_grad():
        down, right = (
            torch.arange(k, device=device) * d for k, d in zip(geometry.kernel, geometry.dilation, strict=True)
        )
        start = geometry.lead[0] * size[1] + geometry.lead[1] - 1
        return (down.unsqueeze(1) * size[1] + right - start).flatten()


def _transposed_valid(valid: Tensor, geometry: Geometry, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Whether the window that reads a position by a tap may, (N, K, H, W); and where any may not, (N, 1, H, W)."""
    result = valid.new_zeros(len(valid), valid.shape[1], *size)
    reached = torch.zeros(valid.shape[1], *size, dtype=torch.bool, device=valid.device)
    for index, tap in enumerate(itertools.product(*map(range, geometry.kernel))):
        windows, positions = [], []
        for axis in (0, 1):
            step = geometry.stride[axis]
            shift = geometry.lead[axis] - tap[axis] * geometry.dilation[axis]
            first = max(-(-shift // step), 0)
            last = min((size[axis] - 1 + shift) // step, valid.shape[2 + axis] - 1)
            count = max(last - first + 1, 0)
            start = first * step - shift
            windows.append(slice(first, first + count))
            positions.append(slice(start, start + max((count - 1) * step + 1, 0), step))
        if all(w.stop > w.start for w in windows):
            result[:, index, positions[0], positions[1]] = valid[:, index, windows[0], windows[1]]
            reached[index, positions[0], positions[1]] = True
    return result, (result != reached).any(1, keepdim=True)


def is_traced(*tensors: Tensor | None) -> bool:
    """Whether results must not depend on ids' values: in exports, transforms, forward-mode gradients, on meta."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    if torch._C._get_tracing_state() is not None or torch.autograd.forward_ad._current_level >= 0:
        return True
    for t in tensors:
        if t is not None and (
            torch._C._functorch.is_functorch_wrapped_tensor(t) or t.is_meta or isinstance(t, FakeTensor)
        ):
            return True
    return False
