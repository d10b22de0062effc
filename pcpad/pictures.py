"""Pictures as people keep them: 8 and 16 bits per channel read and written without losing a bit, and turned upright.

Importing this needs NumPy alone; Pillow and OpenCV are imported when a file is read or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcpad._damage import (
    refuse_cut_off,
    refuse_cut_scan,
    refuse_large_tiles,
    refuse_little_data,
    refuse_unknown_channels,
    unlimited_pillow,
)
from pcpad._deep_tiff import decode_by_opencv, decode_deep_tiff, refuse_other_values
from pcpad._formats import bits_of, opened_by_pillow
from pcpad._picture import FORMATS, Picture, PictureError, PictureFormat, why_unreadable
from pcpad._picture_metadata import metadata_of
from pcpad._picture_tags import dpi_of, exif_of
from pcpad._picture_writing import write_picture
from pcpad._rot import refuse_rot
from pcpad.errors import UserValueError
from pcpad.files import opened, read_bytes, regular
from pcpad.georeference import georeference_of
from pcpad.limits import OPTION, most_pixels, refuse_empty_claim

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "FORMATS",
    "MOST_PIXELS",
    "Picture",
    "PictureError",
    "PictureFormat",
    "decode",
    "last_pixel",
    "open_header",
    "orientation_of",
    "range_of",
    "read_picture",
    "refuse_cut_off",
    "refuse_cut_scan",
    "refuse_rot",
    "refuse_too_large",
    "turned",
    "why_unreadable",
    "write_picture",
]

MOST_PIXELS = most_pixels()
"""The pixels of the largest picture that is read, by any reader; `PCPAD_MOST_PIXELS` sets it: see `pcpad.limits`."""

_BAND = 512  # rows converted at once at most, so that a conversion's copies stay small compared with the picture
_BAND_PIXELS = 1 << 26  # likewise; and below Pillow's limit, which also applies to crops
_ORIENTATION = 0x0112
# What each pixel type of Pillow becomes without losing anything; the others become RGB, which is noted.
_KEPT = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}


def read_picture(path: str | Path, *, keep_inks: bool = False, believed: int = 0) -> Picture:
    """Read a picture of 8 or 16 bits per channel; its content decides which format it is, not its name.

    JPEG, PNG, TIFF, BMP, WebP, GIF, PNM, TGA, JPEG 2000 and, with Pillow 11.3, AVIF; with the extra `heif` HEIC.

    Its EXIF orientation is applied. Palette, CMYK and other colors become RGB. Of several frames the first is read.

    Args:
        path: The file.
        keep_inks: Keep the four channels of CMYK; see `Picture`.
        believed: This many pixels are allowed whatever the file's size, as `pcpad.limits` has it.

    Returns:
        The picture, equal to the file bit by bit where `notes` is empty and the format is lossless.

    Raises:
        PictureError: It is missing, damaged, not a picture, larger than `MOST_PIXELS`, or its pixels have no known
            range.
    """
    path = Path(path)
    try:
        with open_header(path, believed=believed) as image:
            if image.format not in ("JPEG", "MPO"):
                return _checked(path, image, keep_inks=keep_inks)
        data = read_bytes(path)  # all of it is looked through before it is decoded: read once for both
        with open_header(data, path.name, believed=believed) as image:
            return _checked(path, image, data, keep_inks=keep_inks)
    except Warning:
        raise  # the user's `-W error`: not the file's fault
    # Pillow's plug-ins raise whatever their parsing runs into: SyntaxError, struct.error, KeyError, zlib.error, ….
    except Exception as error:
        message = f"{path}: {why_unreadable(error)}"
        raise PictureError(message) from error


def _checked(path: Path, image: Image.Image, data: bytes | None = None, *, keep_inks: bool = False) -> Picture:
    """Decode an opened picture; `data` is the file's content, of a JPEG file."""
    source = path if data is None else data
    refuse_cut_off(source, image.format)
    if data is not None:
        refuse_rot(data, image.format)
    bits = _bits(path, image)
    place, note = georeference_of(image)
    frames = _frames_left_out(image)  # before decoding, which closes the file
    picture = _deep_picture(path, image, bits) if bits > 8 else _picture(path, source, image, keep_inks)
    picture.exif, picture.dpi = exif_of(image), dpi_of(image)
    picture.metadata, large = metadata_of(image)
    picture.place, picture.notes = place, (*frames, *picture.notes, *([note] if note else []), *large)
    return picture


