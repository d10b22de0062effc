"""Convolution everywhere and chosen windows anew, as autograd functions of which each is the others' derivative.

Private to the package: :mod:`pcpad.panoptic` is the public face. With ``P(x, W)`` the sum over valid taps, linear in
both, ``P*(g, W)`` its transpose in x and ``Q(x, g)`` its transpose in W, the derivatives of the three are the three
again, so gradients of any order follow. What is kept for them is the input and the weight, as a convolution does.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_input, conv2d_weight

from pcpad import functional
from pcpad.panoptic.rows import clear_rows_, compute_rows_, empty_like, rows_weight_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from pcpad.panoptic.plan import PanopticPlan

T = TypeVar("T")

# Where more of the windows mix ids than this, all are computed from what they may see and no convolution runs. On one
# EPYC core that costs 1.2 convolutions for 256 channels or more and 1.6 for 64; a convolution and then a fifth of the
# windows costs 1.35. On a GPU, where convolutions are the fastest thing there is, half is a guess.
_EVERYWHERE_FROM = {"wide": 0.2, "narrow": 0.4, "gpu": 0.5}
_WIDE = 256


class _Sum(NamedTuple):
    """The convolution that is computed, without its operands."""

    plan: PanopticPlan
    groups: int
    everywhere: bool

    @property
    def arguments(self) -> tuple[Any, ...]:
        geometry = self.plan.geometry
        return geometry.stride, geometry.lead, geometry.dilation, self.groups


def convolve_rows(x: Tensor, weight: Tensor, bias: Tensor | None, plan: PanopticPlan, groups: int) -> Tensor:
    """The panoptic partial convolution of (N, C, H, W), for a plan that lists its windows."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, weight = (t if t.dtype == torch.float64 else t.to(dtype) for t in (x, weight))
        bias = bias if bias is None else bias.to(x.dtype)
    return _Convolve.apply(x, weight, bias, _Sum(plan, groups, _everywhere_pays(x, weight, plan)))


def _everywhere_pays(x: Tensor, weight: Tensor, plan: PanopticPlan) -> bool:
    kind = "gpu" if x.device.type != "cpu" else "wide" if min(weight.shape[:2]) >= _WIDE else "narrow"
    return plan.mixed_fraction > _EVERYWHERE_FROM[kind]


def uncompiled(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function as it stands where ``torch.compile`` would trace through it."""
    return torch.compiler.disable(function)(*arguments)


def _own_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast off: it has been applied, and backward functions may run under another one than their forward."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


class _Convolve(Function):
    """``P(x, W) · r + b``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: _Sum) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call, ctx.bias_dtype = call, None if bias is None else bias.dtype
        plan, table = call.plan, call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            if call.everywhere:
                y = empty_like(x, len(weight), plan.windows)
            else:
                y = functional.partial_conv2d(x, weight, bias, *call.arguments)  # type: ignore[assignment]
            ratio = plan.ratio_at(table.windows, x.dtype)
            added = None if bias is None else bias.to(y.dtype).unsqueeze(0)
            if added is not None and plan.may_be_void:
                added = added * (ratio > 0).to(y.dtype).unsqueeze(1)
            compute_rows_(y, x, weight, call.groups, table, scale=(ratio, added))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        call, plan = ctx.call, ctx.call.plan
        scaled = (gradient * plan.ratio(gradient.dtype)).to(gradient.dtype)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _Transpose.apply(scaled, weight, call, x.shape)
        if ctx.needs_input_grad[1]:
            of_weight = _Weight.apply(x, scaled, call, weight.shape, not torch.is_grad_enabled())
        if ctx.needs_input_grad[2]:
            counted = gradient * (plan.count > 0).to(gradient.dtype) if plan.may_be_void else gradient
            of_bias = counted.sum((0, 2, 3)).to(ctx.bias_dtype)
        return of_x, of_weight, of_bias, None


class _Product(Function):
    """``P(x, W)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, call: _Sum) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = call
        table = call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            if call.everywhere:
                y = empty_like(x, len(weight), call.plan.windows)
            else:
                y = F.conv2d(x, weight, None, *call.arguments)
            compute_rows_(y, x, weight, call.groups, table)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = _Transpose.apply(gradient, weight, ctx.call, x.shape) if ctx.needs_input_grad[0] else None
        of_weight = _Weight.apply(x, gradient, ctx.call, weight.shape, False) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


class _Transpose(Function):
    """``P*(g, W)``, of the input's shape."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, call: _Sum, shape: Sequence[int]) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.call = call
        table = call.plan.table(transpose=True, everywhere=call.everywhere)
        with _own_precision(gradient):
            if call.everywhere:
                x = empty_like(gradient, shape[1], shape[2:])
            else:
                x = conv2d_input(shape, weight, gradient, *call.arguments)
            compute_rows_(x, gradient, weight, call.groups, table, transpose=True)
        return x

    @staticmethod
    def backward(ctx: Any, other: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        of_gradient = _Product.apply(other, weight, ctx.call) if ctx.needs_input_grad[0] else None
        of_weight = _Weight.apply(other, gradient, ctx.call, weight.shape, False) if ctx.needs_input_grad[1] else None
        return of_gradient, of_weight, None, None


class _Weight(Function):
    """``Q(x, g)``, of the weight's shape; ``spent`` says that nobody needs ``g`` any more, so it is overwritten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, call: _Sum, shape: Sequence[int], spent: bool) -> Tensor:
        if not spent:
            ctx.save_for_backward(x, gradient)
        ctx.call = call
        table = call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            weight = rows_weight_gradient(x, gradient, shape, call.groups, table)
            if not call.everywhere:
                rest = clear_rows_(gradient if spent else gradient.clone(), table)
                weight += conv2d_weight(x, shape, rest, *call.arguments)
        return weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, other: Tensor) -> tuple[Tensor | None, ...]:
        x, gradient = ctx.saved_tensors
        of_x = _Transpose.apply(gradient, other, ctx.call, x.shape) if ctx.needs_input_grad[0] else None
        of_gradient = _Product.apply(x, other, ctx.call) if ctx.needs_input_grad[1] else None
        return of_x, of_gradient, None, None, None
