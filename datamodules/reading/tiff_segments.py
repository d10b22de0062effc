"""Strips and tiles of TIFF files: check the decompressed size of each before memory is allocated for it.

A TIFF file's header is compared with the file's size before (`pcpad.pictures.refuse_too_large`). But the size of a
decompressed strip depends on its compressed bytes, and decoders allocate all of it before they check the size.
"""

from __future__ import annotations

import io
import lzma
import sys
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries

__all__ = ["refuse_swelling"]

# Bytes that a segment may decompress to, whatever the header states. Segments that cannot exceed it at the largest
# compression ratio are not checked, as a check costs as much as decompressing again.
_FREE = 1 << 26
_STEP = 1 << 20
_DICTIONARY = 1 << 28  # of LZMA, in bytes


def refuse_swelling(series: TiffPageSeries) -> None:
    """Refuse an image with a strip or tile that decompresses to more bytes than its header states.

    Args:
        series: From `tifffile`, not decoded. The compressed bytes are read and, if they could become far more than they
            should, decompressed piece by piece up to the expected size.

    Raises:
        UserValueError: One does, or its compression does not reveal it in advance.
    """
    for page in series.pages:
        if page is None:
            continue
        key = page.keyframe
        if key is None or key.compression == 1 or not len(page.dataoffsets):
            continue
        compression = int(key.compression)
        allowed = max(_FREE, min(_segment_bytes(key), _image_bytes(key)))
        most, size_of = _KINDS.get(compression, (None, _size_of_picture))
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if most is not None and count * most <= allowed:
                continue
            file = key.parent.filehandle
            file.seek(offset)
            if size_of(file.read(count), allowed) > allowed:
                message = (
                    f"damaged: {count} compressed bytes become more than {allowed}, but the header states "
                    f"{_segment_bytes(key)}"
                )
                raise UserValueError(message)


def _segment_bytes(key: TiffPage) -> int:
    samples = key.samplesperpixel if key.planarconfig == 1 else 1
    rows, columns = (
        (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, key.imagelength), key.imagewidth)
    )
    return int(rows) * int(columns) * samples * max(1, key.tiledepth if key.is_tiled else 1) * _item_bytes(key)


def _image_bytes(key: TiffPage) -> int:
    """Twice the bytes of the image, as its last tiles may exceed it, usually by less than its width."""
    pixels = int(key.imagewidth) * int(key.imagelength) * max(1, int(key.imagedepth))
    return 2 * pixels * key.samplesperpixel * _item_bytes(key)


def _item_bytes(key: TiffPage) -> int:
    return 1 if key.dtype is None else int(key.dtype.itemsize)


def _of_deflate(data: bytes, allowed: int) -> int:
    """The decompressed size of data in bytes, or some number above the allowed one."""
    stream, total = zlib.decompressobj(), 0
    while data and not stream.eof and total <= allowed:
        total += len(stream.decompress(data, _STEP))
        data = stream.unconsumed_tail
    return total


def _of_lzma(data: bytes, allowed: int) -> int:
    return _inflated(lzma.LZMADecompressor(memlimit=_DICTIONARY), data, allowed)


def _inflated(stream: Any, data: bytes, allowed: int) -> int:
    """The decompressed size, by a decompressor that keeps unused input, such as lzma's and zstd's."""
    total = 0
    while not stream.eof and total <= allowed:
        found = len(stream.decompress(data, _STEP))
        data, total = b"", total + found
        if not found and stream.needs_input:
            break
    return total


def _of_packbits(data: bytes, allowed: int) -> int:
    at = total = 0
    while at < len(data) and total <= allowed:
        control = data[at]
        if control < 128:
            at, total = at + control + 2, total + control + 1
        else:
            at, total = at + 2, total + (257 - control if control > 128 else 0)
            at -= control == 128
    return total


def _of_zstd(data: bytes, allowed: int) -> int:
    if find_spec("imagecodecs") is None:
        return _of_zstd_by_python(data, allowed)
    import imagecodecs

    try:
        return len(imagecodecs.zstd_decode(data, out=allowed))
    except imagecodecs.ZstdError as error:
        if "too small" in str(error):
            return allowed + 1
        raise


def _of_zstd_by_python(data: bytes, allowed: int) -> int:
    if sys.version_info < (3, 14):
        return 0  # nothing installed can read it, which tifffile reports
    from compression.zstd import ZstdDecompressor

    return _inflated(ZstdDecompressor(), data, allowed)


def _of_lzw(data: bytes, allowed: int) -> int:
    if find_spec("imagecodecs") is None:
        return 0  # likewise
    import imagecodecs

    return len(imagecodecs.lzw_decode(data, out=allowed + 1))


def _size_of_picture(data: bytes, allowed: int) -> int:
    """The size of an embedded image such as a JPEG: four bytes per pixel, according to its own header."""
    from PIL import Image

    from pcpad._damage import unlimited_pillow

    try:
        with unlimited_pillow() as pillow, pillow.open(io.BytesIO(data)) as picture:
            return int(picture.width) * int(picture.height) * 4
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        message = "its compression does not state the size of its parts: save it again, uncompressed or with deflate"
        raise UserValueError(message) from error


# The most bytes that one byte can become, by the compression's number in TIFF files.
_DEFLATE, _LZW, _PACKBITS = (1032, _of_deflate), (2560, _of_lzw), (64, _of_packbits)
_XZ, _ZSTD = (None, _of_lzma), (None, _of_zstd)
_KINDS: dict[int, tuple[int | None, Callable[[bytes, int], int]]] = {
    **dict.fromkeys((8, 32946, 50013), _DEFLATE),
    **dict.fromkeys((50000, 34926), _ZSTD),
    5: _LZW,
    32773: _PACKBITS,
    34925: _XZ,
}