@contextmanager
def open_header(source: Path | bytes, name: str = "", *, believed: int = 0) -> Iterator[Image.Image]:
    """Read the header of a picture, which every reader here starts with; decoding is up to the caller.

    Args:
        source: A file, or its content.
        name: The file's name where its content is given.
        believed: See `read_picture`.

    Yields:
        The picture as Pillow opens it: size, mode and format are known, no pixel is decoded (40 µs).

    Raises:
        ValueError: Empty, larger than `MOST_PIXELS`, or of a kind that cannot be read.
        Exception: Whatever Pillow raises on a file that is not a picture; see `why_unreadable`.
    """
    size = len(source) if isinstance(source, bytes) else regular(source).st_size
    if not size:
        message = "the file is empty"
        raise UserValueError(message)
    with opened_by_pillow(source, name) as image:
        refuse_too_large(image.width, image.height, size, believed)
        refuse_large_tiles(image, MOST_PIXELS)
        refuse_unknown_channels(image)
        if image.format in ("JPEG", "MPO"):
            refuse_little_data(image, size)
        yield image


def decode(image: Image.Image) -> None:
    """Decode the pixels of a picture that `open_header` opened, up to `MOST_PIXELS`."""
    if image.format == "TIFF":  # its plug-in checks Pillow's limit once more
        with unlimited_pillow():
            image.load()
    else:
        image.load()


def refuse_too_large(width: int, height: int, size: int | None = None, believed: int = 0) -> None:
    """Refuse a header that claims more than `MOST_PIXELS`, or than its file can hold, before memory is allocated.

    Args:
        width: What it claims.
        height: What it claims.
        size: The file's bytes, where they are known.
        believed: See `read_picture`.

    Raises:
        ValueError: It does.
    """
    if width * height > MOST_PIXELS:
        message = (
            f"the header claims {width}x{height} pixels, more than the {MOST_PIXELS} allowed; if the file is what it "
            f"should be, set the environment variable {OPTION} to more"
        )
        raise UserValueError(message)
    if size is not None:
        refuse_empty_claim(width, height, size, believed)


def _bits(path: Path, image: Image.Image) -> int:
    """Bits per channel; Pillow returns 16-bit RGB as 8-bit RGB silently."""
    if image.format == "PNG":
        with opened(path) as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        bits: int = max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]
        return bits
    if image.format == "PPM":
        arguments = image.tile[0][3]  # type: ignore[attr-defined]
        top = 65535 if arguments == "I;16B" else arguments[1] if isinstance(arguments, tuple) else 255
        if top > 255 and top != 65535:
            message = f"its largest value {top} is neither 255 nor 65535; convert it to 8 or 16 bits"
            raise UserValueError(message)
        return 16 if top > 255 else 8
    return 16 if image.mode.startswith("I;16") else 8


def _frames_left_out(image: Image.Image) -> tuple[str, ...]:
    """A note on the frames, or pages, of an opened picture after the first; none where there are none."""
    with unlimited_pillow():  # counting frames reads their headers
        if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO's other frames are previews
            return (f"the first of its {image.n_frames} frames is used",)  # type: ignore[attr-defined]
    return ()


