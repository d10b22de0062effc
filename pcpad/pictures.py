"""Pictures as people keep them: 8 and 16 bits a channel read and written without losing a bit, and turned upright.

Importing this needs NumPy alone; Pillow and OpenCV are imported when a file is read or written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from pcpad._damage import (
    refuse_cut_off,
    refuse_cut_scan,
    refuse_large_tiles,
    refuse_little_data,
    refuse_unknown_channels,
    unlimited_pillow,
)
from pcpad._formats import bits_of, opened_by_pillow
from pcpad._rot import refuse_rot
from pcpad.errors import UserValueError
from pcpad.files import opened, read_bytes, regular, whole_file
from pcpad.georeference import SIZES, Georeference, georeference_of
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

PictureFormat = Literal["png", "tiff", "jpg"]
FORMATS: tuple[PictureFormat, ...] = ("png", "tiff", "jpg")
MOST_PIXELS = most_pixels()
"""The pixels of the largest picture that is read, by any reader; `PCPAD_MOST_PIXELS` sets it: see `pcpad.limits`."""

_BAND = 512  # rows converted at once at most, so that a conversion's copies stay small beside the picture
_BAND_PIXELS = 1 << 26  # likewise; and below Pillow's limit, which it holds against what is cut out too
_ORIENTATION = 0x0112
_EXTRA = 338  # of TIFF: what channels beside colours are
# What each pixel type of Pillow becomes without losing anything; the others become RGB, which is said.
_KEPT = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}


class PictureError(UserValueError):
    """A picture that cannot be read or written. The message names the file.

    It and its subclasses take the message alone, because a DataLoader rebuilds a worker's exception from its text.
    """


@dataclass
class Picture:
    """The pixels of a picture, as they are to be looked at.

    Attributes:
        colour: (H, W, 1) grey or (H, W, 3) RGB, uint8 or uint16, writable.
        alpha: (H, W) opacity in `colour`'s type; None where the picture has none.
        profile: Its ICC colour profile; None where it has none, or one of a colour space it no longer is in.
        notes: What was not kept as it was in the file, in words.
        top: The largest value a pixel can have, where that is not the largest of `colour`'s type.
        place: Where on earth it lies, of a GeoTIFF.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()
    top: int | None = None
    place: Georeference | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.colour.shape[0], self.colour.shape[1]

    @property
    def white(self) -> int:
        """The largest value a pixel can have."""
        return int(np.iinfo(self.colour.dtype).max) if self.top is None else self.top


def read_picture(path: str | Path) -> Picture:
    """Read a picture of 8 or 16 bits a channel; the content decides of which format it is, not the name.

    JPEG, PNG, TIFF, BMP, WebP, GIF, PNM, TGA, JPEG 2000 and, with Pillow 11.3, AVIF; with the extra `heif` HEIC.

    Its EXIF orientation is applied. Palette, CMYK and other colours become RGB. Of several frames the first is read.

    Args:
        path: The file.

    Returns:
        The picture, equal to the file bit by bit where `notes` is empty and the format is lossless.

    Raises:
        PictureError: It is missing, damaged, no picture, larger than `MOST_PIXELS`, or its pixels have no known range.
    """
    path = Path(path)
    try:
        with open_header(path) as image:
            if image.format not in ("JPEG", "MPO"):
                return _checked(path, image)
        data = read_bytes(path)  # all of it is looked through before it is decoded: read once for both
        with open_header(data, path.name) as image:
            return _checked(path, image, data)
    except Warning:
        raise  # somebody's `-W error`: not the file's fault
    # Pillow's plug-ins raise whatever their parsing runs into: SyntaxError, struct.error, KeyError, zlib.error, ….
    except Exception as error:
        message = f"{path}: {why_unreadable(error)}"
        raise PictureError(message) from error


