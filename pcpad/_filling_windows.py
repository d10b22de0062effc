"""Where the holes of a picture are: groups of holes, the rectangle around each, and pieces of it that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

__all__ = ["Group", "Piece", "groups", "pieces"]

_CELL = 16  # pixels: holes are grouped by cells, so that 600 megapixels take a few megabytes
_BAND = 64  # rows of cells processed at once


class Group(NamedTuple):
    """Holes near each other.

    Attributes:
        top: First row of the rectangle around them.
        left: Its first column.
        bottom: The row after its last.
        right: The column after its last.
        number: The group's number in `labels`.
        labels: The group of each cell of 16 x 16 pixels, 0 where there is no hole; of the whole picture.
    """

    top: int
    left: int
    bottom: int
    right: int
    number: int
    labels: np.ndarray

    def owned(self, piece: Piece) -> np.ndarray:
        """Which pixels of a piece's inner part are in this group's cells, (height, width) bool."""
        rows = np.arange(piece.top, piece.bottom) // _CELL
        columns = np.arange(piece.left, piece.right) // _CELL
        own: np.ndarray = self.labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == self.number
        return own[np.ix_(rows - rows[0], columns - columns[0])]


class Piece(NamedTuple):
    """A part of a group that is filled at once.

    Attributes:
        top: First row of its inner part.
        left: Its first column.
        bottom: The row after its last.
        right: The column after its last.
        around: What is read: slices of rows and columns, clipped to the picture.
        inner: The inner part within what is read: slices of rows and columns.
    """

    top: int
    left: int
    bottom: int
    right: int
    around: tuple[slice, slice]
    inner: tuple[slice, slice]


def groups(hole: np.ndarray) -> Iterator[Group]:
    """Find the holes of a picture, grouped where they lie within about 32 pixels of each other.

    Args:
        hole: (H, W) uint8, anything but 0 is a hole.

    Yields:
        The groups, from the top down.
    """
    import cv2

    cells = _cells(hole)
    if not cells.any():
        return
    near = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8, ltype=cv2.CV_32S)
    labels[cells == 0] = 0
    for number in range(1, count):
        left, top, width, height = (int(value) for value in stats[number, :4])
        inside = (slice(top * _CELL, (top + height) * _CELL), slice(left * _CELL, (left + width) * _CELL))
        found = _box(hole, inside, labels, number)
        if found is not None:
            yield Group(*found, number, labels)


def _cells(hole: np.ndarray) -> np.ndarray:
    """Which cells have a pixel of a hole, uint8."""
    height, width = hole.shape
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    found = np.zeros((rows, columns), np.uint8)
    starts = np.arange(0, width, _CELL)
    for first in range(0, rows, _BAND):
        band = hole[first * _CELL : (first + _BAND) * _CELL]
        across = np.bitwise_or.reduceat(band != 0, starts, axis=1)
        found[first : first + _BAND] = np.bitwise_or.reduceat(across, np.arange(0, len(band), _CELL), axis=0)
    return found


def _box(
    hole: np.ndarray, inside: tuple[slice, slice], labels: np.ndarray, number: int
) -> tuple[int, int, int, int] | None:
    """The rectangle around a group's pixels: top, left, bottom, right; that of its cells where it is large anyway."""
    part = hole[inside]
    top, left = inside[0].start, inside[1].start
    if part.size > 1 << 22:
        return top, left, top + part.shape[0], left + part.shape[1]
    mine = part != 0
    cells = labels[top // _CELL :, left // _CELL :] == number
    cells = cells[: -(-part.shape[0] // _CELL), : -(-part.shape[1] // _CELL)]
    mine &= np.repeat(np.repeat(cells, _CELL, axis=0), _CELL, axis=1)[: part.shape[0], : part.shape[1]]
    rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    if not len(rows):
        return None
    return top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1


def pieces(group: Group, size: tuple[int, int], context: int, most: int) -> Iterator[Piece]:
    """Cut the rectangle around a group into pieces that each fit in memory with their surroundings.

    Args:
        group: The group.
        size: Height and width of the picture.
        context: Pixels of context around each piece.
        most: Pixels of a piece with its surroundings, at most (as far as `context` allows).

    Yields:
        The pieces, row by row.
    """
    height, width = group.bottom - group.top, group.right - group.left
    rows, columns = [(group.top, group.bottom)], [(group.left, group.right)]
    if (height + 2 * context) * (width + 2 * context) > most:
        side = max(128, int(most**0.5) - 2 * context)
        rows, columns = _cut(group.top, group.bottom, side), _cut(group.left, group.right, side)
    for top, bottom in rows:
        for left, right in columns:
            above, before = max(0, top - context), max(0, left - context)
            yield Piece(
                top, left, bottom, right,
                (slice(above, min(size[0], bottom + context)), slice(before, min(size[1], right + context))),
                (slice(top - above, bottom - above), slice(left - before, right - before)),
            )  # fmt: skip


def _cut(start: int, end: int, side: int) -> list[tuple[int, int]]:
    """Cut a length into equal parts of at most `side`."""
    count = -(-(end - start) // side)
    edges = [start + (end - start) * part // count for part in range(count + 1)]
    return list(pairwise(edges))
