"""Georeferences: the tags of GeoTIFF files, which are copied to what is made from the picture."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image, TiffImagePlugin

__all__ = ["SIZES", "TIFF_ENDINGS", "Georeference", "georeference_of", "read_georeference"]

TIFF_ENDINGS = (".tif", ".tiff")
"""File name endings of pictures whose label maps are written as TIFF, with their georeference."""

_NO_DATA = 42113
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory with its numbers and texts, GDAL's metadata.
_PLACE = (33550, 33922, 34264, 34735)
# The type of each by its standard, which is the one that every TIFF writer supports.
_KINDS = {33550: 12, 33922: 12, 34264: 12, 34735: 3, 34736: 12, 34737: 2, 42112: 2, _NO_DATA: 2}
_ORIENTATION = 274
_LETTERS = {3: "H", 12: "d"}
_MOST = 1 << 20  # bytes in a tag: a georeference takes a few hundred
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
"""How many bytes a value takes, by the number of its type in TIFF."""


@dataclass(frozen=True)
class Georeference:
    """Tags of a GeoTIFF.

    Args:
        tags: By number: the type's number in TIFF, and the values.
    """

    tags: Mapping[int, tuple[int, Any]]

    def of_classes(self, num_classes: int) -> Georeference:
        """The tags for a map of classes: without a "no data" value that is the number of a class.

        Args:
            num_classes: How many there are.

        Returns:
            All tags but that one, which would hide class 0 of most maps.
        """
        _, value = self.tags.get(_NO_DATA, (2, ""))
        try:
            number = float(str(value).strip("\0 "))
        except ValueError:
            return self
        if not 0 <= number < num_classes:
            return self
        return replace(self, tags={tag: entry for tag, entry in self.tags.items() if tag != _NO_DATA})

    def written(self) -> TiffImagePlugin.ImageFileDirectory_v2:
        """The tags as Pillow's `save(tiffinfo=…)` takes them."""
        from PIL.TiffImagePlugin import ImageFileDirectory_v2

        directory = ImageFileDirectory_v2()
        for tag, (kind, value) in self.tags.items():
            directory.tagtype[tag] = kind
            directory[tag] = value
        return directory

    def entries(self) -> list[tuple[int, int, bytes]]:
        """The tags, each with its type and its values' bytes, little-endian."""
        found = []
        for tag, (kind, value) in self.tags.items():
            if kind in _LETTERS:
                values = value if isinstance(value, tuple) else (value,)
                found.append((tag, kind, struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)))
            else:
                found.append((tag, kind, str(value).encode("ascii", "replace") + b"\0"))
        return found


def georeference_of(image: Image.Image) -> tuple[Georeference | None, str | None]:
    """The georeference of an opened picture.

    Args:
        image: As Pillow opened it.

    Returns:
        The georeference, None where there is none; and a note that says what keeps it from being copied.
    """
    directory = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or directory is None or not any(tag in directory for tag in _PLACE):
        return None, None
    if directory.get(_ORIENTATION, 1) != 1:
        # Turning the picture upright swaps rows and columns, and the tags refer to those as stored.
        return None, "its georeference is left out, since it is that of the picture before it was turned upright"
    tags, odd = {}, []
    for tag, kind in _KINDS.items():
        if tag not in directory:
            continue
        # Checked before its values are read: a file from elsewhere may hold anything.
        fits = directory.tagtype.get(tag) == kind and len(directory._tagdata.get(tag, b"")) <= _MOST
        value = _value_of(directory, tag) if fits else None
        if value is None:
            odd.append(tag)
        else:
            tags[tag] = (kind, value)
    note = f"its tags {', '.join(map(str, odd))} are left out: too large, or of another type than GeoTIFF's"
    return Georeference(tags), note if odd else None


def _value_of(directory: Any, tag: int) -> Any:
    try:
        return directory[tag]
    except Warning:
        raise  # the user's `-W error`
    except Exception:  # whatever Pillow's parsing runs into
        return None


def read_georeference(path: str | Path, size: tuple[int, int]) -> tuple[Georeference | None, str | None]:
    """The georeference of a file, by its header alone.

    Args:
        path: Of any picture.
        size: Height and width of the result that it is copied to.

    Returns:
        As `georeference_of`; nothing for a file that cannot be read, which is reported when its pixels are read.
    """
    from pcpad._formats import opened_by_pillow

    if not str(path).lower().endswith(TIFF_ENDINGS):
        return None, None
    try:
        with opened_by_pillow(Path(path)) as image:
            found, note = georeference_of(image)
            if found is not None and size != (image.height, image.width):
                return None, "its georeference is left out, as the result has another size"
            return found, note
    except Warning:
        raise  # the user's `-W error`
    except Exception:  # whatever Pillow's parsing runs into
        return None, None
