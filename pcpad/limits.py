"""How much memory a file from elsewhere may ask for: one budget, held against headers before anything is decoded.

A header of a few bytes can claim any number of pixels, and decoders take memory by what it claims. So a picture, a mask
or a video frame of more pixels than the budget is refused by its header; one of many pixels also where its file is too
small to hold anything of that size.

The budget is 2**28 pixels, 16 384 x 16 384: more than Pillow's own limit of 179 megapixels, which scans and panoramas
exceed. Such a picture takes 0.8 GB as 8-bit RGB, and about 2.5 GB while it is decoded. Who has larger ones sets the
environment variable `PCPAD_MOST_PIXELS`, which data loaders' processes inherit; OpenCV, which reads 16-bit colors,
takes up to 2**30. A video's frame may have a quarter of the budget, as decoders keep several at a time.
"""

from __future__ import annotations

import os
import re

from pcpad.errors import UserValueError

__all__ = ["OPTION", "most_pixels", "refuse_empty_claim"]

OPTION = "PCPAD_MOST_PIXELS"
_DEFAULT = 1 << 28
_ANY = 1 << 26  # 67 megapixels, 0.2 GB as RGB: what any file may claim
# Deflate, which PNG and TIFF use, makes 1032 bytes of one at most, and a byte is 8 pixels in black and white.
_MOST_OF_A_BYTE = 1032 * 8


def most_pixels() -> int:
    """The budget, of the environment or by default.

    Raises:
        UserValueError: The environment variable is no positive whole number.
    """
    given = os.environ.get(OPTION, "").strip()
    if not given:
        return _DEFAULT
    number = re.sub(r"(?<=\d)[_,](?=\d)", "", given)
    if not number.isdecimal() or int(number) < 1:
        message = (
            f"Expected the environment variable {OPTION} to be a number of pixels such as {_DEFAULT}, but got {given!r}"
        )
        raise UserValueError(message)
    return int(number)


def refuse_empty_claim(width: int, height: int, size: int) -> None:
    """Refuse a header that claims far more pixels than anybody's compression makes of the file.

    Args:
        width: What it claims.
        height: What it claims.
        size: The file's bytes.

    Raises:
        UserValueError: It does.
    """
    if width * height > max(_ANY, size * _MOST_OF_A_BYTE):
        message = f"damaged or no picture: {size} bytes cannot hold the {width}x{height} pixels that the header claims"
        raise UserValueError(message)