def _checked(path: Path, image: Image.Image, data: bytes | None = None) -> Picture:
    """Decode an opened picture; `data` is the file's content, of a JPEG file."""
    source = path if data is None else data
    refuse_cut_off(source, image.format)
    if data is not None:
        refuse_rot(data, image.format)
    bits = _bits(path, image)
    place, note = georeference_of(image)
    picture = _deep_picture(path, image, bits) if bits > 8 else _picture(path, source, image)
    picture.place, picture.notes = place, (*picture.notes, *([note] if note else []))
    return picture


@contextmanager
def open_header(source: Path | bytes, name: str = "") -> Iterator[Image.Image]:
    """Read the header of a picture, which is what every reader here begins with; decoding is up to the caller.

    Args:
        source: A file, or its content.
        name: The file's name where its content is given.

    Yields:
        The picture as Pillow opens it: size, mode and format are known, no pixel is decoded (40 µs).

    Raises:
        ValueError: Empty, larger than `MOST_PIXELS`, or of a kind that cannot be read.
        Exception: Whatever Pillow raises on what is no picture; see `why_unreadable`.
    """
    size = len(source) if isinstance(source, bytes) else regular(source).st_size
    if not size:
        message = "the file is empty"
        raise UserValueError(message)
    with opened_by_pillow(source, name) as image:
        refuse_too_large(image.width, image.height, size)
        refuse_large_tiles(image, MOST_PIXELS)
        refuse_unknown_channels(image)
        if image.format in ("JPEG", "MPO"):
            refuse_little_data(image, size)
        yield image


def decode(image: Image.Image) -> None:
    """Decode the pixels of a picture that `open_header` opened, up to `MOST_PIXELS`."""
    if image.format == "TIFF":  # whose plug-in asks for Pillow's limit once more
        with unlimited_pillow():
            image.load()
    else:
        image.load()


def refuse_too_large(width: int, height: int, size: int | None = None) -> None:
    """Refuse a header that claims more than `MOST_PIXELS`, or than its file can hold, before memory is taken for it.

    Args:
        width: What it claims.
        height: What it claims.
        size: The file's bytes, where they are known.

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
        refuse_empty_claim(width, height, size)


def _bits(path: Path, image: Image.Image) -> int:
    """Bits a channel; Pillow hands out 16-bit RGB as 8-bit RGB without a word."""
    if image.format == "PNG":
        with opened(path) as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]
    if image.format == "PPM":
        arguments = image.tile[0][3]  # type: ignore[attr-defined]
        top = 65535 if arguments == "I;16B" else arguments[1] if isinstance(arguments, tuple) else 255
        if top > 255 and top != 65535:
            message = f"its largest value {top} is neither 255 nor 65535; convert it to 8 or 16 bits"
            raise UserValueError(message)
        return 16 if top > 255 else 8
    return 16 if image.mode.startswith("I;16") else 8


def _picture(path: Path, source: Path | bytes, image: Image.Image) -> Picture:
    """Convert an opened 8-bit image, band by band."""
    notes = []
    with unlimited_pillow():  # counting frames reads their headers
        if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO's other frames are previews
            notes.append(f"the first of its {image.n_frames} frames is used")  # type: ignore[attr-defined]
    if image.format in ("JPEG2000", "AVIF", "HEIF") and (bits := bits_of(path, image.format)) > 8:
        notes.append(f"its {bits} bits a channel become 8")
    mode = _KEPT.get(image.mode, "RGB")
    if image.mode in ("I", "F"):
        message = f"pixels of Pillow's mode {image.mode!r} have no known range; convert the file to 8 or 16 bits"
        raise UserValueError(message)
    if "transparency" in image.info or image.mode == "PA":
        mode = "LA" if image.mode in ("1", "L") else "RGBA"
    profile = image.info.get("icc_profile")
    if image.mode not in _KEPT:
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
    return _split(turned(pixels, orientation), profile, tuple(notes))


def last_pixel(image: Image.Image) -> tuple[int, ...]:
    """The values of a decoded picture's last pixel."""
    value: Any = image.getpixel((image.width - 1, image.height - 1))
    return value if isinstance(value, tuple) else (value,)


