"""The hole of a picture: from a mask's file, or from the picture: what is transparent, painted or scratched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pcpad.commands.filling.scratches import find_scratches
from pcpad.datamodules.datasets.hole_masks import OTHER, Polarity, fit_nearest, hole_share, read_mask, ways
from pcpad.errors import UserValueError
from pcpad.file_kinds import kind_of_file
from pcpad.pictures import Picture

__all__ = ["NAMED_COLORS", "MaskReading", "color_of", "has_bled", "hole_of", "painted"]

_PLAUSIBLE = 0.6  # as `check_polarity` of data sets has it
_OTHER: dict[Polarity, Polarity] = {**OTHER, "transparent_hole": "opaque_hole", "opaque_hole": "transparent_hole"}
_THRESHOLD = 0.5
_MIXED = 3  # pixels
_DISTINCT, _BLED = 0.15, 0.015  # of white; of the way from what is around to what is in the hole
_LOSSY = ("JPEG", "WebP", "AVIF", "HEIC", "JPEG 2000")
_RINGING = 1 / 8  # of white: what compression makes of black
_GREAT = 1 << 25  # pixels: of larger pictures the first so many are looked at
NAMED_COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}


@dataclass(frozen=True)
class MaskReading:
    """How holes are recognized.

    Args:
        source: None where masks are files; `alpha`, `scratches` or a color.
        polarity: What is a hole in a mask's file.
        sure: Whether that was said, and not taken for granted.
        threshold: Share of white above which a mask's pixel counts as white; None for half, with the soft edges of
            what is drawn, and for refusing masks that are neither black nor white for the most part.
        fit: `nearest` resizes masks of another size.
        tolerance: How far a channel may be from a color's, of 255.
        grow: Pixels by which the hole is made wider all around.
    """

    source: str | None = None
    polarity: Polarity = "white_hole"
    sure: bool = False
    threshold: float | None = None
    fit: Literal["nearest"] | None = None
    tolerance: int = 60
    grow: int = 0


def color_of(text: str) -> tuple[int, int, int] | None:
    """The color that a word or `#rrggbb` means; None where it means none."""
    if text in NAMED_COLORS:
        return NAMED_COLORS[text]
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def hole_of(picture: Picture, source: Path, mask: Path | None, reading: MaskReading) -> np.ndarray:
    """Find the part of a picture that is to be filled.

    Args:
        picture: The picture.
        source: Its file.
        mask: Its mask's file, where it has one.
        reading: How holes are recognized.

    Returns:
        (H, W) uint8, 1 = to be filled.

    Raises:
        UserValueError: The mask does not say what is a hole, is of another size, or covers everything; or there is
            nothing in the picture that is meant.
    """
    if mask is not None:
        hole = _of_file(picture, source, mask, reading)
    elif reading.source == "alpha":
        hole = _transparent(picture, source)
    elif reading.source == "scratches":
        hole = find_scratches(picture.rgb(), picture.white)
    else:
        color = color_of(reading.source or "")
        assert color is not None, reading.source
        hole = painted(picture, color, reading.tolerance)
        if not hole.any():
            message = (
                f"{source}: nothing in it is {reading.source} (within {reading.tolerance} of 255): pass another color "
                "as --mask_from #rrggbb, or a larger --tolerance"
            )
            raise UserValueError(message)
    if reading.grow and hole.any():
        side = 2 * reading.grow + 1
        hole = cv2.dilate(hole, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    if hole.all():
        what = f"its mask {mask}" if mask is not None else f"what is {reading.source}"
        message = (
            f"{source}: {what} covers 100 % of it, so that there is nothing to go by; is the mask inverted "
            "(--mask_polarity)?"
        )
        raise UserValueError(message)
    return hole


def _of_file(picture: Picture, source: Path, path: Path, reading: MaskReading) -> np.ndarray:
    """The hole of a mask's file, by the rules of data sets of pictures with masks."""
    threshold = _THRESHOLD if reading.threshold is None else reading.threshold
    soft = (_RINGING if _is_lossy(path) else 0) if reading.threshold is None else None
    believed = picture.size[0] * picture.size[1]
    mask = read_mask(path, reading.polarity, threshold, judge=True, soft_edges=soft, believed=believed)
    if mask.unclear and reading.threshold is None:
        message = (
            f"{source}: its mask {path} does not say what is a hole, as {mask.unclear}: {ways('--mask_polarity')}; or "
            "where grays count as white: --mask_threshold 0.5"
        )
        raise UserValueError(message)
    valid = mask.valid
    if valid.shape != picture.size and reading.fit is None:
        height, width = picture.size
        turned = valid.shape == (width, height)
        hint = "; is it drawn on the picture as it was before it was turned upright?" if turned else ""
        message = (
            f"{source}: its mask {path} has {valid.shape[1]}x{valid.shape[0]} pixels, but the picture has "
            f"{width}x{height}: make it so, or resize it with --fit_masks nearest{hint}"
        )
        raise UserValueError(message)
    share = hole_share(valid)
    if _PLAUSIBLE < share < 1 and not reading.sure:
        other = _OTHER.get(reading.polarity, "another one")
        message = (
            f"{source}: {share:.0%} of it is a hole by its mask {path}, more than the {_PLAUSIBLE:.0%} that are "
            f"plausible: pass --mask_polarity {other} if it is inverted, or --mask_polarity "
            f"{reading.polarity} if so much is to be filled indeed"
        )
        raise UserValueError(message)
    return 1 - fit_nearest(valid, *picture.size)


