"""Metadata of a picture's file: EXIF data and resolution, to be copied to another file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Any

from pcpad.georeference import SIZES

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EXIF_MARK", "dpi_of", "exif_of", "with_entries", "with_exif"]

EXIF_MARK = b"Exif\0\0"
_SUB, _GPS = 34665, 34853
# Document and page of a scan, description, make, model, software, date, artist, host computer, rating, copyright, what
# Windows adds. All other tags here say how the file's own pixels are stored.
_TOLD = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095)
_OF_THE_FILE = (40962, 40963, 40965)  # its size in pixels, and a table that points into the file
_RESOLUTION = (282, 283, 296)
_INCH = 2
_MOST = 1 << 20  # bytes


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF data of a picture that Pillow has opened, to be written to another file.

    Args:
        image: The picture.

    Returns:
        Starting with the byte order, as in PNG and TIFF: without orientation, thumbnail and what describes the file's
        own pixels; None where nothing is left, or it cannot be read.
    """
    from PIL import Image

    try:
        found, kept = image.getexif(), Image.Exif()
        for tag in _TOLD:
            if tag in found:
                kept[tag] = found[tag]
        for tag in (_SUB, _GPS):
            inner = {key: value for key, value in found.get_ifd(tag).items() if key not in _OF_THE_FILE}
            if inner:
                kept.get_ifd(tag).update(inner)
        if not len(kept) and not any(kept.get_ifd(tag) for tag in (_SUB, _GPS)):
            return None
        data = kept.tobytes().removeprefix(EXIF_MARK)
    except Warning:
        raise  # the user's `-W error`
    except Exception:  # its parsing runs into SyntaxError, struct.error, KeyError and more
        return None
    return data if len(data) <= _MOST else None


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """The resolution of a picture that Pillow has opened, in pixels per inch; None where there is none of use."""
    with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
        across, down = (float(value) for value in image.info["dpi"])
        if all(isfinite(value) and 1 < value < 1e6 for value in (across, down)):
            return across, down
    return None


def with_entries(data: bytes, added: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Add tags to a little-endian TIFF of one picture; those that it has stay as they are.

    Args:
        data: The file.
        added: Per tag its number, its type's number, and the bytes of its values.

    Returns:
        The file with these.
    """
    entries: dict[int, bytes] = {}
    for tag, kind, values in added:
        count = len(values) // SIZES[kind]
        if len(values) <= 4:
            entries[tag] = struct.pack("<HHI", tag, kind, count) + values.ljust(4, b"\0")
        else:
            data += b"\0" * (len(data) % 2)
            entries[tag] = struct.pack("<HHII", tag, kind, count, len(data))
            data += values
    return _with_table(data, entries)


def with_exif(data: bytes, exif: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """Add EXIF data and a resolution to a little-endian TIFF of one picture.

    Pillow cannot where libtiff compresses; OpenCV knows neither.

    Args:
        data: The file.
        exif: As `exif_of` gives it.
        dpi: As `dpi_of` gives it.

    Returns:
        The file with these.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    if exif:
        found = Image.Exif()
        found.load(EXIF_MARK + exif)
        for tag in found:
            directory[tag] = found.get_ifd(tag) if tag in (_SUB, _GPS) else found[tag]
    if dpi:
        for tag, value in zip(_RESOLUTION, (*dpi, _INCH), strict=True):
            directory[tag] = value
    if not len(directory):
        return data
    data += b"\0" * (len(data) % 2)
    # A directory of its own after the picture, whose entries, which say where their values are, then join the others.
    table = directory.tobytes(len(data))
    return _with_table(data + table, _entries(table, 0), outranking=_RESOLUTION)


def _entries(data: bytes, start: int) -> dict[int, bytes]:
    (count,) = struct.unpack_from("<H", data, start)
    found = (data[start + 2 + 12 * number :][:12] for number in range(count))
    return {struct.unpack_from("<H", entry)[0]: entry for entry in found}


def _with_table(data: bytes, added: Mapping[int, bytes], outranking: Sequence[int] = ()) -> bytes:
    """Give a TIFF a new table of tags: its own, and the added ones that it lacks."""
    if not added:
        return data
    (start,) = struct.unpack_from("<I", data, 4)
    own: dict[int, Any] = _entries(data, start)
    entries = {**added, **{tag: entry for tag, entry in own.items() if tag not in outranking or tag not in added}}
    data += b"\0" * (len(data) % 2)
    table = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table
