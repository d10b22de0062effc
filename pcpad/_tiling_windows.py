"""The places of tiles: the kept part of each, and the pixels read for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from pcpad._fractions import as_fraction
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["Tiling", "Window", "exact_windows", "read_window"]


class Window(NamedTuple):
    """A tile's place in the image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """The image's rows it covers."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """The image's columns it covers."""
        return slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Tiles start every `ceil(size * (1 - overlap))` pixels; the last one of a row or column is shifted inward so that it
    ends with the image. Along an axis on which the image is smaller than the tile there is one tile, of the image's
    size.

    Args:
        size: Of a tile in pixels: one number, or (height, width).
        overlap: Of neighbors, as a fraction of the tile in [0, 1): a number or text such as "1/3".

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> Tiling(1024, overlap=1 / 3).stride
        (683, 683)
        >>> [window.left for window in Tiling(1024, overlap=1 / 3).windows(1024, 2048)]
        [0, 683, 1024]
    """

    size: int | tuple[int, int]
    overlap: float | str | Fraction = 0

    def __post_init__(self) -> None:
        sides = tuple(self.size) if isinstance(self.size, (tuple, list)) else (self.size, self.size)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            message = f"Expected argument `size` to be a positive integer or (height, width), but got {self.size!r}"
            raise UserValueError(message)
        overlap = as_fraction(self.overlap)
        if not 0 <= overlap < 1:
            message = f"Expected argument `overlap` to be in [0, 1), but got {self.overlap!r}"
            raise UserValueError(message)
        # Frozen, so that equal tilings are one key; 1/3, "1/3" and 0.3333333333333333 are equal.
        object.__setattr__(self, "size", sides)
        object.__setattr__(self, "overlap", overlap)

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels between the starts of neighboring tiles, (vertically, horizontally)."""
        height, width = self.sides
        return ceil(height * (1 - as_fraction(self.overlap))), ceil(width * (1 - as_fraction(self.overlap)))

    def windows(self, height: int, width: int) -> list[Window]:
        """The tiles of an image, row by row.

        Args:
            height: The image's height, in pixels.
            width: The image's width, in pixels.

        Returns:
            Windows that lie in the image and cover it.

        Raises:
            ValueError: The image has no pixels.
        """
        if min(height, width) < 1:
            message = f"An image of {height} x {width} pixels has no tiles."
            raise UserValueError(message)
        (tall, wide), (down, right) = self.sides, self.stride
        tops, lefts = _starts(height, tall, down), _starts(width, wide, right)
        return [Window(top, left, min(tall, height), min(wide, width)) for top in tops for left in lefts]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a tile, in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(0, length - size)
    return [*range(0, last, stride), last]


def exact_windows(height: int, width: int, sides: tuple[int, int], alignment: tuple[int, int]) -> list[Window]:
    """The kept part of each tile where margins make overlaps needless: all pixels, each once, row by row.

    Args:
        height: The image's height, in pixels.
        width: The image's width, in pixels.
        sides: A tile's sides; rounded down to a multiple of the alignment, one at least.
        alignment: Of the tiles' starts.
    """
    down, right = (max(step, side // step * step) for side, step in zip(sides, alignment, strict=True))
    return [
        Window(top, left, min(down, height - top), min(right, width - left))
        for top in range(0, height, down)
        for left in range(0, width, right)
    ]


def read_window(
    kept: Window, size: tuple[int, int], margin: tuple[int, int], alignment: tuple[int, int], least: tuple[int, int]
) -> Window:
    """The pixels to read so that the network's output is right in the kept part.

    Args:
        kept: The kept part.
        size: Height and width of the image.
        margin: Context around the kept part, clipped to the image.
        alignment: The window starts at a multiple of this, and ends at one or with the image.
        least: The smallest size to read, if the image is that large; a network may refuse less.
    """
    parts = []
    for axis in (0, 1):
        first, count = (kept.top, kept.height) if axis == 0 else (kept.left, kept.width)
        length, step = size[axis], alignment[axis]
        stop = min(length, -(-(first + count + margin[axis]) // step) * step)
        start = max(0, min(first - margin[axis], stop - least[axis])) // step * step
        stop = max(stop, min(length, start + least[axis]))
        stop = min(length, -(-stop // step) * step)
        parts.append((start, stop - start))
    (top, tall), (left, wide) = parts
    return Window(top, left, tall, wide)
