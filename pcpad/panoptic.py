"""Panoptic partial convolution: each output sees only what belongs to the same instance as its window's centre.

Source: Liu et al., "Partial Convolution for Padding, Inpainting, and Image Synthesis" (2022, §3), Eq. 1, 2 and 4, after
Dundar et al., "Panoptic-based Image Synthesis" (CVPR 2020). For the window at one output position, with ``P`` the ids
of its taps::

    m = 1 where P equals P at the window's centre, else 0; padding has no id, so m = 0 there
    y = W · (x ⊙ m) · r + b,   r = |1| / |m|     where |m| > 0
    y = 0                                        where no tap is valid: the centre lies in the padding

Most windows lie within one instance. For these it is an ordinary convolution (with partial-convolution padding), so
that is what runs, everywhere; windows that mix ids are then computed anew from what they may see. Where most
windows mix, they are all computed in that second way and the convolution does not run.
"""

from __future__ import annotations

import itertools
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import _border, functional
from pcpad._border import Geometry
from pcpad._rows import Places, Table
from pcpad._sparse import convolve_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcpad.functional import IntOrTuple, Padding

__all__ = ["PanopticPartialConv2d", "PanopticPlan", "panoptic_conv2d"]

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
_FLOATS = "Ids are compared exactly, which floating-point ones do not survive: 26001 equals 26002 in float16."