def _deep_picture(path: Path, image: Image.Image, bits: int) -> Picture:
    """Read 16 bits a channel, which Pillow knows for grey alone, by OpenCV; and 12, which it has as if they were 16."""
    import cv2

    profile = image.info.get("icc_profile")
    if bits < 16 or image.format == "JPEG2000":
        decode(image)
        if not image.mode.startswith("I;16"):
            message = f"{bits} bits a channel cannot be read; convert the file to 8 or 16 bits"
            raise UserValueError(message)
        values = np.asarray(image).astype(np.uint16)[..., None]
        if bits == 16:
            return Picture(values, None, profile)
        return Picture(values, None, profile, (f"its {bits} bits a channel are kept in 16",), (1 << bits) - 1)
    pixels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        what = "damaged, or of a kind" if pixels is None else f"{pixels.dtype} pixels"
        message = f"{what} that cannot be read as 16 bits a channel"
        raise UserValueError(message)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] >= 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=pixels)
    if image.format == "PNG":
        with opened(path) as file:
            grey = file.read(26)[25] in (0, 4)
        if grey and pixels.shape[2] == 4:  # OpenCV repeats the grey of a grey picture with alpha
            pixels = pixels[..., 2:]
        # OpenCV turns TIFF files by itself.
        pixels = turned(pixels, orientation_of(image))
    picture = _split(pixels, profile, ())
    top = range_of(picture.colour)
    if top < picture.white:
        picture.top, picture.notes = top, (f"none of its values is above {top}, so its 16 bits are taken for 12",)
    return picture


def range_of(values: np.ndarray) -> int:
    """The largest value that pixels of 16 bits can have: 4095 where none is larger, as cameras of 12 bits leave them.

    Nobody keeps a picture of which the brightest spot is a sixteenth of white; black ones stay what they are.
    """
    return 4095 if 255 < int(values.max(initial=0)) <= 4095 else 65535


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened picture: 1, which is upright, to 8.

    Args:
        image: As `open_header` yields it; TIFF files are turned by Pillow itself when they are decoded.

    Returns:
        1 where it says none, or none that can be read.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Warning:
        raise  # somebody's `-W error`
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


def why_unreadable(error: Exception, what: str = "a picture") -> str:
    """Say in a few words why a picture could not be read or written.

    Args:
        error: What Pillow, OpenCV, torchvision or the file system raised.
        what: What was expected.

    Returns:
        Words to stand after the file's name.
    """
    if type(error).__name__ == "UnidentifiedImageError":
        # Pillow's own says no more; ours begins with what the file is instead.
        return f"not {what} in a known format" + (str(error) if str(error).startswith(", but ") else "")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # torchvision's messages start with the function and the source file they were compiled from.
    text = str(error).splitlines()[0].rsplit(".cpp:", 1)[-1] if str(error) else type(error).__name__
    return text.partition(", ")[2] if text[:1].isdigit() and ", " in text else text


def write_picture(path: str | Path, picture: Picture, format: PictureFormat = "png") -> tuple[str, ...]:
    """Write a picture; the file appears under its name once it is complete.

    PNG and TIFF keep depth, alpha and colour profile (TIFF: no profile at 16-bit RGB). JPEG has 8 bits and no alpha.
    TIFF alone keeps a georeference.

    Args:
        path: Where to; its folder has to be there.
        picture: What.
        format: As what, whatever the file's name.

    Returns:
        What the format could not keep, in words.

    Raises:
        PictureError: It cannot be written; what stood there before still does.
    """
    path = Path(path)
    try:
        with whole_file(path, "wb", make_folders=False) as file:
            return _encode(file, picture, format)
    except (OSError, ValueError, struct.error) as error:
        message = f"{path}: cannot be written: {why_unreadable(error)}"
        raise PictureError(message) from error


