"""Filled pictures: how one is filled in memory, written without losing what its file had, and shown on a sheet."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from pcpad.files import whole_file
from pcpad.pictures import Picture, PictureFormat

if TYPE_CHECKING:
    from pcpad.filling import Inpainter, Method, Summary

__all__ = ["ENDINGS", "SheetRow", "draw_sheet", "filled", "format_of", "said", "sheet_row", "small", "still_unseen"]

ENDINGS: Mapping[PictureFormat, str] = {"png": ".png", "tiff": ".tif", "jpg": ".jpg"}
_TIFFS = (".tif", ".tiff")
_CELL, _GAP, _LINE = 320, 8, 14  # pixels of the sheet
_HOLE = (255, 60, 60)
_TITLES = ("before", "filled here", "after")
_UNSEEN = 1 / 8  # of white: opacity up to which a pixel shows next to nothing
_SOFT = 16  # pixels around what was transparent that become opaque, too


def format_of(source: Path, picture: Picture, wanted: str) -> PictureFormat:
    """In which format a picture's result is written.

    Args:
        source: The picture's file.
        picture: The picture.
        wanted: `png`, `tiff`, `jpg`; or `auto`: TIFF for TIFF, and for inks, which PNG has not; PNG for all others.

    Returns:
        The format.
    """
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    return "tiff" if source.suffix.lower() in _TIFFS or picture.is_ink or picture.place is not None else "png"


def filled(
    picture: Picture,
    hole: np.ndarray,
    method: Method,
    network: Inpainter | None,
    *,
    opaque: bool = False,
) -> tuple[Picture, Summary]:
    """Fill a picture in place.

    Args:
        picture: The picture; its pixels change.
        hole: (H, W) uint8, 1 = to be filled.
        method: See `pcpad.filling.fill_picture`.
        network: Likewise.
        opaque: Whether what is filled was transparent, and is so no more, nor are its soft edges.

    Returns:
        The picture, valid pixels and all else as it was, and how it was filled.
    """
    from pcpad.filling import fill_pixels  # with torch, which takes a second or two

    summary = fill_pixels(picture.color, hole, method, network, white=float(picture.white))
    alpha = picture.alpha
    if opaque and alpha is not None:
        alpha = np.where(_with_soft_edges(hole, alpha < picture.white), alpha.dtype.type(picture.white), alpha)
    return replace(picture, alpha=alpha), summary


def _with_soft_edges(hole: np.ndarray, translucent: np.ndarray) -> np.ndarray:
    """The pixels that become opaque: holes, and translucent pixels that touch them, up to 16 pixels away.

    What was erased with a soft brush would stay to be seen by its edge. The colors there are what they were.
    """
    side = 2 * _SOFT + 1
    near = cv2.dilate(hole, np.ones((side, side), np.uint8)) & translucent.view(np.uint8)
    count, labels = cv2.connectedComponents(near | hole, connectivity=8, ltype=cv2.CV_32S)
    touching = np.zeros(count, bool)
    touching[labels[hole != 0]] = True
    return touching[labels]


def said(summary: Summary, size: int) -> str:
    """How a picture was filled, in words."""
    count = sum(summary.methods.values())
    by = ", ".join(f"{name} {number}" for name, number in summary.methods.most_common())
    text = f"{count / size:.2%} filled ({by} pixels)"
    if summary.unreached:
        text += (
            f"; {summary.unreached} of them are too far from anything valid for it: they are filled at a smaller size, "
            "so they are blurred"
        )
    return text


def still_unseen(picture: Picture, hole: np.ndarray) -> str:
    """What there is to say of a filled picture whose alpha hides what was filled.

    Args:
        picture: The filled picture.
        hole: (H, W) uint8, 1 = filled.

    Returns:
        In words, how much of it is transparent, and what to do; empty where none is.
    """
    if picture.alpha is None:
        return ""
    unseen = int(np.count_nonzero(hole.view(bool) & (picture.alpha <= _UNSEEN * picture.white)))
    if not unseen:
        return ""
    return (
        f"{unseen} of the {np.count_nonzero(hole)} filled pixels are transparent and stay so, so what fills them is "
        "not to be seen: --mask_from alpha instead of a mask fills what is transparent, and makes it opaque"
    )


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet: small copies, so that many rows take little memory.

    Args:
        name: What stands below.
        cells: The picture before, its hole, and after.
    """

    name: str
    cells: Sequence[Image.Image]


def sheet_row(name: str, before: Image.Image, hole: np.ndarray, after: Picture) -> SheetRow:
    """Make the row of a picture.

    Args:
        name: What stands below it.
        before: As `small` makes it.
        hole: (H, W) uint8, 1 = filled.
        after: The filled picture.

    Returns:
        The row.
    """
    share = cv2.resize(hole.astype(np.float32), before.size, interpolation=cv2.INTER_AREA)
    mask = np.where(share[..., None] > 0, _HOLE, 255).astype(np.uint8)
    return SheetRow(name, (before, Image.fromarray(mask), small(after)))


def small(picture: Picture) -> Image.Image:
    """A picture in a cell's size, RGB; what is transparent is shown on a checkered ground."""
    height, width = picture.size
    scale = min(1.0, _CELL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = cv2.resize(picture.color, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    shrunk = replace(picture, color=_eight_bits(pixels, picture.white))
    rgb = np.broadcast_to(shrunk.rgb(), (size[1], size[0], 3)).astype(np.float32)
    if picture.alpha is not None:
        opacity = cv2.resize(picture.alpha.astype(np.float32) / picture.white, size, interpolation=cv2.INTER_AREA)
        rows, columns = np.indices((size[1], size[0])) // 8
        ground = np.where((rows + columns) % 2, 200, 240)[..., None]
        rgb = rgb * opacity[..., None] + (ground * (1 - opacity[..., None])).astype(np.float32)
    return Image.fromarray(np.rint(rgb).astype(np.uint8))


def _eight_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)


def draw_sheet(rows: Sequence[SheetRow], path: Path) -> Path:
    """Write a sheet of pictures: before, what was a hole in red, after.

    Args:
        rows: At least one.
        path: The PNG file; folders on the way are made.

    Returns:
        The path.
    """
    cell = max(max(image.size) for row in rows for image in row.cells)
    heights = [max(image.height for image in row.cells) + _LINE + _GAP for row in rows]
    sheet = Image.new("RGB", (3 * cell + 4 * _GAP, sum(heights) + _LINE + 2 * _GAP), "white")
    draw, top = ImageDraw.Draw(sheet), _LINE + 2 * _GAP
    for column, title in enumerate(_TITLES):
        draw.text((_GAP + column * (cell + _GAP), _GAP), title, fill=(0, 0, 0))
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row.cells):
            sheet.paste(image, (_GAP + column * (cell + _GAP), top))
        # Pillow's own font knows ASCII alone: letters without their accents, and other scripts as question marks.
        letters = (letter for letter in unicodedata.normalize("NFKD", row.name) if not unicodedata.combining(letter))
        name = "".join(letters).encode("ascii", "replace").decode()
        draw.text((_GAP, top + height - _LINE - _GAP), name, fill=(0, 0, 0))
        top += height
    with whole_file(path, "wb") as file:
        sheet.save(file, "PNG")
    return path
