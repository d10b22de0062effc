"""A proposal for where a picture is scratched: thin lines that are brighter or darker than what is around them."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["find_scratches"]

_WIDEST = 7  # pixels that a scratch is thick at most, of a picture whose shorter side is 1000 or less
_SIDE = 1000
_SHORTEST = 0.04  # of the shorter side, at least so long is a scratch; but no shorter than
_FEWEST = 15  # pixels
_ANGLES = 16
_CONTRAST = 0.04  # of white: what a line differs by at least
_OVER_NOISE = 5.0  # times what most of the picture differs by from itself opened or closed
_LOOSE = 0.5  # of that, where it goes on from what differs so much
_SLIM = 4.0  # times as long as thick a scratch is at least
_MOST_PIXELS = 1 << 24
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def find_scratches(rgb: np.ndarray, white: int) -> np.ndarray:
    """Propose what is a scratch, a crease or a hair.

    The picture minus itself opened by a small disc (white top-hat) leaves what is bright and thin, the picture closed
    minus itself (black top-hat) what is dark and thin. Of both, only what is left by an opening along a line in one of
    16 directions is long. What there differs by more than 4 % of white, and by five times the median over the picture,
    is a scratch, and so is what differs by half of that and touches it. What is less than four times as long as it is
    thick, or shorter than 4 % of the picture's shorter side, is left out; the rest is widened by a pixel.

    Lines of the subject are proposed, too: wires, masts, whiskers. That is why the mask is to be looked at.

    Args:
        rgb: (H, W, 1 or 3), uint8 or uint16.
        white: The largest value a pixel can have.

    Returns:
        (H, W) uint8, 1 = scratched.
    """
    height, width = rgb.shape[:2]
    found = np.zeros((height, width), np.uint8)
    if min(height, width) < 2 * _FEWEST:
        return found
    scale = max(1.0, min(height, width) / _SIDE)
    side = _odd(_WIDEST * scale)
    length = max(_FEWEST, round(_SHORTEST * min(height, width)))
    step = max(4 * length, min(height, _MOST_PIXELS // width))
    for top in range(0, height, step):
        # A band sees more than it keeps, so that no line ends at its edge.
        rows = slice(max(0, top - 2 * length), min(height, top + step + 2 * length))
        grey = _grey(rgb[rows], white)
        kept = slice(top - rows.start, min(height, top + step) - rows.start)
        for thin in _thin(grey, side):
            found[top : top + step] |= _lines(thin, side, length)[kept]
    return cv2.dilate(found, np.ones((3, 3), np.uint8)) if found.any() else found


def _grey(rgb: np.ndarray, white: int) -> np.ndarray:
    values = rgb.astype(np.float32) / np.float32(white)
    return np.ascontiguousarray(values @ _GREY if rgb.shape[2] == 3 else values[..., 0])


def _thin(grey: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """How far what is bright and thin, and what is dark and thin, stands out."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # A little smoothed, as noise makes gaps in a faint line.
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.7)
    return cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, disc), cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, disc)


def _lines(thin: np.ndarray, side: int, length: int) -> np.ndarray:
    """Which of what stands out is long, slim, and stands out enough."""
    # Half of the shortest scratch: one that is bent a little still has such straight parts.
    element = _odd(max(_FEWEST, length / 2))
    along = np.zeros_like(thin)
    for number in range(_ANGLES):
        line = _line(element, np.pi * number / _ANGLES)
        np.maximum(along, cv2.morphologyEx(thin, cv2.MORPH_OPEN, line), out=along)
    strong = max(_CONTRAST, _OVER_NOISE * float(np.median(thin[:: max(1, len(thin) // 500)])))
    loose = (along > _LOOSE * strong).view(np.uint8)
    # Gaps of a few pixels, where a line crosses what is as bright as it is.
    loose = cv2.morphologyEx(loose, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(loose, connectivity=8, ltype=cv2.CV_32S)
    strongest = np.zeros(count, np.float32)
    places = labels > 0
    np.maximum.at(strongest, labels[places], along[places])
    longest = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    thickness = stats[:, cv2.CC_STAT_AREA] / np.maximum(longest, 1)
    kept = (strongest > strong) & (longest >= length) & (longest >= _SLIM * thickness) & (thickness <= 2 * side)
    kept[0] = False
    return kept[labels].view(np.uint8)


def _line(length: int, angle: float) -> np.ndarray:
    """A line through the middle of a square, a pixel thick."""
    square = np.zeros((length, length), np.uint8)
    middle, reach = length // 2, length // 2
    across, down = round(reach * float(np.cos(angle))), round(reach * float(np.sin(angle)))
    cv2.line(square, (middle - across, middle - down), (middle + across, middle + down), 1)
    return square


def _odd(value: float) -> int:
    return 2 * int(value / 2) + 1
