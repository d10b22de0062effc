"""Reduce pictures with holes, and enlarge them again."""

from __future__ import annotations

import numpy as np

__all__ = ["enlarged", "reduced"]

_ENOUGH = 0.25  # a reduced pixel is valid if at least this share of its pixels is
_BAND = 1 << 24  # values averaged at once


def reduced(pixels: np.ndarray, hole: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a picture by averaging the valid pixels of each square.

    Args:
        pixels: (h, w, C), of any type.
        hole: (h, w) bool.
        scale: The squares' side.

    Returns:
        Pixels of the same type, 0 in holes, and the holes: squares of which less than a quarter is valid or, if that is
        true of all, squares without a valid pixel.
    """
    height, width, channels = pixels.shape
    rows, columns = -(-height // scale), -(-width // scale)
    small = np.zeros((rows, columns, channels), np.float32)
    share = np.zeros((rows, columns), np.float32)
    across, down = np.arange(0, width, scale), max(1, _BAND // (width * channels * scale))
    for first in range(0, rows, down):
        part = slice(first * scale, (first + down) * scale)
        valid = ~hole[part]
        starts = np.arange(0, len(valid), scale)
        values = np.where(valid[..., None], pixels[part], 0).astype(np.float32)
        small[first : first + down] = np.add.reduceat(np.add.reduceat(values, across, axis=1), starts, axis=0)
        counts = np.add.reduceat(np.add.reduceat(valid.astype(np.float32), across, axis=1), starts, axis=0)
        share[first : first + down] = counts
    small /= np.maximum(share, 1)[..., None]
    # Squares at the right and at the bottom cover fewer pixels.
    lengths = [np.minimum(scale, length - np.arange(0, length, scale)) for length in (height, width)]
    share /= np.outer(*lengths)
    small_hole = share < _ENOUGH
    if small_hole.all():
        small_hole = share == 0
    small[small_hole] = 0
    if pixels.dtype.kind != "f":
        small = np.rint(small)
    return small.astype(pixels.dtype), small_hole


def enlarged(pixels: np.ndarray, scale: int, size: tuple[int, ...]) -> np.ndarray:
    """Enlarge a picture smoothly.

    Args:
        pixels: (h, w, C), uint8, uint16 or float32.
        scale: How many times.
        size: Height and width of the result; pixels beyond are cut off.

    Returns:
        (*size, C) of the same type.
    """
    import cv2

    height, width, channels = pixels.shape
    large = cv2.resize(pixels, (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)
    return large.reshape(height * scale, width * scale, channels)[: size[0], : size[1]]
