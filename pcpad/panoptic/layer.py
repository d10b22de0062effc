"""Panoptic partial convolution: each output sees only what belongs to the same instance as its window's center.

Source: Liu et al., "Partial Convolution for Padding, Inpainting, and Image Synthesis" (2022, §3), Eq. 1, 2 and 4, after
Dundar et al., "Panoptic-based Image Synthesis" (CVPR 2020). For the window at one output position, with `P` the ids
of its taps::

    m = 1 where P equals P at the window's center, else 0; padding has no id, so m = 0 there
    y = W · (x ⊙ m) · r + b,   r = |1| / |m|     where |m| > 0
    y = 0                                        where no tap is valid: the center lies in the padding

Most windows lie within one instance. For these it is an ordinary convolution (with partial-convolution padding),
which runs everywhere; windows that mix ids are then recomputed from the taps they may see. Where most windows mix, all
are computed in the second way and the convolution does not run.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import functional
from pcpad._border import Geometry, make_plan
from pcpad._other_layers import Guarded, check_dense
from pcpad.errors import UserValueError
from pcpad.panoptic.autograd import Convolve, Sum
from pcpad.panoptic.plan import (
    NEVER_EVERYWHERE_FROM,
    SOME_EVERYWHERE_FROM,
    PanopticPlan,
    is_traced,
    tap_of,
)

if TYPE_CHECKING:
    from pcpad._conv_call import IntOrTuple, Padding

__all__ = ["PanopticPartialConv2d", "PanopticPlan", "panoptic_conv2d"]

# Where more of the windows mix ids than this, all are computed from the taps they may see and no convolution runs. On
# one EPYC core that costs 1.2 convolutions for 256 channels or more and 1.6 for 64; a convolution and then a fifth of
# the windows costs 1.35. On a GPU, where convolutions are the fastest operation, half is a guess.
_EVERYWHERE_FROM = {"wide": SOME_EVERYWHERE_FROM, "narrow": 0.4, "gpu": NEVER_EVERYWHERE_FROM}
_WIDE = 256


class PanopticPartialConv2d(Guarded, nn.Conv2d):
    """A convolution whose windows see only what has the id of their center (Liu et al. 2022, Eq. 1, 2 and 4).

    It keeps `nn.Conv2d`'s state and nothing else, so weights can be exchanged. With a single id it is
    partial-convolution padding, `PartialConv2d`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd, an int or one int per axis, like the four that follow.
        stride: Step between windows.
        padding: On each side, of no id; or `"same"` or `"valid"`.
        dilation: Step between taps.
        groups: Groups of channels that are convolved separately.
        bias: Whether a learned bias is added.
        device: The parameters' device.
        dtype: The parameters' dtype.

    Raises:
        ValueError: For an even kernel, which has no center.

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

    _padding_name = "panoptic"

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
        super().__init__(*shape, device=device, dtype=dtype)  # type: ignore[misc]
        Geometry.of(2, kernel_size, stride, padding, dilation, centered=True)

    def forward(self, input: Tensor, ids_or_plan: Tensor | PanopticPlan) -> Tensor:  # type: ignore[override]
        """Convolve; see `panoptic_conv2d`.

        Args:
            input: (N, C, H, W) or (C, H, W).
            ids_or_plan: Ids (N|1, 1, H, W) of any integer type, or the plan built of them.

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
    """Convolve the taps that have the id of their window's center, and rescale by how many have (Eq. 1, 2 and 4).

    What has another id never reaches the output, NaN and infinities included. Differentiable in input, weight and
    bias, any number of times.

    Args:
        input: (N, C, H, W) or (C, H, W), floating point.
        weight: (O, C / groups, kH, kW), kH and kW odd.
        bias: (O,) or None.
        ids_or_plan: Ids (N|1, 1, H, W) of any integer type, or a `PanopticPlan` of them.
        stride: As in `torch.nn.functional.conv2d`.
        padding: Also `"valid"` or `"same"`; it belongs to no id.
        dilation: As in `torch.nn.functional.conv2d`.
        groups: As in `torch.nn.functional.conv2d`.

    Returns:
        (N, O, H', W').

    Raises:
        ValueError: For even kernels, or if a shape or the plan does not fit.
        TypeError: If ids are not integers.
    """
    tensors = (input, weight, bias, ids_or_plan)
    if has_torch_function(tensors):  # torch.fx's proxies, and tensor subclasses that want to know
        return handle_torch_function(panoptic_conv2d, tensors, *tensors, stride, padding, dilation, groups)
    check_dense(input)
    if input.dim() == 3:
        ids = ids_or_plan[None] if isinstance(ids_or_plan, Tensor) and ids_or_plan.dim() == 3 else ids_or_plan
        return panoptic_conv2d(input[None], weight, bias, ids, stride, padding, dilation, groups)[0]
    arguments = (stride, padding, dilation, groups)
    if is_traced(input, weight, bias) or (isinstance(ids_or_plan, PanopticPlan) and ids_or_plan.form == "dense"):
        plan = _plan_for(input, weight, ids_or_plan, *arguments, form="dense")
        return _dense(input, weight, bias, plan, groups)
    if torch.compiler.is_compiling():  # which windows mix is for Python to read: a graph break
        output: Tensor = torch.compiler.disable(_by_rows)(input, weight, bias, ids_or_plan, *arguments)
        return output
    return _by_rows(input, weight, bias, ids_or_plan, *arguments)


def _by_rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, ids_or_plan: Tensor | PanopticPlan, *arguments: Any
) -> Tensor:
    """A convolution, with the windows that it gets wrong recomputed."""
    plan, groups, kind = _plan_for(x, weight, ids_or_plan, *arguments), arguments[-1], x.device.type
    if plan.form == "dense":  # ids under a function transform
        return _dense(x, weight, bias, plan, groups)
    mixed = plan.mixed_fraction
    if not mixed:
        return functional.partial_conv2d(x, weight, bias, *arguments)  # type: ignore[return-value]
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, weight = (t if t.dtype == torch.float64 else t.to(dtype) for t in (x, weight))
        bias = bias if bias is None else bias.to(x.dtype)
    limit = "gpu" if kind != "cpu" else "wide" if min(weight.shape[:2]) >= _WIDE else "narrow"
    where = (plan.geometry.stride, plan.geometry.lead, plan.geometry.dilation, groups)
    output: Tensor = Convolve.apply(x, weight, bias, Sum(plan, where, everywhere=mixed > _EVERYWHERE_FROM[limit]))
    return output


def _dense(input: Tensor, weight: Tensor, bias: Tensor | None, plan: PanopticPlan, groups: int) -> Tensor:
    """The definition in whole-map operations: each tap's map, zeros by selection where it is not valid."""
    pads = plan.geometry.pads_of_f_pad
    padded = F.pad(input, pads) if any(pads) else input
    taps = [
        torch.where(plan.valid[:, index : index + 1], tap_of(padded, tap, plan.geometry, plan.windows), 0)
        for index, tap in enumerate(itertools.product(*map(range, plan.geometry.kernel)))
    ]
    columns = torch.stack(taps, dim=2).flatten(1, 2)
    y = F.conv2d(columns, weight.reshape(weight.shape[0], -1, 1, 1), groups=groups)
    y = (y * plan.ratio(y.dtype)).to(y.dtype)
    if bias is None:
        return y
    bias = bias.to(y.dtype).view(-1, 1, 1)
    return y + (bias * (plan.count > 0).to(y.dtype) if plan.may_be_void else bias)


