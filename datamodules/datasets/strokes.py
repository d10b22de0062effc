"""Drawn masks of brush strokes and boxes."""

import math

import cv2
import numpy as np

from pcpad.errors import UserValueError

# Parameters of a stroke, at 256 pixels.
_STROKES = (1, 5)
_VERTICES = (4, 10)
_LENGTH = (20, 128)
_WIDTH = (10, 45)
_LARGEST_TURN = 6.0
_BOX_SIDE = (24, 128)
_BOX_SHARE = 0.2
_OVERSHOOT = 0.02


def check_hole_ratio(name: str, size: int, hole_ratio: tuple[float, float]) -> None:
    """Refuse a range of hole shares that no mask of the given size can have.

    Args:
        name: The argument's name, for the error.
        size: Height and width of the masks.
        hole_ratio: Smallest and largest share.

    Raises:
        ValueError: Not 0 <= smallest < largest < 1, or the range is too narrow.
    """
    low, high = hole_ratio
    expected = None
    if not 0 <= low < high < 1:
        expected = "0 <= smallest < largest < 1"
    elif (high - low) * size**2 < 2:
        expected = f"wider than two of the {size}² pixels"
    if expected:
        message = f"Expected argument `{name}` to be {expected}, but got {hole_ratio}"
        raise UserValueError(message)


def draw_mask(size: int, hole_ratio: tuple[float, float], draws: np.random.Generator) -> np.ndarray:
    """Draw a mask of brush strokes and boxes.

    The hole share is drawn first, uniformly, and shapes are added until it is reached; shapes that exceed it by more
    than 0.02 are rejected. So all shares of the range are about equally frequent; redrawing whole masks until they are
    in the range would favor its easier end.

    A stroke follows 4 to 10 vertices 20 to 128 pixels apart, turning by up to 6 rad, 10 to 45 pixels wide; strokes come
    in groups of 1 to 5 that start near each other. One shape in five is a box. Lengths are for 256 pixels, and scale
    with the size.

    Args:
        size: Height and width.
        hole_ratio: Smallest (exclusive) and largest hole share, as allowed by `check_hole_ratio`.
        draws: The random generator.

    Returns:
        `(size, size)` uint8, 1 = valid, 0 = hole.
    """
    low, high = hole_ratio
    most = math.floor(high * size**2 + 1e-9)
    target = min(most, math.floor(low * size**2 + 1e-9) + 1 + int(draws.random() * (high - low) * size**2))
    holes = np.zeros((size, size), np.uint8)
    unit, left, center = size / 256, 0, draws.uniform(0, size, 2)
    while int(holes.sum()) < target:
        if left == 0:
            left, center = int(draws.integers(_STROKES[0], _STROKES[1] + 1)), draws.uniform(0, size, 2)
        more = holes.copy()
        if draws.random() < _BOX_SHARE:
            _box(more, unit, draws)
        else:
            _stroke(more, center, unit, draws)
        left -= 1
        if int(more.sum()) <= min(most, target + _OVERSHOOT * size**2):
            holes = more
        else:
            unit *= 0.8  # the rest is filled by smaller shapes, down to single pixels
    return 1 - holes


def _stroke(holes: np.ndarray, center: np.ndarray, unit: float, draws: np.random.Generator) -> None:
    place = center + draws.normal(0, 40 * unit, 2)
    heading = draws.uniform(0, 2 * math.pi)
    points = [place]
    for _ in range(int(draws.integers(_VERTICES[0], _VERTICES[1] + 1)) - 1):
        heading += draws.uniform(-_LARGEST_TURN, _LARGEST_TURN)
        step = unit * draws.uniform(*_LENGTH)
        # Outside of the picture, the walk would paint nothing.
        place = np.clip(place + step * np.array([math.cos(heading), math.sin(heading)]), 0, len(holes) - 1)
        points.append(place)
    width = max(1, round(unit * draws.uniform(*_WIDTH)))
    cv2.polylines(holes, [np.rint(points).astype(np.int32)], isClosed=False, color=1, thickness=width)


def _box(holes: np.ndarray, unit: float, draws: np.random.Generator) -> None:
    sides = np.maximum(1, np.rint(unit * draws.uniform(*_BOX_SIDE, 2))).astype(int)
    top, left = (int(draws.integers(max(1, len(holes) - side + 1))) for side in sides)
    holes[top : top + sides[0], left : left + sides[1]] = 1
