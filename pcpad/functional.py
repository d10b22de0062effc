"""Partial convolution and partial-convolution padding as stateless functions.

Sources: Liu et al., "Partial Convolution based Padding" (2018, arXiv 1811.11718), Eq. 1-5, and Liu et al.,
"Partial Convolution for Padding, Inpainting, and Image Synthesis" (2022), Eq. 1-3.

For the window at one output position, with `m` the validity of its taps (1 valid, 0 hole or padding)::

    y = W · (x ⊙ m) · r + b,   r = |1| / |m|     where |m| > 0
    y = 0                                        where no tap is valid (bias included)
    m' = 1 where |m| > 0, else 0                 the mask for the next layer

Taps are counted as exact integers and divided in float32 or wider; there is no epsilon. A tap is
valid where the mask is not 0; no value is read back from the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import _border
from pcpad._border import Geometry, Plan, plan_for
from pcpad._conv_call import Conv, IntOrTuple, Padding, add_where, check_input, check_mask, times
from pcpad._exponent import Exponent, checked, to_power
from pcpad._mask_counts import full_mask, known_full
from pcpad._masked import masked
from pcpad._scaling import kept_for, quickly_kept, scaled
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["padding_ratio", "partial_conv1d", "partial_conv2d", "partial_conv3d", "update_mask"]


def partial_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Partial convolution of a sequence; see `partial_conv2d`, with one spatial axis (N, C, L)."""
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(1, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv1d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv1d, 1, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def partial_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve the valid taps only, and rescale by how many there were (2022 paper, Eq. 1-3).

    Without a mask every input position is valid and the padding is not: partial-convolution padding
    (2018 paper, Eq. 4-5).

    Args:
        input: (N, C, H, W) or (C, H, W), floating point, any value range.
        weight: (O, C / groups, kH, kW).
        bias: (O,) or None.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`.
        dilation: As in `torch.nn.functional.conv2d`.
        groups: As in `torch.nn.functional.conv2d`.
        mask: (N|1, 1|C, H, W) of bool, integers or floats: 1 (anything but 0) valid, 0 a hole. Without the
            batch axis if the input has none. What lies under a hole never reaches the output, NaN included.
        mask_channels: Sizes of groups of channels that share a mask, as after a concatenation: with
            `(512, 512)` the mask is (N|1, 2, H, W). They sum to C.
        return_mask: Also return the new mask (Eq. 3).
        holes_are_zero: A promise that the input is 0 wherever the mask is, as a partial convolution's output is under
            the mask it returned, also after a ReLU. Saves a pass over the input and a copy of it for the backward
            pass. It is not checked: if the promise is broken, the sums are wrong.
        exponent: `W·(x ⊙ m) · r^exponent + b`: a number, or a tensor () or (O,), one for each output channel, which
            may be learned. None is 1, the papers' definition; 0 does not renormalize: without a mask that is zero
            padding. Windows without a valid tap stay 0 under any other exponent.

    Returns:
        The output (N, O, H', W'), or `(output, new_mask)`. The new mask is (N|1, 1, H', W') in the input's
        dtype; it has O channels exactly when `groups > 1` and the mask differs between channels.

    Raises:
        ValueError: If a shape does not fit.
        TypeError: If the mask is not a tensor of bool, integers or floats.

    Example:
        >>> x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
        >>> partial_conv2d(x, weight, padding=1)[0, 0, 0]  # a zero-padded border would give 4, 6, 6, 4
        tensor([9., 9., 9., 9.])
    """
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(2, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv2d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv2d, 2, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def partial_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    groups: int = 1,
    *,
    mask: Tensor | None = None,
    mask_channels: Sequence[int] | None = None,
    return_mask: bool = False,
    holes_are_zero: bool = False,
    exponent: Exponent | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Partial convolution of a volume or clip; see `partial_conv2d`, with three spatial axes (N, C, T, H, W)."""
    if mask is None and mask_channels is None and not return_mask and exponent is None:
        kept = quickly_kept(3, input, weight, bias, stride, padding, dilation, groups)
        if kept is not None:
            first = bias.detach() if bias is not None and kept.takes_bias else None
            y = F.conv3d(input, weight, first, stride, padding, dilation, groups)  # type: ignore[arg-type]
            return scaled(y, bias, kept)
    conv = Conv(input, weight, bias, stride, padding, dilation, groups)
    return _partial_conv(partial_conv3d, 3, conv, mask, mask_channels, return_mask, holes_are_zero, exponent)


def padding_ratio(
    size: int | Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The factor `r` of partial-convolution padding at every output position (2018 paper, Eq. 5).

    Args:
        size: The input's spatial size, one int per axis; its length says how many axes there are.
        kernel_size: An int or one int per axis.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`.
        dilation: As in `torch.nn.functional.conv2d`.
        dtype: The result's dtype, torch's default if None; divided in float32 or wider.
        device: The result's device.

    Returns:
        A tensor of the output's spatial size: taps in the window over valid taps; 1 in the interior, more at
        the border, 0 where a window lies in the padding entirely.

    Example:
        >>> padding_ratio((3, 3), 3, padding=1)
        tensor([[2.2500, 1.5000, 2.2500],
                [1.5000, 1.0000, 1.5000],
                [2.2500, 1.5000, 2.2500]])
    """
    dtype = dtype or torch.get_default_dtype()
    size = (size,) if isinstance(size, int) else tuple(size)
    geometry = Geometry.of(len(size), kernel_size, stride, padding, dilation)
    wide = torch.promote_types(dtype, torch.float32)
    ratio = _border.closed_form(size, geometry.output_size(size), geometry, wide, torch.device(device or "cpu"))
    return ratio.to(dtype)


def update_mask(
    mask: Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple = 1,
    padding: Padding = 0,
    dilation: IntOrTuple = 1,
) -> Tensor:
    """The mask after one layer: valid where a window holds a valid tap (2018 and 2022 papers, Eq. 3).

    Args:
        mask: (N, C, *spatial), valid where not 0; each channel is processed separately.
        kernel_size: An int or one int per axis.
        stride: As in `torch.nn.functional.conv2d`.
        padding: An int, one int per axis, a pair (before, after) per axis, `"valid"` or `"same"`; it counts as holes.
        dilation: As in `torch.nn.functional.conv2d`.

    Returns:
        (N, C, *output size) in the mask's dtype, of zeros and ones.
    """
    geometry = Geometry.of(mask.dim() - 2, kernel_size, stride, padding, dilation)
    taps = _border.window_sum((mask != 0).to(torch.float32), geometry, geometry.output_size(mask.shape[2:]))
    return (taps > 0).to(mask.dtype)


def _partial_conv(
    public: Callable[..., Any],
    dims: int,
    conv: Conv,
    mask: Tensor | None,
    mask_channels: Sequence[int] | None,
    return_mask: bool,
    holes_are_zero: bool,
    exponent: Exponent | None,
) -> Tensor | tuple[Tensor, Tensor]:
    input, weight, bias, *arguments = conv
    overriding = (input, weight, bias, mask)
    if has_torch_function(overriding):  # torch.fx's proxies, and tensor subclasses that override torch's functions
        options: dict[str, Any] = {"mask": mask, "mask_channels": mask_channels, "return_mask": return_mask}
        options |= {"holes_are_zero": True} if holes_are_zero else {}
        options |= {"exponent": exponent} if exponent is not None else {}
        result: Tensor | tuple[Tensor, Tensor] = handle_torch_function(public, overriding, *conv, **options)
        return result
    check_input(dims, conv)
    exponent = checked(exponent, conv.weight.shape[0])
    plan = plan_for(input, weight, *arguments)
    sizes = None if mask is None else check_mask(conv, mask, mask_channels)
    if mask is None or sizes is None or known_full(mask):
        if mask is None and mask_channels is not None:
            message = f"`mask_channels={mask_channels}` says how a mask's channels are shared, but no mask was given."
            raise UserValueError(message)
        y = _padded(conv, plan) if exponent is None else _padded_to_power(conv, plan, exponent)
        return (y, _mask_of_padding(conv, plan, y)) if return_mask else y
    if input.dim() == dims + 2:
        y, new_mask = masked(conv, plan.geometry, mask, sizes, holes_are_zero, exponent, return_mask)
    else:
        batched = conv._replace(input=input[None])
        y, new_mask = masked(batched, plan.geometry, mask[None], sizes, holes_are_zero, exponent, return_mask)
        y, new_mask = y[0], new_mask[0]
    return (y, new_mask.to(input.dtype)) if return_mask else y


def _padded(conv: Conv, plan: Plan) -> Tensor:
    """Partial-convolution padding: only windows that reach into the padding differ from a plain convolution."""
    if not plan.pads:
        return conv.run(conv.input, conv.bias)
    kept = None if plan.may_miss else kept_for(plan, conv.input, conv.weight, conv.bias)
    if kept is not None:
        first = conv.bias.detach() if kept.takes_bias and conv.bias is not None else None
        return scaled(conv.run(conv.input, first), conv.bias, kept)
    y = conv.run(conv.input)
    ratio = _border.ratio_for(y, plan)
    if plan.may_miss and conv.bias is not None:
        return add_where(y.mul_(ratio), conv.bias_for(y), (ratio > 0).to(y.dtype))
    return _scaled(y, ratio, conv.bias)


def _padded_to_power(conv: Conv, plan: Plan, exponent: Exponent) -> Tensor:
    """`_padded` with another exponent than 1; with the number 0 it is the zero-padded convolution itself."""
    if not plan.pads or (not isinstance(exponent, Tensor) and exponent == 0):
        return conv.run(conv.input, conv.bias)
    y = conv.run(conv.input)
    ratio = _border.ratio_for(y, plan)
    y = times(y, to_power(ratio, exponent, conv.dims, plan.may_miss))
    if conv.bias is None:
        return y
    return y + (conv.bias_for(y) * (ratio > 0).to(y.dtype) if plan.may_miss else conv.bias_for(y))


def _scaled(y: Tensor, ratio: Tensor, bias: Tensor | None) -> Tensor:
    """`y·r + b` with a ratio that is not cached, for recorded programs, which fuse it with what follows."""
    if bias is None:
        return y.mul_(ratio)
    bias = bias.to(y.dtype).view(-1, *[1] * ratio.dim())
    # One pass instead of two; in half precision the ratio is wider than y and has to be multiplied first.
    # The sum is a new tensor: a bias that `torch.vmap` maps over makes many of one y.
    return torch.addcmul(bias, y, ratio) if ratio.dtype == y.dtype else y.mul_(ratio) + bias


def _mask_of_padding(conv: Conv, plan: Plan, y: Tensor) -> Tensor:
    """The new mask where no mask was given: (1, 1, *output size), without the batch axis if the input has none."""
    if not plan.may_miss:
        return full_mask(conv.input, (*[1] * (conv.input.dim() - conv.dims), *y.shape[-conv.dims :]))
    valid = (_border.ratio_for(y, plan) > 0).to(conv.input.dtype)
    return valid.view(*[1] * (conv.input.dim() - conv.dims), *valid.shape)
