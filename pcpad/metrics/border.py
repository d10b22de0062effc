"""mIoU near the border alone, for several widths of border in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pcpad._fractions import as_fraction
from pcpad._renamed import moved
from pcpad.errors import UserValueError
from pcpad.metrics.confusion import ConfusionMatrixMetric, count_pairs, segmentation_scores
from pcpad.tiling import Window

__all__ = ["LEAVE_OUT", "BorderIoU", "border_zones", "centered_rectangle"]

LEAVE_OUT = (0, "1/3", "1/2", "2/3", "3/4", "7/8")  # of the papers' tables; 0 is the whole image


def centered_rectangle(height: int, width: int, fraction: float | str | Fraction) -> Window:
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


def border_zones(height: int, width: int, fractions: tuple[Fraction, ...], windows: tuple[Window, ...] = ()) -> Tensor:
    """Number the nested regions of an image from the middle outward.

    Args:
        height: Of the image.
        width: Of the image.
        fractions: Sides of the rectangles left out, rising.
        windows: Tiles with a border each, that cover the image and do not overlap; none for the image's border.

    Returns:
        (H, W) uint8: of how many of the fractions the region holds the pixel.

    Raises:
        ValueError: The tiles leave a pixel out, overlap, or reach beyond the image.
    """
    if not windows:
        rows, columns = _zones_by_axis(height, width, fractions)
        return torch.maximum(rows[:, None], columns)
    _check_tiles(height, width, windows)
    zones = torch.empty(height, width, dtype=torch.uint8)
    for window in windows:
        zones[window.rows, window.columns] = border_zones(window.height, window.width, fractions)
    return zones


@lru_cache(maxsize=64)
def _zones_by_axis(height: int, width: int, fractions: tuple[Fraction, ...]) -> tuple[Tensor, Tensor]:
    """A pixel's zone is the larger of its row's (H,) and its column's (W,); not to be written to."""
    rows, columns = (torch.full((length,), len(fractions), dtype=torch.uint8) for length in (height, width))
    for kept in reversed(range(len(fractions))):  # rectangles grow with the fraction, so the smaller is drawn last
        inside = centered_rectangle(height, width, fractions[kept])
        rows[inside.rows] = kept
        columns[inside.columns] = kept
    return rows, columns


@lru_cache(maxsize=64)
def _check_tiles(height: int, width: int, windows: tuple[Window, ...]) -> None:
    """Refuse tiles that leave a pixel out, overlap, or reach beyond the image."""
    tiled = all(min(window) >= 0 and min(window[2:]) > 0 for window in windows)
    edges = sorted({0, height, *(edge for w in windows for edge in (w.top, w.top + w.height))})
    for top in edges[:-1]:  # between two edges the same tiles lie side by side
        at = 0
        for window in sorted((w for w in windows if w.top <= top < w.top + w.height), key=lambda w: w.left):
            tiled &= window.left == at
            at = window.left + window.width
        tiled &= at == width
    if not tiled or edges[0] < 0 or edges[-1] > height:
        message = (
            f"Borders relative to the tile need tiles that cover the {height} x {width} image without overlap, but got "
            f"{len(windows)} tiles, the first {tuple(windows[0])} (top, left, height, width)"
        )
        raise UserValueError(message)


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
        height, width = label.shape[-2:]
        if windows is not None:
            _check_tiles(height, width, tuple(windows))
        total = torch.zeros_like(self.confusion)
        # A tile at a time, whose rows and columns say the zones: no map of them is needed.
        for window in [Window(0, 0, height, width)] if windows is None else windows:
            counts = count_pairs(
                prediction[..., window.rows, window.columns],
                label[..., window.rows, window.columns],
                self.num_classes,
                self.ignore_index,
                _zones_by_axis(window.height, window.width, self._rising),
            )
            # Zone 0 lies inside every rectangle. A small image may lack the outermost zones: not [1:] on the left.
            total[: len(counts) - 1] += counts[1:].to(total.device)
        self.confusion += total  # of a batch with wrong values nothing

    def compute(self) -> dict[Fraction, dict[str, Tensor]]:
        """The scores by fraction, in the order of `leave_out`: see `segmentation_scores`."""
        regions = dict(zip(self._rising, self.confusion.flip(0).cumsum(0).flip(0), strict=True))
        return {fraction: segmentation_scores(regions[fraction]) for fraction in self.leave_out}


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