def _encode(file: IO[bytes], picture: Picture, format: PictureFormat) -> tuple[str, ...]:
    from PIL import Image

    deep = picture.colour.dtype == np.uint16
    pixels = picture.colour if picture.alpha is None else np.dstack([picture.colour, picture.alpha])
    options: dict[str, Any] = {"icc_profile": picture.profile} if picture.profile else {}
    nowhere = ["its georeference"] if picture.place is not None else []
    if format == "tiff" and picture.place is not None:
        options["tiffinfo"] = picture.place.written()
    if format == "jpg":
        white = picture.white
        colour = (picture.colour.astype(np.uint32) * 255 + white // 2) // white if deep else picture.colour
        lost = ["alpha"] if picture.alpha is not None else []
        lost += [*(["8 of the 16 bits a channel"] if deep else []), *nowhere]
        _as_pillow(colour.astype(np.uint8, copy=False)).save(file, "JPEG", quality=95, subsampling=0, **options)
        return tuple(lost)
    if format == "png" and deep:
        _write_deep_png(file, pixels, picture.profile)
        return tuple(nowhere)
    elif format == "png":
        _as_pillow(pixels).save(file, "PNG", **options)
        return tuple(nowhere)
    elif deep and pixels.shape[2] == 1:
        Image.fromarray(pixels[..., 0]).save(file, "TIFF", compression="tiff_adobe_deflate", **options)
    elif deep:
        file.write(_with_entries(_deep_tiff(pixels), picture.place.entries() if picture.place is not None else []))
        return ("the colour profile",) if picture.profile else ()
    else:
        _as_pillow(pixels).save(file, "TIFF", compression="tiff_adobe_deflate", **options)
    return ()


def _as_pillow(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _deep_tiff(pixels: np.ndarray) -> bytes:
    import cv2

    if pixels.shape[2] == 2:  # grey with alpha, which OpenCV has no type for
        pixels = pixels[..., [0, 0, 0, 1]]
    code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    data = cv2.imencode(".tiff", cv2.cvtColor(pixels, code))[1].tobytes()
    # OpenCV leaves out that the fourth channel is alpha. One short: unassociated.
    return data if pixels.shape[2] == 3 else _with_entries(data, [(_EXTRA, 3, struct.pack("<H", 2))])


def _with_entries(data: bytes, added: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Add tags, each with its type and the bytes of its values, to a little-endian TIFF of one picture."""
    if not added:
        return data
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * number :][:12] for number in range(count)]
    for tag, kind, values in added:
        count = len(values) // SIZES[kind]
        if len(values) <= 4:
            entries.append(struct.pack("<HHI", tag, kind, count) + values.ljust(4, b"\0"))
        else:
            data += b"\0" * (len(data) % 2)
            entries.append(struct.pack("<HHII", tag, kind, count, len(data)))
            data += values
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    data += b"\0" * (len(data) % 2)
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table


def _write_deep_png(file: IO[bytes], pixels: np.ndarray, profile: bytes | None) -> None:
    """Write (H, W, C) uint16 as PNG, band by band: Pillow cannot, and OpenCV knows neither profiles nor grey alpha."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    height, width, channels = pixels.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))
    if profile:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    deflate = zlib.compressobj()
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, _BAND // 8):
        band = pixels[top : top + _BAND // 8]
        rows = band.astype(">u2").view(np.uint8).reshape(len(band), -1)
        chunk(b"IDAT", deflate.compress(_filtered(rows, above, 2 * channels).tobytes()))
        above = rows[-1:]
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")


def _filtered(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """PNG's filter 4, each byte's difference from that neighbour which is nearest to left + up - corner."""
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    left, corner = np.zeros_like(up), np.zeros_like(up)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    near_left, near_up, near_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    guess = np.where(
        (near_left <= near_up) & (near_left <= near_corner), left, np.where(near_up <= near_corner, up, corner)
    )
    difference = rows - guess.astype(np.uint8)
    return np.concatenate([np.full((len(rows), 1), 4, np.uint8), difference], axis=1)
