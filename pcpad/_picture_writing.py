"""Pictures as files: PNG, TIFF and JPEG of 8 and 16 bits per channel, with all that they can keep."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pcpad._picture import Picture, PictureError, PictureFormat, why_unreadable
from pcpad._picture_metadata import for_jpeg, for_png, for_tiff
from pcpad._picture_tags import EXIF_MARK, with_entries, with_exif
from pcpad.files import whole_file

if TYPE_CHECKING:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

__all__ = ["write_picture"]

_BAND = 64  # rows written at once
_EXTRA, _PROFILE = 338, 34675  # of TIFF: what the channels besides colors are; the color profile
_LARGE = 1 << 22  # pixels
# Of a photograph of 12 megapixels, half of the usual time and the usual size: zlib finds no repetitions in noise.
_QUICK = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_MOST_EXIF = 65533 - len(EXIF_MARK)  # bytes, of JPEG


def write_picture(path: str | Path, picture: Picture, format: PictureFormat = "png") -> tuple[str, ...]:
    """Write a picture; the file appears under its name once it is complete.

    PNG and TIFF keep depth, alpha, color profile, EXIF data and resolution. JPEG has 8 bits and no alpha. TIFF and
    JPEG keep inks (CMYK), of which PNG has the plain formula's RGB. Only TIFF keeps a georeference. All keep XMP data;
    TIFF and JPEG keep IPTC data, PNG texts and gamma, JPEG a comment.

    Args:
        path: Where to; its folder must exist.
        picture: What to write.
        format: The format, whatever the file's name.

    Returns:
        What the format could not keep, in words.

    Raises:
        PictureError: It cannot be written; an existing file is left as it was.
    """
    path = Path(path)
    try:
        with whole_file(path, "wb", make_folders=False) as file:
            return _encode(file, picture, format)
    except (OSError, ValueError, struct.error) as error:
        message = f"{path}: cannot be written: {why_unreadable(error)}"
        raise PictureError(message) from error


def _encode(file: IO[bytes], picture: Picture, format: PictureFormat) -> tuple[str, ...]:
    if format == "tiff":
        entries, lost = for_tiff(picture.metadata, bool(picture.profile))
        file.write(with_entries(_tiff(picture), entries))
        return tuple(lost)
    lost = ["its georeference"] if picture.place is not None else []
    if format == "jpg":
        return (*_write_jpeg(file, picture), *lost)
    profile, color = picture.profile, picture.color
    if picture.is_ink:
        profile, color = None, picture.rgb()
        lost.append("its inks (CMYK), which become RGB")
    pixels = color if picture.alpha is None else np.dstack([color, picture.alpha])
    chunks, homeless = for_png(picture.metadata)
    lost += homeless
    if pixels.dtype == np.uint16:
        _write_deep_png(file, pixels, picture, chunks)
        return tuple(lost)
    options = _options(picture, profile)
    if pixels.shape[0] * pixels.shape[1] > _LARGE:
        options |= _QUICK
    _as_pillow(pixels).save(file, "PNG", pnginfo=_png_info(chunks), **options)
    return tuple(lost)


def _png_info(chunks: Sequence[tuple[bytes, bytes]]) -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for kind, data in chunks:
        info.add(kind, data)
    return info


def _options(picture: Picture, profile: bytes | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if profile:
        options["icc_profile"] = profile
    if picture.exif:
        options["exif"] = EXIF_MARK + picture.exif
    if picture.dpi:
        options["dpi"] = picture.dpi
    return options


def _as_pillow(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _as_inks(color: np.ndarray) -> Image.Image:
    from PIL import Image

    height, width, _ = color.shape
    return Image.frombuffer("CMYK", (width, height), 255 - color, "raw", "CMYK", 0, 1)


def _write_jpeg(file: IO[bytes], picture: Picture) -> list[str]:
    deep, white = picture.color.dtype == np.uint16, picture.white
    color = (picture.color.astype(np.uint32) * 255 + white // 2) // white if deep else picture.color
    lost = ["alpha"] if picture.alpha is not None else []
    lost += ["8 of the 16 bits per channel"] if deep else []
    more, homeless = for_jpeg(picture.metadata, bool(picture.profile))
    lost += homeless
    options = _options(picture, picture.profile) | more
    if len(options.get("exif", b"")) > _MOST_EXIF:
        del options["exif"]
        lost.append("its EXIF data")
    image = _as_inks(color) if picture.is_ink else _as_pillow(color.astype(np.uint8, copy=False))
    image.save(file, "JPEG", quality=95, subsampling=0, **options)
    return lost


def _tiff(picture: Picture) -> bytes:
    pixels = picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])
    if pixels.dtype == np.uint16 and pixels.shape[2] > 1:
        entries = picture.place.entries() if picture.place is not None else []
        entries += [(_PROFILE, 7, picture.profile)] if picture.profile else []
        return with_exif(with_entries(_deep_tiff(pixels), entries), picture.exif, picture.dpi)
    options: dict[str, Any] = {"icc_profile": picture.profile} if picture.profile else {}
    if picture.place is not None:
        options["tiffinfo"] = picture.place.written()
    file = io.BytesIO()
    image = _as_inks(pixels) if picture.is_ink else _as_pillow(pixels)
    image.save(file, "TIFF", compression="tiff_adobe_deflate", **options)
    return with_exif(file.getvalue(), picture.exif, picture.dpi)


def _deep_tiff(pixels: np.ndarray) -> bytes:
    import cv2

    if pixels.shape[2] == 2:  # gray with alpha, which OpenCV has no type for
        pixels = pixels[..., [0, 0, 0, 1]]
    code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    data = cv2.imencode(".tiff", cv2.cvtColor(pixels, code))[1].tobytes()
    # OpenCV leaves out that the fourth channel is alpha. One short: unassociated.
    return data if pixels.shape[2] == 3 else with_entries(data, [(_EXTRA, 3, struct.pack("<H", 2))])


def _write_deep_png(
    file: IO[bytes], pixels: np.ndarray, picture: Picture, chunks: Sequence[tuple[bytes, bytes]]
) -> None:
    """Write (H, W, C) uint16 as PNG, band by band: Pillow cannot, and OpenCV knows neither profiles nor gray alpha."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    height, width, channels = pixels.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))
    if picture.profile:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.profile))
    if picture.dpi:
        chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in picture.dpi), 1))
    if picture.exif:
        chunk(b"eXIf", picture.exif)
    for kind, data in chunks:
        chunk(kind, data)
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE) if height * width > _LARGE else zlib.compressobj()
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, _BAND):
        band = pixels[top : top + _BAND]
        rows = band.astype(">u2").view(np.uint8).reshape(len(band), -1)
        chunk(b"IDAT", deflate.compress(_filtered(rows, above, 2 * channels).tobytes()))
        above = rows[-1:]
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")


def _filtered(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """PNG's filter 4, each byte's difference from that neighbor which is nearest to left + up - corner."""
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    left, corner = np.zeros_like(up), np.zeros_like(up)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    near_left, near_up, near_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    guess = np.where(
        (near_left <= near_up) & (near_left <= near_corner), left, np.where(near_up <= near_corner, up, corner)
    )
    difference = rows - guess.astype(np.uint8)
    return np.concatenate([np.full((len(rows), 1), 4, np.uint8), difference], axis=1)
