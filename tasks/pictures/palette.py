"""A color for each class."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

__all__ = ["palette"]


def palette(num_classes: int, colors: Sequence[tuple[int, int, int]] | None = None) -> np.ndarray:
    """One RGB color per class.

    Args:
        num_classes: The number of classes.
        colors: The colors to use, if there is one per class; otherwise hues are evenly spaced.

    Returns:
        (num_classes, 3) uint8.
    """
    if colors is None or len(colors) != num_classes:
        hues = [colorsys.hsv_to_rgb(index / num_classes, 0.8, 1 - 0.4 * (index % 2)) for index in range(num_classes)]
        return (255 * np.array(hues)).astype(np.uint8)
    return np.array(colors, dtype=np.uint8)