def _picture(path: Path, source: Path | bytes, image: Image.Image, keep_inks: bool) -> Picture:
    """Convert an opened 8-bit image, band by band."""
    notes = []
    if image.mode == "1":
        notes.append("its 1 bit per pixel becomes 8")
    if image.format in ("JPEG2000", "AVIF", "HEIF") and (bits := bits_of(path, image.format)) > 8:
        notes.append(f"its {bits} bits per channel become 8")
    mode = _KEPT.get(image.mode, "RGB")
    if image.mode in ("I", "F"):
        message = f"pixels of Pillow's mode {image.mode!r} have no known range; convert the file to 8 or 16 bits"
        raise UserValueError(message)
    if "transparency" in image.info or image.mode == "PA":
        mode = "LA" if image.mode in ("1", "L") else "RGBA"
    profile = image.info.get("icc_profile")
    inks = keep_inks and image.mode == "CMYK"
    if inks:
        mode = "CMYK"
    elif image.mode not in _KEPT:
        name = "a palette" if image.mode in ("P", "PA") else image.mode
        notes.append(f"converted from {name} to RGB")
        profile = profile if image.mode in ("P", "PA") else None
    decode(image)
    refuse_cut_scan(source, image, last_pixel(image))
    orientation = orientation_of(image)
    pixels = np.empty((image.height, image.width, len(mode)), np.uint8)
    step = max(1, min(_BAND, _BAND_PIXELS // image.width))
    for top in range(0, image.height, step):
        rows = pixels[top : top + step]
        band = image.crop((0, top, image.width, top + len(rows)))
        rows[...] = np.asarray(band if band.mode == mode else band.convert(mode)).reshape(rows.shape)
    if inks:
        np.subtract(255, pixels, out=pixels)
        return Picture(np.ascontiguousarray(turned(pixels, orientation)), None, profile, tuple(notes))
    return _split(turned(pixels, orientation), profile, tuple(notes))


def last_pixel(image: Image.Image) -> tuple[int, ...]:
    """The values of a decoded picture's last pixel."""
    value: Any = image.getpixel((image.width - 1, image.height - 1))
    return value if isinstance(value, tuple) else (value,)


def _deep_picture(path: Path, image: Image.Image, bits: int) -> Picture:
    """Read 16 bits per channel by OpenCV, as Pillow only reads gray ones; and 12, which OpenCV reads as if 16."""
    profile = image.info.get("icc_profile")
    if bits < 16 or image.format == "JPEG2000":
        if image.format == "TIFF":
            refuse_other_values(image)
        decode(image)
        if not image.mode.startswith("I;16"):
            message = f"{bits} bits per channel cannot be read; convert the file to 8 or 16 bits"
            raise UserValueError(message)
        values = np.asarray(image).astype(np.uint16)[..., None]
        if bits == 16:
            return Picture(values, None, profile)
        return Picture(values, None, profile, (f"its {bits} bits per channel are kept in 16",), (1 << bits) - 1)
    if image.format == "TIFF":
        pixels, notes = decode_deep_tiff(read_bytes(path), image)
        picture = _split(pixels, profile, notes)
    else:
        picture = _split(_deep_pixels(path, image), profile, ())
    top = range_of(picture.color)
    if top < picture.white:
        note = f"none of its values is above {top}, so its 16 bits are taken for 12"
        picture.top, picture.notes = top, (*picture.notes, note)
    return picture


def _deep_pixels(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a picture of 16 bits per channel that is no TIFF, by OpenCV: (H, W, C) upright."""
    pixels = decode_by_opencv(read_bytes(path))
    if image.format == "PNG":
        with opened(path) as file:
            gray = file.read(26)[25] in (0, 4)
        if gray and pixels.shape[2] == 4:  # OpenCV repeats the gray of a gray picture with alpha
            pixels = pixels[..., 2:]
        pixels = turned(pixels, orientation_of(image))
    return pixels


def range_of(values: np.ndarray) -> int:
    """The largest value that pixels of 16 bits can have: 4095 where none is larger, as cameras of 12 bits leave them.

    No picture worth keeping has a brightest spot of a sixteenth of white; black ones stay what they are.
    """
    return 4095 if 255 < int(values.max(initial=0)) <= 4095 else 65535


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened picture: 1, which is upright, to 8.

    Args:
        image: As `open_header` yields it; TIFF files are turned by Pillow itself when they are decoded.

    Returns:
        1 where there is none, or none that can be read.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Warning:
        raise  # the user's `-W error`
    except Exception:  # its parsing runs into SyntaxError, struct.error, KeyError and more
        return 1
    return value if value in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation.

    Args:
        pixels: (H, W) or (H, W, C), as they are stored.
        orientation: 1 … 8.

    Returns:
        A view of them, upright.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _split(pixels: np.ndarray, profile: bytes | None, notes: tuple[str, ...]) -> Picture:
    if pixels.shape[2] in (1, 3):
        return Picture(np.ascontiguousarray(pixels), None, profile, notes)
    return Picture(np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1]), profile, notes)
