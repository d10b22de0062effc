"""Mean squared error near the border and away from it, next to that of the whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcpad.errors import UserValueError
from pcpad.metrics.precision import KeepsPrecision

__all__ = ["BandError", "squared_errors_by_band"]


def squared_errors_by_band(prediction: Tensor, target: Tensor, width: int) -> tuple[Tensor, Tensor, int, int]:
    """Sum squared errors over the pixels nearest to the border, and over all the others.

    Args:
        prediction: (N, C, H, W), of any floating dtype.
        target: The same shape.
        width: The band is every pixel with fewer than this many pixels between it and the nearest border.

    Returns:
        Two scalars in float64, the sum over the band and over the rest, and how many values each of them is of.

    Raises:
        ValueError: The shapes differ, or are not of four dimensions.
    """
    if prediction.dim() != 4 or prediction.shape != target.shape:
        message = (
            f"Expected prediction and target of one shape (N, C, H, W), but got {tuple(prediction.shape)} "
            f"and {tuple(target.shape)}"
        )
        raise UserValueError(message)
    # Squared in float32 at least, and summed in float64: differences between paddings are in the third digit.
    errors = (prediction.detach().to(torch.promote_types(prediction.dtype, torch.float32)) - target).square()
    height, width_all = errors.shape[-2:]
    inside = errors[..., width : max(width, height - width), width : max(width, width_all - width)]
    rest = inside.sum(dtype=torch.float64)
    return errors.sum(dtype=torch.float64) - rest, rest, errors.numel() - inside.numel(), inside.numel()


class BandError(KeepsPrecision):
    """Mean squared error over a whole set: of all pixels, of a band along the border, and of the interior.

    Every pixel and channel weighs the same, over all images and processes; `compute` returns the scalars `mse`,
    `border_mse` and `interior_mse` in the square of the images' unit, NaN where there was no such pixel.

    Args:
        width: How many pixels from the border inward the band reaches.

    Raises:
        ValueError: The width is no positive integer.

    Example:
        >>> metric = BandError(width=1)
        >>> error = torch.zeros(1, 1, 4, 4)
        >>> error[..., 0, :] = 1.0  # four of the twelve pixels of the band
        >>> metric.update(error, torch.zeros(1, 1, 4, 4))
        >>> {name: round(float(value), 4) for name, value in metric.compute().items()}
        {'mse': 0.25, 'border_mse': 0.3333, 'interior_mse': 0.0}
    """

    full_state_update = False
    higher_is_better = False
    border_sum: Tensor
    border_count: Tensor
    interior_sum: Tensor
    interior_count: Tensor

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            message = f"Expected argument `width` to be a positive integer, but got {width!r}"
            raise UserValueError(message)
        self.width = width
        for part in ("border", "interior"):
            self.add_state(f"{part}_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{part}_count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: (N, C, H, W).
            target: The same shape.
        """
        border, interior, border_count, interior_count = squared_errors_by_band(prediction, target, self.width)
        self.border_sum += border
        self.interior_sum += interior
        self.border_count += border_count
        self.interior_count += interior_count

    def compute(self) -> dict[str, Tensor]:
        """The three means, as float64 scalars."""
        return {
            "mse": (self.border_sum + self.interior_sum) / (self.border_count + self.interior_count),
            "border_mse": self.border_sum / self.border_count,
            "interior_mse": self.interior_sum / self.interior_count,
        }
