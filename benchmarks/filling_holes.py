"""The damage of `benchmarks.filling`: five kinds of holes, each determined by a photograph's name and the kind.

No code is shared with the masks that the package trains on or draws.
"""

from __future__ import annotations

import hashlib
import math
import string
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["KINDS", "SIZE", "digest", "draw_hole"]

SIZE = 256
_FINE = 8  # lines are drawn at this scale: OpenCV's own of thickness 3 are 5 pixels thick
_COVERED = 0.5  # share of a pixel that makes it a hole


def draw_hole(name: str, kind: str) -> np.ndarray:
    """Draw a photograph's hole.

    Args:
        name: The photograph's.
        kind: One of `KINDS`.

    Returns:
        (SIZE, SIZE) bool, True = hole.
    """
    seed = hashlib.sha256(f"{name}/{kind}".encode()).digest()
    return KINDS[kind](np.random.default_rng(int.from_bytes(seed[:8], "big")))


def digest(hole: np.ndarray) -> str:
    """Identifies a hole, so that results of different versions of drawing libraries are not mixed."""
    return hashlib.sha256(np.packbits(hole).tobytes()).hexdigest()[:12]


def scratches(draws: np.random.Generator) -> np.ndarray:
    """5 to 10 nearly straight lines of 1 to 3 pixels, from 60 pixels long to across the picture."""
    lines = np.zeros((_FINE * SIZE, _FINE * SIZE), np.uint8)
    for _ in range(int(draws.integers(5, 11))):
        length, bend = draws.uniform(60, 360), draws.normal(0, 0.4)
        _curve(lines, draws, steps=12, step=length / 12, turn=lambda bend=bend: bend / 12, width=(1, 3))
    return _covered(lines)


def strokes(draws: np.random.Generator) -> np.ndarray:
    """3 to 6 winding lines of 6 to 12 pixels, 80 to 250 pixels long."""
    lines = np.zeros((_FINE * SIZE, _FINE * SIZE), np.uint8)
    for _ in range(int(draws.integers(3, 7))):
        length = draws.uniform(80, 250)
        _curve(lines, draws, steps=10, step=length / 10, turn=lambda: draws.normal(0, 0.5), width=(6, 12))
    return _covered(lines)


def _curve(
    canvas: np.ndarray,
    draws: np.random.Generator,
    steps: int,
    step: float,
    turn: Callable[[], float],
    width: tuple[int, int],
) -> None:
    """Draw a line whose middle is inside the picture."""
    heading = draws.uniform(0, 2 * math.pi)
    headings = np.cumsum([heading, *(turn() for _ in range(steps - 1))])
    path = np.cumsum(step * np.column_stack([np.cos(headings), np.sin(headings)]), axis=0)
    path += draws.uniform(0, SIZE, 2) - path[steps // 2]
    thickness = _FINE * int(draws.integers(width[0], width[1] + 1))
    cv2.polylines(canvas, [np.rint(_FINE * path).astype(np.int32)], isClosed=False, color=1, thickness=thickness)


def _covered(fine: np.ndarray) -> np.ndarray:
    return cv2.resize(fine.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA) >= _COVERED


def text(draws: np.random.Generator) -> np.ndarray:
    """3 to 6 lines of words of random letters, each of a size from 14 to 32 pixels, in Pillow's own font."""
    page = Image.new("1", (SIZE, SIZE))
    pen = ImageDraw.Draw(page)
    pen.fontmode = "1"  # no gray edges
    count = int(draws.integers(3, 7))
    for line in range(count):
        font = ImageFont.load_default(size=int(draws.integers(14, 33)))
        letters = draws.choice(list(string.ascii_letters + "     "), int(draws.integers(8, 30)))
        place = (draws.uniform(-10, 60), (line + draws.uniform(0, 0.6)) * SIZE / count)
        pen.text((round(place[0]), round(place[1])), "".join(letters), fill=1, font=font)
    return np.asarray(page.convert("L")) > 0  # as bool its bytes would be 255, which OpenCV would count


def blocks(draws: np.random.Generator) -> np.ndarray:
    """2 to 5 rectangles with sides of 24 to 44 pixels, anywhere."""
    hole = np.zeros((SIZE, SIZE), bool)
    for _ in range(int(draws.integers(2, 6))):
        sides = draws.integers(24, 45, 2)
        top, left = (int(draws.integers(0, SIZE - side + 1)) for side in sides)
        hole[top : top + sides[0], left : left + sides[1]] = True
    return hole


def half_page(draws: np.random.Generator) -> np.ndarray:
    """The half of the picture along one of its sides, with an edge torn by up to about 10 pixels."""
    edge = np.cumsum(draws.normal(0, 1, SIZE))
    edge = SIZE / 2 + edge - np.linspace(edge[0], edge[-1], SIZE)
    hole = np.arange(SIZE)[:, None] < np.clip(edge, SIZE / 2 - 16, SIZE / 2 + 16)[None]
    return np.rot90(hole, int(draws.integers(4))).copy()


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "scratches": scratches,
    "strokes": strokes,
    "text": text,
    "blocks": blocks,
    "half page": half_page,
}