class PanopticPlan:
    """Which windows of a map mix ids, and what each of them may see: built once, used by all layers of a resolution.

    It depends on the ids and on where the windows lie, not on channels, dtype or weights. Build it with
    :meth:`build` and hand it to layers in place of the ids.

    Attributes:
        geometry: kernel, stride, padding and dilation.
        size: (H, W) of the ids and so of the inputs.
        windows: (H', W') of the outputs.
        valid: (N|1, K, H', W') of bool: whether a tap has the id of its window's centre.
        count: (N|1, 1, H', W') of int32: how many taps have.
        form: "rows" or "dense", see :meth:`build`.

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
        self.valid, self.count = _compare(ids, geometry, self.windows)
        self._tables: dict[tuple[str, bool], Table] = {}
        self._ratios: dict[torch.dtype, Tensor] = {}
        self._mixed = Places.where(self.mixed) if form == "rows" else None

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
        """Compare the ids of each window with its centre's.

        Args:
            ids: (N|1, 1, H, W) of any integer type or bool; (1, H, W) for inputs without a batch axis.
            kernel_size: odd, an int or one int an axis, as the three that follow.
            stride: as in ``torch.nn.functional.conv2d``.
            padding: also ``"valid"`` or ``"same"``; it belongs to no id.
            dilation: as in ``torch.nn.functional.conv2d``.
            form: "rows" lists the windows that mix ids, which on a GPU waits for it once; "dense" lists
                nothing and reads nothing back, so that it can be exported and compiled without a graph break, at
                K times the memory. "auto" is dense while exporting or under ``torch.func``, else rows.

        Returns:
            The plan.

        Raises:
            ValueError: for even kernels, a shape that does not fit, or an unknown form.
            TypeError: if the ids are not integers.
        """
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.is_complex():
            came = f"a tensor of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
            msg = f"Expected `ids` to be a tensor of integers, but got {came}. {_FLOATS}"
            raise TypeError(msg)
        if ids.dim() not in (3, 4) or ids.shape[-3] != 1:
            msg = f"Expected `ids` of shape (N, 1, H, W), one id a pixel, but got {tuple(ids.shape)}."
            raise ValueError(msg)
        if form not in ("auto", "rows", "dense"):
            msg = f'Expected `form` to be "auto", "rows" or "dense", but got {form!r}.'
            raise ValueError(msg)
        geometry = _geometry(kernel_size, stride, padding, dilation)
        if form == "auto":
            form = "dense" if _is_traced(ids) else "rows"
        with torch.no_grad():
            return cls(geometry, ids if ids.dim() == 4 else ids[None], form)

    @property
    def batch(self) -> int:
        """How many samples it is of; a plan of one serves any number."""
        return self.valid.shape[0]

    @property
    def mixed(self) -> Tensor:
        """(N|1, 1, H', W') of bool: windows that an ordinary convolution, even with partial padding, gets wrong."""
        return self.count != _reach(self.geometry, self.size, self.windows, self.count.device)

    @property
    def mixed_fraction(self) -> float:
        """The share of windows that mix ids, over the batch."""
        if self._mixed is None:
            return float(self.mixed.double().mean())
        return len(self._mixed.places) / max(self.mixed.numel(), 1)

    def ratio(self, dtype: torch.dtype) -> Tensor:
        """``r`` of Eq. 2 at every window, in ``dtype`` but at least float32: (N|1, 1, H', W'); 0 where none is valid."""
        dtype = torch.promote_types(dtype, torch.float32)
        ratio = self._ratios.get(dtype)
        if ratio is None:
            count = self.count.to(dtype)
            ratio = torch.where(count > 0, prod(self.geometry.kernel) / count, torch.zeros_like(count))
            if self.form == "rows":
                self._ratios[dtype] = ratio
        return ratio

    @property
    def may_be_void(self) -> bool:
        """Whether a window's centre can lie in the padding, so that no tap is valid."""
        kernel, _, lead, _, dilation = self.geometry
        return any(p > k // 2 * d for k, p, d in zip(kernel, lead, dilation, strict=True))

    def __repr__(self) -> str:
        name = f"PanopticPlan(batch={self.batch}, size={self.size}, kernel_size={self.geometry.kernel}"
        return f"{name}, windows={self.windows}, form={self.form!r})"

    def table(self, *, transpose: bool = False, everywhere: bool = False) -> Table:
        """The windows that mix ids (or all of them), and what they read; of the transposed convolution if asked for.

        Kept, since the layers of a resolution share them.
        """
        kept = self._tables.get((transpose, everywhere))
        if kept is None:
            with torch.inference_mode(False), torch.no_grad():
                kept = (self._transposed_table if transpose else self._window_table)(everywhere)
            self._tables[transpose, everywhere] = kept
        return kept

    def _window_table(self, everywhere: bool) -> Table:
        windows = self._mixed
        if everywhere or windows is None:
            windows = Places.where(torch.ones_like(self.mixed) if everywhere else self.mixed)
        kernel, stride, lead, _, dilation = self.geometry
        y = torch.div(windows.places, self.windows[1], rounding_mode="floor") * stride[0] - lead[0]
        x = windows.places % self.windows[1] * stride[1] - lead[1]
        taps = [t * dilation[0] * self.size[1] + u * dilation[1] for t in range(kernel[0]) for u in range(kernel[1])]
        targets = (y * self.size[1] + x).unsqueeze(1) + torch.tensor(taps, device=y.device)
        return Table.of(windows, targets, self.valid, prod(self.size))

    def _transposed_table(self, everywhere: bool) -> Table:
        kernel, stride, lead, _, dilation = self.geometry
        if set(stride) == {1} and self.windows == self.size and not self.may_be_void:
            # Having the same id is mutual: position p is read by the windows that p's own window reads.
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
        return Table.of(positions, torch.stack(targets, dim=1), valid, prod(self.windows))


class PanopticPartialConv2d(nn.Conv2d):
    """A convolution whose windows see only what has the id of their centre (Liu et al. 2022, Eq. 1, 2 and 4).

    It keeps ``nn.Conv2d``'s state and nothing else, so weights go both ways. With a single id it is partial-convolution
    padding, ``PartialConv2d``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd, an int or one int an axis, like the four that follow.
        stride: step between windows.
        padding: on each side, of no id; or ``"same"`` or ``"valid"``.
        dilation: step between taps.
        groups: blocks of channels that are convolved apart.
        bias: whether a learned bias is added.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: for an even kernel, which has no centre.

    Example:
        >>> layer = PanopticPartialConv2d(3, 8, kernel_size=3, padding=1)
        >>> ids = torch.zeros(1, 1, 16, 16, dtype=torch.int32)
        >>> ids[:, :, 4:8, 4:8] = 26001
        >>> layer(torch.rand(2, 3, 16, 16), ids).shape  # the ids of one map for the whole batch, or (2, 1, 16, 16)
        torch.Size([2, 8, 16, 16])
        >>> plan = PanopticPlan.build(ids, 3, padding=1)  # once for several layers
        >>> layer(torch.rand(2, 3, 16, 16), plan).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: Padding = 0,
        dilation: IntOrTuple = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape: tuple[Any, ...] = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, device=device, dtype=dtype)
        _geometry(kernel_size, stride, padding, dilation)

    def forward(self, input: Tensor, ids_or_plan: Tensor | PanopticPlan) -> Tensor:  # type: ignore[override]
        """Convolve; see :func:`panoptic_conv2d`.

        Args:
            input: (N, C, H, W) or (C, H, W).
            ids_or_plan: ids (N|1, 1, H, W) of any integer type, or the plan built of them.

        Returns:
            (N, O, H', W').
        """
        return panoptic_conv2d(
            input, self.weight, self.bias, ids_or_plan, self.stride, self.padding, self.dilation, self.groups
        )


def panoptic_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids_or_plan: Tensor | PanopticPlan,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve the taps that have the id of their window's centre, and rescale by how many have (Eq. 1, 2 and 4).

    What has another id never reaches the output, NaN and infinities included. Differentiable in input, weight and
    bias, any number of times.

    Args:
        input: (N, C, H, W) or (C, H, W), floating point.
        weight: (O, C / groups, kH, kW), kH and kW odd.
        bias: (O,) or None.
        ids_or_plan: ids (N|1, 1, H, W) of any integer type, or a :class:`PanopticPlan` of them.
        stride: as in ``torch.nn.functional.conv2d``.
        padding: also ``"valid"`` or ``"same"``; it belongs to no id.
        dilation: as in ``torch.nn.functional.conv2d``.
        groups: as in ``torch.nn.functional.conv2d``.

    Returns:
        (N, O, H', W').

    Raises:
        ValueError: for even kernels, or if a shape or the plan does not fit.
        TypeError: if ids are not integers.
    """
    tensors = (input, weight, bias, ids_or_plan)
    if has_torch_function(tensors):  # torch.fx's proxies, and tensor subclasses that want to know
        return handle_torch_function(panoptic_conv2d, tensors, *tensors, stride, padding, dilation, groups)
    if input.dim() == 3:
        ids = ids_or_plan[None] if isinstance(ids_or_plan, Tensor) and ids_or_plan.dim() == 3 else ids_or_plan
        return panoptic_conv2d(input[None], weight, bias, ids, stride, padding, dilation, groups)[0]
    _border.plan_for(input, weight, stride, padding, dilation, groups)  # refuses what does not go together
    traced = _is_traced(input, weight, bias)
    if isinstance(ids_or_plan, PanopticPlan):
        plan = ids_or_plan
    else:
        form: Any = "dense" if traced else "auto"
        plan = PanopticPlan.build(ids_or_plan, tuple(weight.shape[2:]), stride, padding, dilation, form=form)
    _check_plan(plan, input, _geometry(tuple(weight.shape[2:]), stride, padding, dilation))
    if plan.form == "dense" or traced:
        return _dense(input, weight, bias, plan, groups)
    if not plan.mixed_fraction:
        return functional.partial_conv2d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[return-value]
    return convolve_rows(input, weight, bias, plan, groups)


def _dense(input: Tensor, weight: Tensor, bias: Tensor | None, plan: PanopticPlan, groups: int) -> Tensor:
    """The definition in whole-map operations: each tap's map, zeros by selection where it is not valid."""
    _, stride, lead, _, _ = plan.geometry
    padded = F.pad(input, plan.geometry.pads_of_f_pad) if any(lead) else input
    taps = [
        torch.where(plan.valid[:, index : index + 1], _tap(padded, tap, plan.geometry, plan.windows), 0)
        for index, tap in enumerate(itertools.product(*map(range, plan.geometry.kernel)))
    ]
    columns = torch.stack(taps, dim=2).flatten(1, 2)
    y = F.conv2d(columns, weight.reshape(weight.shape[0], -1, 1, 1), groups=groups)
    y = (y * plan.ratio(y.dtype)).to(y.dtype)
    if bias is None:
        return y
    bias = bias.to(y.dtype).view(-1, 1, 1)
    return y + (bias * (plan.count > 0).to(y.dtype) if plan.may_be_void else bias)


def _tap(padded: Tensor, tap: Sequence[int], geometry: Geometry, windows: Sequence[int]) -> Tensor:
    """What one tap of every window reads of a padded map (..., H, W): (..., H', W')."""
    for axis in (0, 1):
        start = tap[axis] * geometry.dilation[axis]
        padded = _border.every(padded, axis - 2, start, windows[axis], geometry.stride[axis])
    return padded


def _compare(ids: Tensor, geometry: Geometry, windows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Validity (N, K, H', W') and its count (N, 1, H', W')."""
    ids = ids.view(_SIGNED.get(ids.dtype, ids.dtype))  # the same bits are the same id
    inside = None
    if geometry.pads:  # no id is left over that padding could have
        inside = F.pad(torch.ones_like(ids[:1], dtype=torch.bool), geometry.pads_of_f_pad)
        ids = F.pad(ids, geometry.pads_of_f_pad)
    middle = [k // 2 for k in geometry.kernel]
    centre, counted = _tap(ids, middle, geometry, windows), None if inside is None else _tap(inside, middle, geometry, windows)
    taps = []
    for tap in itertools.product(*map(range, geometry.kernel)):
        same = _tap(ids, tap, geometry, windows) == centre
        if inside is not None:
            same &= _tap(inside, tap, geometry, windows) & counted
        taps.append(same)
    valid = torch.cat(taps, dim=1)
    return valid, valid.sum(1, keepdim=True, dtype=torch.int32)


def _reach(geometry: Geometry, size: Sequence[int], windows: Sequence[int], device: torch.device) -> Tensor:
    """How many taps of each window lie on the map, (H', W')."""
    rows, columns = (
        _border.axis_taps(
            size[a], windows[a], geometry.kernel[a], geometry.stride[a], geometry.lead[a], geometry.dilation[a], device
        )
        for a in (0, 1)
    )
    return rows.unsqueeze(1) * columns


def _transposed_valid(valid: Tensor, geometry: Geometry, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """For each position of the input: whether the window that reads it by a tap may (N, K, H, W), and if any may not."""
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


def _geometry(kernel_size: IntOrTuple, stride: IntOrTuple, padding: Padding, dilation: IntOrTuple) -> Geometry:
    geometry = Geometry.of(2, kernel_size, stride, padding, dilation)
    if not all(k % 2 for k in geometry.kernel):
        msg = f"Expected odd kernel sizes, since a window is compared with its centre, but got {geometry.kernel}."
        raise ValueError(msg)
    return geometry


def _check_plan(plan: PanopticPlan, input: Tensor, geometry: Geometry) -> None:
    size = tuple(input.shape[2:])
    if plan.geometry != geometry:
        names = ("kernel_size", "stride", "padding", "padding", "dilation")
        wrong = ", ".join(
            f"{name} {theirs} where the layer has {own}"
            for name, theirs, own in dict.fromkeys(zip(names, plan.geometry, geometry, strict=True))
            if theirs != own
        )
        msg = f"The panoptic plan is for another layer: {wrong}. Build one for each kernel, stride, padding and dilation."
        raise ValueError(msg)
    if plan.size != size:
        msg = (
            f"Expected ids or a plan of the input's size {size}, but got {plan.size}. "
            "Resize ids by picking nearest ones (indexing), never by interpolation."
        )
        raise ValueError(msg)
    if plan.batch not in (1, len(input)):
        msg = f"Expected ids or a plan of 1 or {len(input)} samples, as the input has, but got {plan.batch}."
        raise ValueError(msg)
    if plan.valid.device != input.device:
        msg = f"Expected ids or a plan on the input's device {input.device}, but they are on {plan.valid.device}."
        raise ValueError(msg)


def _is_traced(*tensors: Tensor | None) -> bool:
    """Whether what happens must not depend on the ids' values: exporting, function transforms, forward-mode gradients."""
    if torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None:
        return True
    if torch.autograd.forward_ad._current_level >= 0:
        return True
    return any(t is not None and torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors)
