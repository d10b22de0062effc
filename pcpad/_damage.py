"""Find what decoders accept: truncated pictures, headers that claim too much, channels of unknown meaning."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcpad.errors import UserValueError
from pcpad.files import opened, read_bytes

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "refuse_cut_off",
    "refuse_cut_scan",
    "refuse_large_tiles",
    "refuse_little_data",
    "refuse_unknown_channels",
    "unlimited_pillow",
]

_END = 1 << 16  # bytes read from a file's end or start, where the rest is not in memory
_PHOTOMETRIC, _CHANNELS, _EXTRA = 262, 277, 338  # of TIFF
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # likewise
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what can follow the data of a scan
_limit = threading.Lock()


@contextmanager
def unlimited_pillow() -> Iterator[Any]:
    """Pillow's `Image` without its process-wide size limit; `MOST_PIXELS` applies instead."""
    from PIL import Image

    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield Image
        finally:
            Image.MAX_IMAGE_PIXELS = before


def refuse_cut_off(source: Path | bytes, format: str | None) -> None:
    """Refuse truncated files, which decoders would fill up with gray or zeros without an error.

    Args:
        source: A file, or its content.
        format: Pillow's name of its format.

    Raises:
        ValueError: The file's end shows that the rest is missing.
    """
    if format not in ("JPEG", "MPO", "PNG"):
        return
    if isinstance(source, bytes):
        end = source
    else:
        with opened(source) as file:
            file.seek(max(0, source.stat().st_size - _END))
            end = file.read()
    kept = end.rstrip(b"\0")
    if format == "PNG":
        if end.rfind(b"IEND") < 0:
            message = "truncated: the file has no end mark"
            raise UserValueError(message)
    elif len(end) - len(kept) >= 16 and not kept.endswith(b"\xff\xd9"):
        message = "truncated: the file ends in zeros"
        raise UserValueError(message)


def refuse_unknown_channels(image: Image.Image) -> None:
    """Refuse a TIFF with more channels than its colors and one declared alpha."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    colors = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}.get(tags.get(_PHOTOMETRIC, 1), 1)
    channels, extra = tags.get(_CHANNELS, 1), tags.get(_EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    if channels > colors + (len(extra) == 1 and extra[0] in (1, 2)):
        message = (
            f"it has {channels} channels, of which {colors} are colors and the others are not marked as alpha: "
            "save the channels to use as a separate picture"
        )
        raise UserValueError(message)


def refuse_large_tiles(image: Image.Image, most: int) -> None:
    """Refuse a TIFF whose tiles or strips are larger than any picture may be: libtiff allocates a whole one."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    if isinstance(width, int) and isinstance(height, int) and width * height > most:
        message = f"the header claims tiles of {width}x{height} pixels, more than the {most} that are allowed"
        raise UserValueError(message)


def refuse_little_data(image: Image.Image, size: int) -> None:
    """Refuse a JPEG whose file is too small for what its header claims, before memory is allocated."""
    # At least one bit for each block of 8 x 8 pixels; arithmetic coding, which few decoders know, takes less.
    if size < image.width * image.height // 512 and b"\xff\xc9" not in _first_bytes(image):
        message = f"truncated: {size} bytes cannot hold the {image.width}x{image.height} pixels that the header claims"
        raise UserValueError(message)


def _first_bytes(image: Image.Image) -> bytes:
    file: Any = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    start: bytes = file.read(_END)
    file.seek(place)
    return start


def refuse_cut_scan(source: Path | bytes, image: Image.Image, corner: Iterable[int]) -> None:
    """Refuse a JPEG that was cut short and given an end mark: decoders fill up the rest without an error.

    Args:
        source: The file, or its content.
        image: As `open_header` yields it.
        corner: The values of the decoded picture's last pixel. It is gray where data are missing, unless the picture is
            progressive; only gray ones and progressive pictures are decoded twice more to find out.

    Raises:
        ValueError: Its last scan ends before its pixels do.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    gray = all(abs(int(value) - 128) <= 1 for value in corner)
    if not gray and not image.info.get("progressive"):
        return
    data = source if isinstance(source, bytes) else read_bytes(source)
    end = _end_of_first(data)
    # Bytes between the last pixel and the end mark are skipped; where pixels are missing, they are decoded as pixels.
    noise = np.random.default_rng(0).integers(0, 255, 4096, dtype=np.uint8).tobytes()
    if end and _pixels_of(data[:end] + b"\xff\xd9") != _pixels_of(data[:end] + noise + b"\xff\xd9"):
        message = "truncated: its pixel data end before the last pixel, although there is an end mark"
        raise UserValueError(message)


def _end_of_first(data: bytes) -> int:
    """The position of the end mark of the first picture in a JPEG file; 0 if there is none."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return 0
        kind = data[at + 1]
        if kind == 0xD9:
            return at
        if kind == 0xFF or 0xD0 <= kind <= 0xD8 or kind == 1:
            at += 1 if kind == 0xFF else 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            found = _MARKER.search(data, at)
            if found is None:
                return 0
            at = found.start()
    return at if data[at : at + 2] == b"\xff\xd9" else 0


def _pixels_of(data: bytes) -> bytes:
    with unlimited_pillow() as pillow:
        image = pillow.open(io.BytesIO(data), formats=("JPEG",))
    with image:
        pixels: bytes = image.tobytes()
        return pixels
