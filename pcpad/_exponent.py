"""The exponent of partial convolution's ratio: `W·x · r^exponent + b`, for networks adapted to another padding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Exponent", "checked", "to_power"]

Exponent = float | Tensor


def checked(exponent: Exponent | Sequence[float] | None, channels: int) -> Exponent | None:
    """Check an exponent given to a layer or a function.

    Args:
        exponent: A finite number, as many numbers as there are output channels, or a tensor of either.
        channels: Number of output channels.

    Returns:
        The number or tensor; None for the number 1, which is the plain ratio.

    Raises:
        UserValueError: It is not finite, or has another shape than () and (channels,).
        UserTypeError: It is neither a number nor a tensor of floats.
    """
    if isinstance(exponent, list | tuple):
        exponent = torch.tensor([float(value) for value in exponent])
    if isinstance(exponent, Tensor):
        if not exponent.is_floating_point():
            message = f"Expected `exponent` to be a tensor of floats, but got one of {exponent.dtype}."
            raise UserTypeError(message)
        if exponent.shape not in ((), (channels,)):
            message = (
                f"Expected `exponent` to be a number or one for each of the {channels} output channels, but got a "
                f"tensor of shape {tuple(exponent.shape)}."
            )
            raise UserValueError(message)
        return exponent
    if exponent is None or exponent == 1:
        return None
    if isinstance(exponent, bool) or not isinstance(exponent, int | float):
        message = f"Expected `exponent` to be a number or a tensor of floats, but got {type(exponent).__name__}."
        raise UserTypeError(message)
    if not math.isfinite(exponent):
        message = f"Expected `exponent` to be a finite number, but got {exponent}."
        raise UserValueError(message)
    return float(exponent)


def to_power(ratio: Tensor, exponent: Exponent, dims: int, may_miss: bool) -> Tensor:
    """`r^exponent`, and 0 where no tap is valid: under a negative exponent that would be infinite.

    Args:
        ratio: `(*spatial)` or `(N, 1|O, *spatial)`, 0 where no tap is valid.
        exponent: As `checked` returns it.
        dims: How many spatial axes there are.
        may_miss: Whether a window may hold no valid tap.

    Returns:
        The factor, of the ratio's shape, with a channel axis where each channel has its own exponent.
    """
    if isinstance(exponent, Tensor):
        exponent = exponent.to(ratio.device, ratio.dtype)  # not a buffer, which would be part of the state
        exponent = exponent.view(-1, *[1] * dims) if exponent.dim() else exponent
    if not may_miss:
        return ratio**exponent
    valid = ratio > 0
    return torch.where(valid, torch.where(valid, ratio, 1) ** exponent, 0)
