"""Draw the most common damage of pictures: scratches, strokes, writing, blocks, missing parts of the page, dust."""

import math

import cv2
import numpy as np

__all__ = ["DAMAGES", "draw_damage"]

# How often each kind is drawn, and the share of the picture that its shapes cover in total.
_KINDS: dict[str, tuple[float, tuple[float, float]]] = {
    "scratches": (0.24, (0.06, 0.16)),
    "strokes": (0.30, (0.14, 0.30)),
    "writing": (0.16, (0.10, 0.25)),
    "blocks": (0.14, (0.12, 0.30)),
    "page": (0.08, (0.25, 0.60)),
    "dust": (0.08, (0.04, 0.14)),
}
DAMAGES = tuple(_KINDS)
"""The kinds of damage that are drawn."""

_TWO_KINDS = 0.15  # probability that a second kind is drawn over the first
_MOST = 0.75
_MOST_SHAPES = 300
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&?!/"
_FONTS = tuple(range(8))  # OpenCV's Hershey fonts


def draw_damage(size: int, draws: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """Draw the mask of a damaged picture. Widths and lengths are in pixels, independent of the size.

    Scratches are lines of 1 to 3 pixels, strokes curves of 4 to 24, writing is lines of letters with strokes of 1 to 6,
    blocks are boxes and ellipses of 16 to 56, a page lacks one side or a corner along a straight or torn edge, dust is
    many specks of 1 to 7. Most masks have a single kind, as most pictures are damaged in one way; the damage covers
    more than is usual in pictures, since every hole pixel contributes to training.

    Args:
        size: Height and width.
        draws: The random generator.
        kind: One of `DAMAGES`; None draws one according to its frequency, and sometimes a second one.

    Returns:
        `(size, size)` uint8, 1 = valid, 0 = hole; with both holes and valid pixels.
    """
    shares = np.array([share for share, _ in _KINDS.values()])
    kinds = [kind] if kind else [DAMAGES[int(draws.choice(len(DAMAGES), p=shares / shares.sum()))]]
    if kind is None and draws.random() < _TWO_KINDS:
        kinds.append(DAMAGES[int(draws.integers(len(DAMAGES)))])
    holes = np.zeros((size, size), np.uint8)
    for one in kinds:
        more = _drawn(one, size, draws)
        if (holes | more).mean() <= _MOST:
            holes |= more
    if not holes.any():
        holes[size // 2, size // 2] = 1
    return 1 - holes


def _drawn(kind: str, size: int, draws: np.random.Generator) -> np.ndarray:
    """Draw holes of one kind, 1 = hole."""
    target = draws.uniform(*_KINDS[kind][1])
    if kind == "page":
        return _page(size, target, draws)
    holes = np.zeros((size, size), np.uint8)
    shape = {"scratches": _scratch, "strokes": _stroke, "writing": _writing, "blocks": _block, "dust": _speck}[kind]
    width = draws.random()  # the shapes of one picture have similar widths
    for _ in range(_MOST_SHAPES):
        before = holes.copy()
        shape(holes, width, draws)
        if holes.mean() > _MOST:
            return before
        if holes.mean() >= target:
            break
    return holes


def _curve(holes: np.ndarray, thickness: int, step: float, turn: float, draws: np.random.Generator) -> None:
    """Draw a random walk from a random point, whose direction changes by about `turn` rad per step."""
    place, heading = draws.uniform(0, len(holes), 2), draws.uniform(0, 2 * math.pi)
    points = [place]
    for _ in range(int(draws.integers(3, 12))):
        heading += draws.normal(0, turn)
        place = place + step * np.array([math.cos(heading), math.sin(heading)])
        points.append(place)
    cv2.polylines(holes, [np.rint(points).astype(np.int32)], isClosed=False, color=1, thickness=thickness)


def _scratch(holes: np.ndarray, width: float, draws: np.random.Generator) -> None:
    _curve(holes, int(draws.integers(1, 4)), draws.uniform(5, 30), draws.choice([0.02, 0.1, 0.4]), draws)


def _stroke(holes: np.ndarray, width: float, draws: np.random.Generator) -> None:
    thickness = round(4 * 6**width * draws.uniform(0.8, 1.2))
    _curve(holes, thickness, draws.uniform(8, 30), draws.choice([0.1, 0.5, 1.2]), draws)


def _writing(holes: np.ndarray, width: float, draws: np.random.Generator) -> None:
    scale = 0.4 * 4**width * draws.uniform(0.9, 1.1)
    thickness = max(1, round(scale * draws.uniform(0.8, 3)))
    text = "".join(_LETTERS[at] for at in draws.integers(len(_LETTERS), size=int(draws.integers(3, 14))))
    left, bottom = (int(at) for at in draws.uniform([-len(holes) / 2, 0], [len(holes) / 2, len(holes) * 1.1]))
    cv2.putText(holes, text, (left, bottom), int(draws.choice(_FONTS)), scale, 1, thickness)


def _block(holes: np.ndarray, width: float, draws: np.random.Generator) -> None:
    height, length = (min(int(side), 3 * len(holes) // 4) for side in draws.integers(16, 57, 2))
    top, left = (int(at) for at in draws.uniform([-8, -8], [len(holes) - height + 8, len(holes) - length + 8]))
    if draws.random() < 0.75:
        cv2.rectangle(holes, (left, top), (left + length - 1, top + height - 1), 1, -1)
    else:
        middle = (left + length // 2, top + height // 2)
        cv2.ellipse(holes, middle, (length // 2, height // 2), draws.uniform(0, 180), 0, 360, 1, -1)


def _speck(holes: np.ndarray, width: float, draws: np.random.Generator) -> None:
    for x, y in draws.integers(len(holes), size=(6, 2)).tolist():
        axes = (int(draws.integers(4)), int(draws.integers(4)))
        cv2.ellipse(holes, (x, y), axes, draws.uniform(0, 180), 0, 360, 1, -1)


def _page(size: int, share: float, draws: np.random.Generator) -> np.ndarray:
    """Draw a missing side of the page, up to a straight line along that side or a slanted and torn one."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    if draws.random() < 0.6:
        height = rows
    else:
        angle = draws.uniform(0, 2 * math.pi)
        ripples = cv2.GaussianBlur(draws.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 4)
        height = math.cos(angle) * rows + math.sin(angle) * columns + draws.uniform(0, 40) * ripples
    holes = (height <= np.quantile(height, share)).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(holes, int(draws.integers(4))))