def _plan_for(
    input: Tensor, weight: Tensor, ids_or_plan: Tensor | PanopticPlan, *arguments: Any, form: Any = "auto"
) -> PanopticPlan:
    """The plan, built if it is not given.

    Raises:
        ValueError: The arguments do not fit together.
    """
    make_plan(input.shape, weight.shape, *arguments, strips_from=None)  # refuses what a convolution would
    size, kernel, where = tuple(input.shape[2:]), tuple(weight.shape[2:]), arguments[:-1]
    geometry = Geometry.of(2, kernel, *where, centered=True)
    plan = ids_or_plan
    if not isinstance(plan, PanopticPlan):
        plan = PanopticPlan.build(plan, kernel, *where, form=form)
    if plan.geometry != geometry:
        names = ("kernel_size", "stride", "padding", "padding", "dilation")
        wrong = ", ".join(
            f"{name} {theirs} where the layer has {own}"
            for name, theirs, own in dict.fromkeys(zip(names, plan.geometry, geometry, strict=True))
            if theirs != own
        )
        message = (
            f"The panoptic plan is for another layer: {wrong}. Build one for each kernel, stride, padding and dilation."
        )
        raise UserValueError(message)
    if plan.size != size:
        message = (
            f"Expected ids or a plan of the input's size {size}, but got {plan.size}. "
            "Resize ids by picking nearest ones (indexing), never by interpolation."
        )
        raise UserValueError(message)
    # Without len(), and without asking whether an export's unknown batch is 1, which would fix it.
    samples, one_map = input.shape[0], isinstance(plan.batch, int) and plan.batch == 1
    if not one_map and plan.batch != samples and plan.batch != 1:
        message = f"Expected ids or a plan of 1 or {samples} samples, as the input has, but got {plan.batch}."
        raise UserValueError(message)
    if plan.valid.device != input.device:
        message = f"Expected ids or a plan on the input's device {input.device}, but they are on {plan.valid.device}."
        raise UserValueError(message)
    return plan
