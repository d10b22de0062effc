"""Dead-leaves images: opaque shapes of all sizes that cover each other, a model of edges and occlusion."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["draw_dead_leaves"]

_FINER = 2  # drawn at twice the size and downsampled, for antialiased edges
_SMALLEST = (2.0, 8.0)  # range of an image's smallest radius, in pixels of the result
_POWER = 3  # of the radii's density r^-3, which makes images scale invariant
_MOST_LEAVES = 250
_ROUNDS = 24  # leaves between two checks for uncovered pixels


def draw_dead_leaves(size: int, photographs: Sequence[np.ndarray], draws: np.random.Generator) -> np.ndarray:
    """Draw an image of the dead-leaves model, which teaches restoration networks edges as photographs do.

    Discs, ellipses and polygons are added until the image is covered. The radii's density is r^-3, for which the model
    is scale invariant, like natural images; colors are those of one photograph. A leaf has one color, a gradient
    between two, or the texture of a photograph in its color. Lee, Mumford & Huang, "Occlusion Models for Natural
    Images" (IJCV 41, 2001); Achddou, Gousseau & Ladjal, "Synthetic Images as a Regularity Prior for Image Restoration
    Neural Networks" (SSVM 2021).

    Args:
        size: Height and width.
        photographs: (H, W, 3) uint8, one or more, for colors and textures.
        draws: The random generator.

    Returns:
        (size, size, 3) uint8.
    """
    side = size * _FINER
    palette = photographs[int(draws.integers(len(photographs)))]
    radii = draws.uniform(*_SMALLEST), size * draws.uniform(0.3, 1.0)
    textured = draws.uniform(0, 0.7)
    canvas = np.zeros((side, side, 3), np.float32)
    bare = np.ones((side, side), np.uint8)
    for number in range(_MOST_LEAVES):
        if number % _ROUNDS == 0 and number and not bare.any():
            break
        # Drawn from top to bottom, each leaf only on pixels that are still uncovered: no pixel is painted twice.
        _fall(canvas, bare, _radius(*radii, draws) * _FINER, palette, photographs, textured, draws)
    canvas[bare != 0] = _color(palette, draws)
    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    blur = draws.uniform(-0.4, 0.9)
    if blur > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = np.asarray(draws.normal(0, draws.uniform(0, 3), image.shape), np.float32)
    noisy: np.ndarray = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return noisy


def _radius(smallest: float, largest: float, draws: np.random.Generator) -> float:
    power = 1 - _POWER
    low, high = smallest**power, largest**power
    # Some of any size: by the density alone, nearly all would have the smallest.
    if draws.random() < 0.25:
        return math.exp(draws.uniform(math.log(smallest), math.log(largest)))
    length: float = (low + draws.random() * (high - low)) ** (1 / power)
    return length


def _fall(
    canvas: np.ndarray,
    bare: np.ndarray,
    radius: float,
    palette: np.ndarray,
    photographs: Sequence[np.ndarray],
    textured: float,
    draws: np.random.Generator,
) -> None:
    """Draw one leaf on the pixels that are still uncovered."""
    side = len(bare)
    x, y = draws.uniform(-radius / 2, side + radius / 2, 2)
    left, top = max(0, math.floor(x - radius)), max(0, math.floor(y - radius))
    right, bottom = min(side, math.ceil(x + radius) + 1), min(side, math.ceil(y + radius) + 1)
    if left >= right or top >= bottom:
        return
    window = bare[top:bottom, left:right]
    if not window.any():
        return
    shape = np.zeros(window.shape, np.uint8)
    _outline(shape, np.array([x - left, y - top]), radius, draws)
    seen = (shape & window) != 0
    inside = _surface(shape.shape, palette, photographs, radius > 6 and draws.random() < textured, draws)
    canvas[top:bottom, left:right][seen] = inside[seen]
    window[seen] = 0


def _outline(shape: np.ndarray, middle: np.ndarray, radius: float, draws: np.random.Generator) -> None:
    kind = draws.random()
    if kind < 0.35:
        cv2.circle(shape, _whole(middle), max(1, round(radius)), 1, -1)
    elif kind < 0.6:
        axes = (max(1, round(radius)), max(1, round(radius * draws.uniform(0.15, 1))))
        cv2.ellipse(shape, _whole(middle), axes, draws.uniform(0, 180), 0, 360, 1, -1)
    else:
        corners = int(draws.integers(3, 9))
        angles = np.sort(draws.uniform(0, 2 * math.pi, corners))
        lengths = radius * draws.uniform(0.5, 1, corners)
        points = middle + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(shape, [np.rint(points).astype(np.int32)], 1)


def _surface(
    shape: tuple[int, ...],
    palette: np.ndarray,
    photographs: Sequence[np.ndarray],
    textured: bool,
    draws: np.random.Generator,
) -> np.ndarray:
    """A leaf's colors, float32, (h, w, 3) or broadcastable to it."""
    color = _color(palette, draws)
    if textured:
        photograph = photographs[int(draws.integers(len(photographs)))]
        height, width = (min(a, b) for a, b in zip(shape, photograph.shape, strict=False))
        top, left = (
            int(draws.integers(length - part + 1))
            for length, part in zip(photograph.shape, (height, width), strict=False)
        )
        part: np.ndarray = photograph[top : top + height, left : left + width].astype(np.float32)
        if (height, width) != shape:
            part = cv2.resize(part, shape[::-1])
        surface: np.ndarray = color + draws.uniform(0.3, 1) * (part - part.mean(axis=(0, 1)))
        return surface
    if draws.random() < 0.5:
        return np.broadcast_to(color, (*shape, 3))
    # A gradient along a random direction.
    angle = draws.uniform(0, 2 * math.pi)
    along = np.add.outer(math.cos(angle) * np.arange(shape[0]), math.sin(angle) * np.arange(shape[1]))
    along = ((along - along.min()) / max(1e-6, float(np.ptp(along)))).astype(np.float32)[..., None]
    shaded: np.ndarray = color + (_color(palette, draws) - color) * along * np.float32(draws.uniform(0.1, 0.8))
    return shaded


def _color(palette: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    row, column = int(draws.integers(len(palette))), int(draws.integers(palette.shape[1]))
    color: np.ndarray = palette[row, column].astype(np.float32)
    return color


def _whole(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
