"""Labeled sheets of pictures, drawn with Pillow alone."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pcpad.errors import UserValueError
from pcpad.files import whole_file

__all__ = ["QUICK_PNG", "SheetRow", "as_pixels", "cell_size", "draw_sheet", "save_png"]

QUICK_PNG: Mapping[str, int] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""For photographs and maps: a fifth of the time for the same file size, since zlib finds no repetitions in them."""

_GAP = 10
_TEXT, _HEADING = 15, 18  # pixels
_NARROWEST, _WIDEST = 160, 480  # of a picture on the sheet, in pixels
_INK = (0, 0, 0)
# Pillow's own font has only ASCII and draws a box for other characters.
_PLAIN_SIGNS = str.maketrans({"×": "x", "–": "-", "−": "-", "…": "...", "≠": "!=", "½": "1/2", "²": "^2", "“": '"'})


@dataclass(frozen=True)
class SheetRow:
    """One line of pictures.

    Args:
        images: (H, W, 3) uint8, all of one size within the row.
        caption: The text above the row.
        labels: The text below each picture; none, or one per picture.
    """

    images: Sequence[np.ndarray]
    caption: str = ""
    labels: Sequence[str] = ()


def draw_sheet(
    rows: Sequence[SheetRow],
    titles: Sequence[str] = (),
    *,
    heading: str = "",
    legend: Mapping[str, tuple[int, int, int]] | None = None,
    note: str = "",
) -> Image.Image:
    """Arrange pictures in rows and columns, with text around them.

    Every column is as wide as the widest picture, within limits; small pictures are enlarged with nearest-neighbor
    interpolation, so that pixels stay visible, large ones are averaged.

    Args:
        rows: The rows from top to bottom.
        titles: The texts above the columns, wrapped if they are long; none, or one per column.
        heading: The text at the top.
        legend: Colors by their meaning, below the pictures.
        note: The text at the bottom.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: There is no row or no picture.

    Example:
        >>> draw_sheet([SheetRow([np.zeros((16, 32, 3), np.uint8)] * 2)], ["left", "right"]).size[0]
        350
    """
    if not rows or not all(row.images for row in rows):
        message = "A sheet needs at least one row, and each row at least one picture"
        raise UserValueError(message)
    columns = max(len(row.images) for row in rows)
    cell = cell_size(max(row.images[0].shape[1] for row in rows))
    width = columns * cell + (columns + 1) * _GAP
    strips = [_paragraph(heading, width, _HEADING)] if heading else []
    if titles:
        strips.append(_side_by_side([_paragraph(title, cell, _TEXT, margin=0) for title in titles], width))
    for row in rows:
        strips += _row_strips(row, cell, width)
    if legend:
        strips.append(_legend(legend, width))
    if note:
        strips.append(_paragraph(note, width, _TEXT))
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips) + (len(strips) + 1) * _GAP // 2), "white")
    top = _GAP // 2
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _GAP // 2
    return sheet


def cell_size(width: int) -> int:
    """The width at which a picture is drawn.

    Args:
        width: The picture's width, in pixels.

    Returns:
        The width within the limits; small pictures are enlarged by an integer factor.
    """
    if width >= _NARROWEST:
        return min(width, _WIDEST)
    return width * -(-_NARROWEST // width)


def as_pixels(image: np.ndarray, width: int) -> Image.Image:
    """Resize a picture to a width: enlarged by nearest neighbor, or averaged.

    Args:
        image: (H, W, 3) uint8.
        width: The new width, in pixels.

    Returns:
        The picture, with the same aspect ratio.
    """
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    picture = Image.fromarray(image)
    larger = width >= image.shape[1]
    return picture.resize((width, height), Image.Resampling.NEAREST if larger else Image.Resampling.BOX)


def save_png(sheet: Image.Image, path: Path, **options: Any) -> Path:
    """Write a picture atomically, as a PNG, or as a PDF if the path ends with `.pdf`.

    Args:
        sheet: The picture.
        path: The file to write; missing folders are made.
        options: Pillow's options for a PNG: `QUICK_PNG`.

    Returns:
        The path.
    """
    with whole_file(path, "wb") as file:
        if path.suffix.lower() == ".pdf":
            sheet.save(file, format="PDF", resolution=150)
        else:
            sheet.save(file, format="PNG", dpi=(150, 150), **options)
    return path


def _row_strips(row: SheetRow, cell: int, width: int) -> list[Image.Image]:
    strips = [_paragraph(row.caption, width, _TEXT)] if row.caption else []
    strips.append(_side_by_side([as_pixels(image, cell) for image in row.images], width))
    if row.labels:
        strips.append(_side_by_side([_paragraph(label, cell, _TEXT, margin=0) for label in row.labels], width))
    return strips


def _side_by_side(pictures: Sequence[Image.Image], width: int) -> Image.Image:
    strip = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = _GAP
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + _GAP
    return strip


def _paragraph(text: str, width: int, size: int, margin: int = _GAP) -> Image.Image:
    font = ImageFont.load_default(size)
    lines = list(_wrapped(_ascii(text), width - 2 * margin, font))
    strip = Image.new("RGB", (width, round(1.3 * size * len(lines)) + 2), "white")
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((margin, round(1.3 * size * number)), line, _INK, font)
    return strip


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterable[str]:
    """Lines that fit the width; a single word that does not is cut off."""
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                yield line
                longer = word
            line = longer
        yield line


def _legend(legend: Mapping[str, tuple[int, int, int]], width: int) -> Image.Image:
    font, high = ImageFont.load_default(_TEXT), round(1.5 * _TEXT)
    places, left, top = [], _GAP, 0
    for name, color in legend.items():
        name = _ascii(name)
        wide = round(font.getlength(name)) + _TEXT + 3 * _GAP
        if left > _GAP and left + wide > width:
            left, top = _GAP, top + high
        places.append((left, top, name, color))
        left += wide
    strip = Image.new("RGB", (width, top + high), "white")
    draw = ImageDraw.Draw(strip)
    for left, top, name, color in places:
        draw.rectangle((left, top + 2, left + _TEXT, top + 2 + _TEXT), fill=tuple(color), outline=_INK)
        draw.text((left + _TEXT + _GAP // 2, top), name, _INK, font)
    return strip


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_PLAIN_SIGNS))
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).encode("ascii", "replace").decode()
