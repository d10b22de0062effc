"""TIFF files of 16 bits per channel: which are read, and how; OpenCV and Pillow know only some of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decode_by_opencv", "decode_deep_tiff", "in_planes", "is_inverted", "kind_not_read", "refuse_other_values"]

_BITS, _COMPRESSION, _PHOTOMETRIC, _CHANNELS, _PLANAR, _EXTRA, _VALUES = 258, 259, 262, 277, 284, 338, 339
_LONG, _SHORT = 4, 3  # types of values in TIFF, and the tags that a picture of one plane has
_SHORTS = (_COMPRESSION, 266, 274, 317)
_LONGS = (256, 257, 278, 322, 323)
_PARTS = (273, 279, 324, 325)  # where strips and tiles are, and their bytes: a plane's after those of the plane before
_COLORS = {0: "gray with 0 for white", 1: "gray", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr"}
_COLORS |= dict.fromkeys((8, 9, 10), "Lab")
_TYPES = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}
_REMEDY = "convert the file to gray or RGB of 8 or 16 bits per channel"


def kind_not_read(tags: Mapping[int, Any]) -> str:
    """Say of a TIFF that no decoder here knows what kind it is, and what to do.

    Args:
        tags: Its tags, as Pillow reads them.

    Returns:
        `a TIFF of a kind that is not read (…): convert …`.
    """
    bits, kinds = (_first(tags.get(tag, 1)) for tag in (_BITS, _VALUES))
    channels = _first(tags.get(_CHANNELS, 1))
    color = _COLORS.get(_first(tags.get(_PHOTOMETRIC, 1)), "unknown colors")
    many = f"{channels} channels" if channels != 1 else "1 channel"
    kind = _TYPES.get(kinds, "unknown values")
    return f"a TIFF of a kind that is not read ({color}, {many} of {bits}-bit {kind}): {_REMEDY}"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def refuse_other_values(image: Image.Image) -> None:
    """Refuse a TIFF of more than 8 bits whose pixels are no gray or RGB of unsigned integers of up to 16 bits.

    Raises:
        ValueError: It is one; the message says what it is.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if (
        _first(tags.get(_PHOTOMETRIC, 1)) not in (0, 1, 2)
        or _first(tags.get(_VALUES, 1)) != 1
        or max(tags.get(_BITS, (1,))) > 16
    ):
        raise UserValueError(kind_not_read(tags))


def is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white in a TIFF (MinIsWhite), which neither Pillow nor OpenCV heeds in 16 bits."""
    return image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC, 1) == 0  # type: ignore[attr-defined]


def in_planes(image: Image.Image) -> bool:
    """Whether a TIFF stores its channels one after the other; of 16 bits, such pixels are decoded wrongly elsewhere."""
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    planar: bool = tags.get(_PLANAR, 1) == 2 and tags.get(_CHANNELS, 1) > 1
    return planar


def decode_deep_tiff(data: bytes, image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a TIFF of 16 bits per channel.

    Args:
        data: The file.
        image: As Pillow has opened it.

    Returns:
        (H, W, C) uint16, upright: gray or RGB, 0 is black, alpha last and not multiplied into the colors; and in
        words, what is not as in the file.

    Raises:
        ValueError: It is damaged, or of a kind that is not read.
    """
    refuse_other_values(image)
    tags = image.tag_v2  # type: ignore[attr-defined]
    if in_planes(image):
        pixels = np.dstack([decode_by_opencv(plane) for plane in _planes(data, tags)])
    else:
        pixels = decode_by_opencv(data)
    if is_inverted(image):
        np.subtract(65535, pixels, out=pixels)
    if _first(tags.get(_EXTRA, 0)) == 1 and pixels.shape[2] == 4:
        return _divided(pixels), ("its colors, which are multiplied by alpha, are divided by it",)
    return pixels, ()


def decode_by_opencv(data: bytes | bytearray) -> np.ndarray:
    """Decode a picture of 16 bits per channel: (H, W, C) uint16, gray or RGB, alpha last.

    Raises:
        ValueError: OpenCV cannot, or finds other values.
    """
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        what = "damaged, or of a kind" if pixels is None else f"{pixels.dtype} pixels"
        message = f"{what} that cannot be read as 16 bits per channel"
        raise UserValueError(message)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] >= 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=pixels)
    return pixels


def _divided(pixels: np.ndarray) -> np.ndarray:
    """Colors that were multiplied by alpha as they were before, row by row, in place."""
    for row in pixels:
        alpha = row[:, 3:].astype(np.uint32)
        row[:, :3] = np.minimum((row[:, :3] * np.uint32(65535) + alpha // 2) // np.maximum(alpha, 1), 65535)
    return pixels


def _planes(data: bytes, tags: Mapping[int, Any]) -> Iterator[bytearray]:
    """Each channel as a gray TIFF of its own: the file with another table of tags, which names the channel's strips."""
    channels = tags[_CHANNELS]
    parts = {tag: tuple(tags[tag]) for tag in _PARTS if tag in tags}
    if any(len(values) % channels for values in parts.values()):
        message = f"damaged: its strips are not as many for each of its {channels} channels"
        raise UserValueError(message)
    order = "<" if data[:2] == b"II" else ">"
    large = struct.unpack_from(f"{order}H", data, 2) == (43,)
    file = bytearray(data)
    for channel in range(channels):
        del file[len(data) :]
        plane: dict[int, tuple[int, ...]] = {_BITS: (16,), _PHOTOMETRIC: (1,), _CHANNELS: (1,), _PLANAR: (1,)}
        plane |= {tag: (_first(tags[tag]),) for tag in (*_SHORTS, *_LONGS) if tag in tags and tag not in plane}
        for tag, values in parts.items():
            number = len(values) // channels
            plane[tag] = values[channel * number : (channel + 1) * number]
        _append_table(file, plane, order, large)
        yield file


def _append_table(file: bytearray, tags: Mapping[int, Sequence[int]], order: str, large: bool) -> None:
    """Append a table of tags to a TIFF, and let its header point there."""
    count, number, inline = ("Q", "Q", 8) if large else ("H", "I", 4)  # BigTIFF, TIFF
    entries = b""
    for tag, values in sorted(tags.items()):
        kind, letter = (_LONG, "I") if tag in (*_LONGS, *_PARTS) else (_SHORT, "H")
        if large and tag in _PARTS:
            kind, letter = 16, "Q"
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > inline:
            file += bytes(len(file) % 2)
            at = struct.pack(f"{order}{number}", len(file))
            file += packed
            packed = at
        entries += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + packed.ljust(inline, b"\0")
    file += bytes(len(file) % 2)
    struct.pack_into(f"{order}{number}", file, inline, len(file))  # at byte 4 of a TIFF, at 8 of a BigTIFF
    file += struct.pack(f"{order}{count}", len(tags)) + entries + bytes(inline)
