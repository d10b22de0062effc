"""How much memory a file from elsewhere may take: one budget, checked against headers before anything is decoded.

A header of a few bytes can claim any number of pixels, and decoders allocate memory by that claim: 3 bytes per pixel as
8-bit RGB, two to three times that while decoding. So the number of pixels that a header claims is limited:

- up to 2**26 pixels (67 megapixels, 0.2 GB as RGB) are allowed for any file;
- up to 2**28 (0.8 GB) if the file is large enough to hold them as deflate, the densest of compressions, would;
- up to 2**30, OpenCV's limit, which panoramas and scans come near, if the file is large enough to hold one byte per
  pixel as deflate would: masks are, and photographs by far; only drawings in black and white may not be.

For larger or emptier files, set the environment variable `PCPAD_MOST_PIXELS`, which data loaders' processes inherit:
then up to that many pixels, and no more, are allowed under the rule for 2**28. A video's frame may have a sixteenth of
the limit, as decoders keep several.
"""

from __future__ import annotations

import os
import re

from pcpad.errors import UserValueError

__all__ = ["OPTION", "most_pixels", "refuse_empty_claim"]

OPTION = "PCPAD_MOST_PIXELS"
_MOST = 1 << 30
_BELIEVED = 1 << 28
_ANY = 1 << 26
# Deflate, which PNG and TIFF use, expands one byte to 1032 at most, and a byte is 8 pixels in black and white.
_PIXELS_OF_A_BYTE = 1032 * 8
_GRAY_PIXELS_OF_A_BYTE = 1032


def most_pixels() -> int:
    """The budget, from the environment or by default.

    Raises:
        UserValueError: The environment variable is not a positive whole number.
    """
    return _given() or _MOST


def _given() -> int | None:
    given = os.environ.get(OPTION, "").strip()
    if not given:
        return None
    number = re.sub(r"(?<=\d)[_,](?=\d)", "", given)
    if not re.fullmatch("[0-9]{1,18}", number) or int(number) < 1:
        message = (
            f"Expected the environment variable {OPTION} to be a number of pixels such as {_MOST}, but got {given!r}"
        )
        raise UserValueError(message)
    return int(number)


def refuse_empty_claim(width: int, height: int, size: int, believed: int = 0) -> None:
    """Refuse a header that claims far more pixels than any compression could fit into the file.

    Args:
        width: What it claims.
        height: What it claims.
        size: The file's bytes.
        believed: This many pixels are allowed for any file: for a mask those of its picture, as masks are black and
            white.

    Raises:
        UserValueError: It does.
    """
    pixels = width * height
    if pixels <= believed:
        return
    if pixels > max(_ANY, size * _PIXELS_OF_A_BYTE):
        message = f"damaged or not a picture: {size} bytes cannot hold the {width}x{height} pixels the header claims"
        raise UserValueError(message)
    if pixels > max(_given() or _BELIEVED, size * _GRAY_PIXELS_OF_A_BYTE):
        message = (
            f"its {size} bytes are few for the {width}x{height} pixels that the header claims, which would take "
            f"{pixels * 6 >> 30} GiB and more: if the file is what it should be, set the environment variable {OPTION} "
            f"to {pixels}"
        )
        raise UserValueError(message)
