"""mIoU near the border alone, for several widths of border in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from pcpad._fractions import as_fraction
from pcpad.errors import UserValueError
from pcpad.metrics.confusion import ConfusionMatrixMetric, count_pairs, segmentation_scores
from pcpad.tiling import Window

__all__ = ["LEAVE_OUT", "BorderIoU", "border_zones", "centred_rectangle"]

LEAVE_OUT = (0, "1/3", "1/2", "2/3", "3/4", "7/8")  # of the papers' tables; 0 is the whole image


def centred_rectangle(height: int, width: int, fraction: float | str | Fraction) -> Window:
    """The rectangle in the middle that is left out.

    Args:
        height: Of the image or tile.
        width: Of the image or tile.
        fraction: Of its sides, in [0, 1).

    Returns:
        Its place: `h = round(height * fraction)` rows from row `(height - h) // 2` on, columns likewise.
    """
    exact = as_fraction(fraction)
    tall, wide = round(height * exact), round(width * exact)
    return Window((height - tall) // 2, (width - wide) // 2, tall, wide)


@lru_cache(maxsize=16)
def border_zones(height: int, width: int, fractions: tuple[Fraction, ...], windows: tuple[Window, ...] = ()) -> Tensor:
    """Number the nested regions of an image from the middle outward.

    Args:
        height: Of the image.
        width: Of the image.
        fractions: Sides of the rectangles left out, rising.
        windows: Tiles with a border each, that cover the image and do not overlap; none for the image's border.

    Returns:
        (H, W) uint8: of how many of the fractions the region holds the pixel. Not to be written to.

    Raises:
        ValueError: The tiles leave a pixel out, overlap, or reach beyond the image.
    """
    if not windows:
        zones = torch.full((height, width), len(fractions), dtype=torch.uint8)
        for kept in reversed(range(len(fractions))):  # rectangles grow with the fraction, so the smaller is drawn last
            inside = centred_rectangle(height, width, fractions[kept])
            zones[inside.rows, inside.columns] = kept
        return zones
    zones = torch.zeros(height, width, dtype=torch.uint8)
    covered = torch.zeros(height, width, dtype=torch.uint8)
    for window in windows:
        covered[window.rows, window.columns] += 1
        part = border_zones(window.height, window.width, fractions)
        if zones[window.rows, window.columns].shape == part.shape:
            zones[window.rows, window.columns] = part
    area = sum(window.height * window.width for window in windows)
    if area != height * width or not bool((covered == 1).all()):
        message = (
            f"Borders relative to the tile need tiles that cover the {height} x {width} image without overlap, but got "
            f"{len(windows)} tiles, the first {tuple(windows[0])} (top, left, height, width)"
        )
        raise UserValueError(message)
    return zones


class BorderIoU(ConfusionMatrixMetric):
    """mIoU over what is left when the middle of the image is left out, for several fractions at once.

    True labels inside the centered rectangle of side `fraction` are ignored (2018 paper, Figure 6 and Table 7). The
    regions are nested, so each pixel is counted once, in the matrix of its ring, and a region's matrix is the sum of
    the rings from the outside in.

    Args:
        num_classes: How many classes there are, K.
        leave_out: The fractions, in [0, 1): numbers or text such as "1/3". 0 leaves nothing out.
        ignore_index: True label of pixels that are not counted.
        relative_to: Whether the rectangle lies in the `image`, or one in each `tile`.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> metric = BorderIoU(2, leave_out=(0, 0.5))
        >>> label = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> label[:, 1:3, 1:3] = 1
        >>> metric.update(torch.zeros_like(label), label)
        >>> [float(scores["accuracy"]) for scores in metric.compute().values()]
        [0.75, 1.0]
    """

    def __init__(
        self,
        num_classes: int,
        leave_out: Sequence[float | str | Fraction] = LEAVE_OUT,
        ignore_index: int = 255,
        relative_to: Literal["image", "tile"] = "image",
    ) -> None:
        fractions = tuple(as_fraction(fraction) for fraction in leave_out)
        if not fractions or len(set(fractions)) < len(fractions) or not all(0 <= value < 1 for value in fractions):
            message = f"Expected argument `leave_out` to be different fractions in [0, 1), but got {leave_out!r}"
            raise UserValueError(message)
        if len(fractions) > 254:
            message = f"Expected argument `leave_out` to hold at most 254 fractions, but got {len(fractions)}"
            raise UserValueError(message)
        if relative_to not in ("image", "tile"):
            message = f"Expected argument `relative_to` to be 'image' or 'tile', but got {relative_to!r}"
            raise UserValueError(message)
        super().__init__(num_classes, ignore_index, matrices=len(fractions))
        self.leave_out = fractions
        self.relative_to = relative_to
        self._rising = tuple(sorted(fractions))

    def update(self, prediction: Tensor, label: Tensor, windows: Sequence[Window] | None = None) -> None:
        """Count one batch.

        Args:
            prediction: (N, H, W) integers in [0, K), or logits (N, K, H, W).
            label: (N, H, W) integers in [0, K), or `ignore_index`.
            windows: The tiles, where the rectangles are relative to them; they cover the image and do not overlap.

        Raises:
            ValueError: Shapes do not fit, a value is out of range, or tiles are missing or do not tile the image.
            TypeError: Labels are not integers.
        """
        if (windows is None) != (self.relative_to == "image"):
            asked = "needs `windows`, the tiles" if windows is None else "takes no `windows`"
            message = f"relative_to={self.relative_to!r} {asked}."
            raise UserValueError(message)
        zones = border_zones(label.shape[-2], label.shape[-1], self._rising, tuple(windows or ()))
        counts = count_pairs(prediction, label, self.num_classes, self.ignore_index, zones)
        # Zone 0 lies inside every rectangle. A small image may lack the outermost zones, hence not [1:] on the left.
        self.confusion[: len(counts) - 1] += counts[1:].to(self.confusion.device)

    def compute(self) -> dict[Fraction, dict[str, Tensor]]:
        """The scores by fraction, in the order of `leave_out`: see `segmentation_scores`."""
        regions = dict(zip(self._rising, self.confusion.flip(0).cumsum(0).flip(0), strict=True))
        return {fraction: segmentation_scores(regions[fraction]) for fraction in self.leave_out}
