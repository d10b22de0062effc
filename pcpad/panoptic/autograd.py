"""Convolve everywhere and recompute chosen windows, as autograd functions that are each other's derivatives.

Private to the package: `pcpad.panoptic` is the public face. With `P(x, W)` the sum over valid taps, linear in
both, `P*(g, W)` its transpose in x and `Q(x, g)` its transpose in W, the derivatives of the three are the three
again, so gradients of any order follow. They save the input and the weight, as a convolution does.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_input, conv2d_weight

from pcpad import functional
from pcpad.panoptic.rows import compute_rows_, empty_like, rows_weight_gradient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from pcpad.panoptic.plan import PanopticPlan

__all__ = ["Convolve", "Sum"]


class Sum(NamedTuple):
    """The convolution that is computed, without its operands."""

    plan: PanopticPlan
    arguments: tuple[Any, ...]  # stride, padding, dilation and groups
    everywhere: bool  # all windows are recomputed, and no convolution runs


def _own_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast off: it has been applied, and backward functions may run under another one than their forward."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


class Convolve(Function):
    """`P(x, W) · r + b`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: Sum) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, weight)
        ctx.call, ctx.bias_dtype = call, None if bias is None else bias.dtype
        plan, table = call.plan, call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            if call.everywhere:
                y = empty_like(x, len(weight), plan.windows)
            else:
                y = functional.partial_conv2d(x, weight, bias, *call.arguments)  # type: ignore[assignment]
            ratio = plan.ratio(x.dtype, at=table.windows)
            added = None if bias is None else bias.to(y.dtype).unsqueeze(0)
            if added is not None and plan.may_be_void:
                added = added * (ratio > 0).to(y.dtype).unsqueeze(1)
            compute_rows_(y, x, weight, call.arguments[-1], table, scale=(ratio, added))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
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
    """`P(x, W)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, call: Sum) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = call
        table = call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            if call.everywhere:
                y = empty_like(x, len(weight), call.plan.windows)
            else:
                y = F.conv2d(x, weight, None, *call.arguments)
            compute_rows_(y, x, weight, call.arguments[-1], table)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = _Transpose.apply(gradient, weight, ctx.call, x.shape) if ctx.needs_input_grad[0] else None
        of_weight = _Weight.apply(x, gradient, ctx.call, weight.shape, False) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


class _Transpose(Function):
    """`P*(g, W)`, of the input's shape."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, call: Sum, shape: Sequence[int]) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.call = call
        table = call.plan.table(transpose=True, everywhere=call.everywhere)
        with _own_precision(gradient):
            if call.everywhere:
                x = empty_like(gradient, shape[1], shape[2:])
            else:
                x = conv2d_input(shape, weight, gradient, *call.arguments)
            compute_rows_(x, gradient, weight, call.arguments[-1], table, transpose=True)
        return x

    @staticmethod
    def backward(ctx: Any, other: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        of_gradient = _Product.apply(other, weight, ctx.call) if ctx.needs_input_grad[0] else None
        of_weight = _Weight.apply(other, gradient, ctx.call, weight.shape, False) if ctx.needs_input_grad[1] else None
        return of_gradient, of_weight, None, None


class _Weight(Function):
    """`Q(x, g)`, of the weight's shape; `spent` says that `g` is no longer needed, so it is overwritten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, call: Sum, shape: Sequence[int], spent: bool) -> Tensor:
        if not spent:
            ctx.save_for_backward(x, gradient)
        ctx.call = call
        table = call.plan.table(everywhere=call.everywhere)
        with _own_precision(x):
            weight = rows_weight_gradient(x, gradient, shape, call.arguments[-1], table)
            if not call.everywhere:
                mixed = call.plan.mixed
                rest = gradient.masked_fill_(mixed, 0) if spent else gradient.masked_fill(mixed, 0)
                weight += conv2d_weight(x, shape, rest, *call.arguments)
        return weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, other: Tensor) -> tuple[Tensor | None, ...]:
        x, gradient = ctx.saved_tensors
        of_x = _Transpose.apply(gradient, other, ctx.call, x.shape) if ctx.needs_input_grad[0] else None
        of_gradient = _Product.apply(x, other, ctx.call) if ctx.needs_input_grad[1] else None
        return of_x, of_gradient, None, None, None