def _transparent(picture: Picture, source: Path) -> np.ndarray:
    if picture.alpha is None:
        message = f"{source}: nothing in it is transparent (no alpha channel), so --mask_from alpha finds no hole"
        raise UserValueError(message)
    return (picture.alpha <= picture.white // 2).view(np.uint8)


def painted(picture: Picture, color: tuple[int, int, int], tolerance: int) -> np.ndarray:
    """Find what is painted in a color.

    Where paint meets picture its color is mixed, and JPEG mixes it farther: a pixel counts if each of its channels is
    within the tolerance, and within three pixels of such ones those that are within twice the tolerance.

    Args:
        picture: The picture.
        color: Of 255 each.
        tolerance: Likewise.

    Returns:
        (H, W) uint8, 1 = painted.
    """
    rgb, white = picture.rgb(), picture.white
    loose = np.ones(picture.size, bool)
    tight = np.ones(picture.size, bool)
    for channel, value in enumerate(color):
        values = rgb[..., min(channel, rgb.shape[2] - 1)]
        aim, near = value * white / 255, tolerance * white / 255
        tight &= (values >= aim - near) & (values <= aim + near)
        loose &= (values >= aim - 2 * near) & (values <= aim + 2 * near)
    side = 2 * _MIXED + 1
    line: np.ndarray = cv2.dilate(tight.view(np.uint8), np.ones((side, side), np.uint8)) & loose.view(np.uint8)
    return line


def _is_lossy(path: Path) -> bool:
    kind = kind_of_file(path)
    return kind is not None and kind.name in _LOSSY


def has_bled(picture: Picture, source: Path, hole: np.ndarray) -> bool:
    """Whether a hole's content was compressed with the picture, and so has colored the pixels around it.

    Args:
        picture: Before it is filled.
        source: Its file.
        hole: (H, W) uint8, 1 = to be filled.

    Returns:
        Whether its format loses something, and the mean color next to holes is nearer to that in holes than the mean
        color a pixel farther, by more than 1.5 % of what lies between that in holes and that five pixels away.
    """
    if not _is_lossy(source):
        return False
    rows = slice(0, max(1, _GREAT // hole.shape[1]))
    hole, color = hole[rows], picture.color[rows]
    rings = [cv2.dilate(hole, np.ones((side, side), np.uint8)) for side in (3, 5, 9, 13)]
    places = (hole != 0, rings[0] > hole, rings[1] > rings[0], rings[3] > rings[2])
    if not all(place.any() for place in places):
        return False
    inside, near, next_to_it, away = (color[place].mean(axis=0, dtype=np.float64) / picture.white for place in places)
    way = inside - away
    length = float(way @ way)
    return length > _DISTINCT**2 and float((near - next_to_it) @ way) > _BLED * length
