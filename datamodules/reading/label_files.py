"""Read label maps of any image format: one value or one color per pixel, exactly as stored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pcpad.datamodules.reading.images import BrokenImageError
from pcpad.errors import UserValueError
from pcpad.files import read_bytes
from pcpad.pictures import decode, open_header, orientation_of, refuse_cut_off, refuse_rot, turned, why_unreadable

__all__ = ["LabelFile", "read_label_file"]

_SCALE = {2: 85, 4: 17}  # Pillow's factor for gray values of 2 and 4 bits


class LabelFile(NamedTuple):
    """The content of a label map, as stored.

    Attributes:
        path: The file.
        values: `(H, W)` integers: gray values or palette indices; None for a file of colors.
        colors: `(H, W, 3)` uint8 RGB, gray repeated; None for more than 8 bits.
        kind: What a pixel is, in words.
        orientation: Its EXIF orientation.
        lossy: Whether its format changes values.
        transparent: How many pixels are not opaque, in a file with alpha.
    """

    path: Path
    values: np.ndarray | None
    colors: np.ndarray | None
    kind: str
    orientation: int
    lossy: bool
    transparent: int

    def upright_with(self, orientation: int, size: tuple[int, int], found: np.ndarray) -> np.ndarray:
        """Apply its image's orientation to an array made from this map, if the map was drawn on the pixels as stored.

        Args:
            orientation: The orientation that was applied to the image.
            size: The image's height and width, upright.
            found: `(H, W)`, made from the map's pixels as stored.

        Returns:
            A view of the array.
        """
        stored = size[::-1] if orientation >= 5 else size
        if self.orientation == 1 and orientation != 1 and found.shape == stored:
            return turned(found, orientation)
        return turned(found, self.orientation)


def read_label_file(path: str | Path) -> LabelFile:
    """Read a label map without changing any value: palette indices are kept, and few-bit gray is not stretched.

    Args:
        path: PNG, TIFF, BMP, GIF or another format that Pillow reads.

    Returns:
        Its content.

    Raises:
        BrokenImageError: The file is missing, damaged, not an image, or larger than `pictures.MOST_PIXELS`.
    """
    path = Path(path)
    try:
        data = read_bytes(path)
        with open_header(data, path.name) as image:
            refuse_cut_off(data, image.format)
            refuse_rot(data, image.format)
            orientation = 1 if image.format == "TIFF" else orientation_of(image)
            decode(image)
            values, colors, kind, transparent = _values(image, data)
            lossy = image.format in ("JPEG", "MPO")
    except Warning:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds
        message = f"{path}: {why_unreadable(error, 'a label map')}"
        raise BrokenImageError(message) from error
    return LabelFile(path, values, colors, kind, orientation, lossy, transparent)


def _values(image: Image.Image, data: bytes) -> tuple[np.ndarray | None, np.ndarray | None, str, int]:
    mode = image.mode
    if mode == "P":
        palette = np.zeros((256, 3), np.uint8)
        given = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
        palette[: len(given)] = given
        values = np.array(image)
        return values, palette[values], "one index of a palette", 0
    if mode in ("1", "L", "LA"):
        values = np.array(image)
        transparent = int((values[..., 1] < 255).sum()) if mode == "LA" else 0
        values = values[..., 0] if mode == "LA" else values.astype(np.uint8)
        bits = data[24] if image.format == "PNG" else 8
        shown = values * 255 if mode == "1" else values
        values = values // _SCALE[bits] if bits in _SCALE and mode == "L" else values
        return values, np.broadcast_to(shown[..., None], (*shown.shape, 3)), "one gray value", transparent
    if mode.startswith("I"):
        return np.asarray(image).astype(np.int64), None, "one gray value of more than 8 bits", 0
    if mode in ("RGB", "RGBA"):
        pixels = np.array(image)
        transparent = int((pixels[..., 3] < 255).sum()) if mode == "RGBA" else 0
        colors = np.ascontiguousarray(pixels[..., :3])
        red = colors[..., 0]
        # Gray values that were saved as RGB.
        gray = bool((red == colors[..., 1]).all() and (red == colors[..., 2]).all())
        return (red if gray else None), colors, f"an {mode} color" if mode == "RGB" else "an RGBA color", transparent
    message = f"pixels of Pillow's mode {mode!r} are neither class ids nor colors: save it as a PNG of 8 bits"
    raise UserValueError(message)
