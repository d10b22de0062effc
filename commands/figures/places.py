"""Where two segmentations of a tiled image differ most near its tiles' edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pcpad.tiling import Window

__all__ = ["Place", "edges", "most_different", "near_edges"]

_STEP = 4  # pixels between two crops that are tried along an edge


class Place(NamedTuple):
    """A crop worth showing.

    Args:
        pixels: How many pixels near an edge differ in it.
        window: Where it lies in the image.
    """

    pixels: int
    window: Window


def edges(windows: Sequence[Window]) -> tuple[list[int], list[int]]:
    """Where tiles begin and end.

    Args:
        windows: The tiles of an image.

    Returns:
        Rows and columns: of an edge at 5, pixels 4 and 5 lie on either side. The image's borders are among them.
    """
    rows = {edge for window in windows for edge in (window.top, window.top + window.height)}
    columns = {edge for window in windows for edge in (window.left, window.left + window.width)}
    return sorted(rows), sorted(columns)


def near_edges(height: int, width: int, windows: Sequence[Window], band: int) -> Tensor:
    """Which pixels are near a tile's edge or the image's border.

    Args:
        height: Of the image.
        width: Of the image.
        windows: Its tiles.
        band: How near, in pixels.

    Returns:
        (H, W) bool.
    """
    near = []
    for length, positions in zip((height, width), edges(windows), strict=True):
        close = torch.zeros(length, dtype=torch.bool)
        for edge in positions:
            close[max(0, edge - band) : edge + band] = True
        near.append(close)
    return near[0][:, None] | near[1]


def most_different(different: Tensor, windows: Sequence[Window], crop: int, count: int) -> list[Place]:
    """The crops on edges that hold the most differing pixels, no two of which overlap.

    Args:
        different: (H, W) bool, on the CPU: the pixels that count.
        windows: The tiles.
        crop: Side of a crop; smaller where the image is.
        count: How many at most.

    Returns:
        The best first; of equals the uppermost, then the leftmost. Crops without a differing pixel are left out.
    """
    height, width = different.shape
    tall, wide = min(crop, height), min(crop, width)
    sums = torch.zeros(height + 1, width + 1, dtype=torch.int64)
    sums[1:, 1:] = different.long().cumsum(0).cumsum(1)
    starts = sorted(set(_starts(height, width, windows, tall, wide)))
    top, left = torch.tensor(starts).unbind(1)
    pixels = sums[top + tall, left + wide] - sums[top, left + wide] - sums[top + tall, left] + sums[top, left]
    found: list[Place] = []
    for at in torch.argsort(pixels, descending=True, stable=True).tolist():
        if len(found) == count or pixels[at] == 0:
            break
        window = Window(starts[at][0], starts[at][1], tall, wide)
        if not any(_overlap(window, place.window) for place in found):
            found.append(Place(int(pixels[at]), window))
    return found


def _starts(height: int, width: int, windows: Sequence[Window], tall: int, wide: int) -> Iterator[tuple[int, int]]:
    """Corners of crops with an edge in their middle, or as near to it as the image allows."""
    rows, columns = edges(windows)
    for row in rows:
        for left in range(0, width - wide + 1, _STEP):
            yield min(max(0, row - tall // 2), height - tall), left
    for column in columns:
        for top in range(0, height - tall + 1, _STEP):
            yield top, min(max(0, column - wide // 2), width - wide)


def _overlap(one: Window, other: Window) -> bool:
    apart = one.top + one.height <= other.top or other.top + other.height <= one.top
    return not (apart or one.left + one.width <= other.left or other.left + other.width <= one.left)
