"""Read PNG files of a data set: the header first, then only the pixels that are needed."""

import struct
import threading
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from isal import isal_zlib

from pcpad.datamodules.reading.images import BrokenImageError, decode_image
from pcpad.deprecation import renamed_attributes
from pcpad.errors import UserValueError
from pcpad.files import opened
from pcpad.pictures import open_header, orientation_of, refuse_too_large, turned, why_unreadable

ALL = slice(None)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 33
_FIRST_BYTES = 1 << 12
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Color type → a name for messages, at 8 bits per channel.
_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGBA"}
# Rows filtered by these two don't refer to the row above; 2, 3 and 4 do.
_INDEPENDENT = (0, 1)
_LAST_FILTER = 4
_STORED_BLOCK = 0xFFFF  # most bytes of an uncompressed block of a zlib stream


class _Outline:
    """Size and orientation of a PNG, used to rotate a label map with its image."""

    path: Path
    orientation: int
    _rows: int
    _columns: int

    @property
    def height(self) -> int:
        """Rows, upright."""
        return self._columns if self.orientation >= 5 else self._rows

    @property
    def width(self) -> int:
        """Columns, upright."""
        return self._rows if self.orientation >= 5 else self._columns

    def turn_with(self, picture: "_Outline") -> None:
        """Apply the image's orientation to this label map, if the map was drawn on the image's pixels as stored.

        That is decided by its size; if the image is square or upside down, a map of its size without an orientation is
        assumed to be drawn on the stored pixels.

        Args:
            picture: The image.
        """
        if self.orientation == 1 and (self._rows, self._columns) == (picture._rows, picture._columns):
            self.orientation = picture.orientation


class PngOutline(_Outline):
    """The part of a PNG file before its pixels, without reading the rest.

    Args:
        path: The file.

    Attributes:
        path: The file.
        height: Rows, upright.
        width: Columns, upright.
        orientation: See `PngFile`.

    Raises:
        BrokenImageError: The file is missing, empty, not a PNG, or larger than `pictures.MOST_PIXELS`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        data = _read(self.path, _FIRST_BYTES)
        self._rows, self._columns, _ = _header(self.path, data)
        if data.find(b"IDAT") < 0 and len(data) == _FIRST_BYTES:  # for example after a large color profile
            data = _read(self.path, -1)
        self.orientation = _orientation(data)


@renamed_attributes(removed="0.3.0", grey="gray", grey16="gray16")
class PngFile(_Outline):
    """A PNG file in memory, with its header parsed and its pixels not yet decoded.

    Args:
        path: The file.

    Attributes:
        path: The file.
        orientation: The EXIF orientation that `rgb`, `gray` and `gray16` apply to the pixels, 1 … 8; 1 is as stored.
            It is only looked for before the pixels, where it is usually written.
        height: Rows, upright.
        width: Columns, upright.
        kind: What a pixel is, in words: "8-bit gray", "16-bit gray", "8-bit RGB", ….

    Raises:
        BrokenImageError: The file is missing, empty, truncated, not a PNG, or larger than `pictures.MOST_PIXELS`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._data = _read(self.path, -1)
        self._rows, self._columns, self.kind = _header(self.path, self._data, len(self._data))
        if self._data[-len(_END) :] != _END:
            raise _broken(self.path, "truncated: the file has no end mark")
        self.orientation = _orientation(self._data)

    def rgb(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """Decode colors.

        Args:
            rows: The rows to decode, with step 1. Rows below them cost nothing.
            columns: The columns to decode, with step 1; columns to the right of them cost little.

        Returns:
            `(rows, columns, 3)` uint8; may be read-only.

        Raises:
            BrokenImageError: The file is damaged. Pixel data that is not needed is checked against its checksums too.
        """
        if self.kind != "8-bit RGB":
            return turned(self._by_pil(), self.orientation)[rows, columns]
        return self._turned(rows, columns, 3)

    def gray(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """Decode the values of an 8-bit gray file; `rows` and `columns` as in `rgb`.

        Returns:
            `(rows, columns)` uint8; may be read-only.

        Raises:
            ValueError: The file has pixels of another kind.
            BrokenImageError: The file is damaged.
        """
        if self.kind != "8-bit gray":
            message = f"{self.path}: expected 8-bit gray pixels, one id each, but the file has {self.kind} pixels"
            raise UserValueError(message)
        return self._turned(rows, columns, 1)

    def gray16(self) -> np.ndarray:
        """Decode the values of a 16-bit gray file without conversion to 8 bits or floats.

        Returns:
            `(height, width)` uint16.

        Raises:
            ValueError: The file has pixels of another kind.
            BrokenImageError: The file is damaged.
        """
        if self.kind != "16-bit gray":
            message = (
                f"{self.path}: expected 16-bit gray pixels, one id each, but the file has {self.kind} pixels"
                + ", whose ids end at 255 (instance ids go up to 33999)" * self.kind.startswith("8-bit")
            )
            raise UserValueError(message)
        self._stream()  # OpenCV returns the readable part of a damaged file
        pixels = cv2.imdecode(_bytes(self._data), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint16 or pixels.shape != (self._rows, self._columns):
            raise _broken(self.path, "damaged: its 16-bit pixels cannot be decoded")
        return turned(pixels, self.orientation)

    def _turned(self, rows: slice, columns: slice, channels: int) -> np.ndarray:
        if self.orientation == 1:
            return self._decode(rows, columns, channels)
        return np.ascontiguousarray(turned(self._decode(ALL, ALL, channels), self.orientation)[rows, columns])

    def _decode(self, rows: slice, columns: slice, channels: int) -> np.ndarray:
        """Decompress up to the last row needed, and undo the filters up to there and up to the last column."""
        length = 1 + self._columns * channels
        if self._data[28] or length > _STORED_BLOCK:  # interlaced, with each row spread over the file; or very wide
            pixels = self._by_pil()[rows, columns]
            return pixels if channels == 3 else pixels[..., 0]
        top, bottom, _ = rows.indices(self._rows)
        left, right, _ = columns.indices(self._columns)
        filtered = np.frombuffer(self._inflate(bottom * length), np.uint8).reshape(bottom, length)
        filters = filtered[:, 0]
        if filters.max() > _LAST_FILTER:
            raise _broken(self.path, f"damaged: row {int(filters.argmax())} has the unknown filter {filters.max()}")
        independent = np.flatnonzero(np.isin(filters[: top + 1], _INDEPENDENT))
        first = int(independent[-1]) if len(independent) else 0
        return _unfilter(filtered[first:, : 1 + right * channels], channels)[top - first :, left:]

    def _inflate(self, count: int) -> memoryview:
        """The first `count` bytes of the filtered rows."""
        try:
            # One byte more than needed: at the end of the data, it then reads on and verifies the checksum.
            # isal decompresses 2.4 MB in 10 ms, zlib in 21.
            rows = isal_zlib.decompressobj().decompress(self._stream(), count + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stubs call it an instance
            raise _broken(self.path, f"damaged: {error}") from error
        if len(rows) < count:
            raise _broken(self.path, f"damaged: the pixel data ends after {len(rows)} of {count} bytes")
        return memoryview(rows)[:count]

    def _stream(self) -> bytes:
        """The compressed pixels of all chunks, each verified by its checksum."""
        data, parts, at = memoryview(self._data), [], len(_SIGNATURE)
        while at + 12 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            end = at + 8 + length
            if end + 4 > len(data):
                raise _broken(self.path, f"damaged: the chunk at byte {at} claims {length} bytes, more than there are")
            if kind == b"IDAT":
                parts.append(data[at + 8 : end])
            # Other chunks are not verified: some programs write invalid ones.
            if kind in (b"IHDR", b"IDAT") and data[end : end + 4] != _checksum(data[at + 4 : end]):
                raise _broken(self.path, f"damaged: wrong checksum of the {kind.decode()} chunk at byte {at}")
            at = end + 4
        return b"".join(parts)

    def _by_pil(self) -> np.ndarray:
        """Decode any other kind of file, as `(height, width, 3)` uint8."""
        self._stream()  # PIL 13 accepts 3 of 1500 files with one flipped bit
        try:
            return decode_image(self._data, upright=False).permute(1, 2, 0).numpy()
        except Warning:
            raise  # the user's `-W error`
        # PIL raises SyntaxError, struct.error, zlib.error and more.
        except Exception as error:
            raise _broken(self.path, why_unreadable(error, "an image")) from error


def _unfilter(filtered: np.ndarray, channels: int) -> np.ndarray:
    """Convert filtered PNG rows to pixels.

    FFmpeg does it, given an uncompressed PNG of these rows: the filters refer to the previous pixel, so NumPy cannot,
    and FFmpeg's SIMD code takes 7 ms for 1024 × 2048 × 3, compared with 30 for OpenCV's libpng and 37 for PIL. Damaged
    files cannot reach FFmpeg, since all of its input is written here.

    Args:
        filtered: `(H, 1 + W * channels)` uint8; each row starts with its filter, 0 … 4.
        channels: 1 or 3.

    Returns:
        `(H, W)` uint8 for one channel, else `(H, W, 3)`.
    """
    height, length = filtered.shape
    color = {1: 0, 3: 2}[channels]
    header = b"IHDR" + struct.pack(">IIBBBBB", (length - 1) // channels, height, 8, color, 0, 0, 0)
    size = height * (5 + length)
    head = _SIGNATURE + struct.pack(">I", 13) + header + _checksum(header)
    head += struct.pack(">I", 2 + size + 4) + b"IDAT\x78\x01"
    png = _workspace(len(head) + size + 8 + len(_END))
    png[: len(head)] = _bytes(head)
    pixels = png[len(head) : len(head) + size].reshape(height, 5 + length)
    pixels[:, :5] = _bytes(struct.pack("<BHH", 0, length, length ^ _STORED_BLOCK))  # one block per row
    pixels[-1, 0] = 1  # the last one
    pixels[:, 5:] = filtered
    tail = len(head) + size
    png[tail : tail + 4] = _bytes(struct.pack(">I", isal_zlib.adler32(np.ascontiguousarray(filtered))))
    png[tail + 4 :] = _bytes(_checksum(png[len(head) - 6 : tail + 4]) + _END)
    # A new decoder for each image (30 µs): a used one takes the next image for a difference to the previous.
    decoder = av.CodecContext.create("png", "r")
    decoder.thread_count = 1
    (frame,) = decoder.decode(av.Packet(png))  # type: ignore[arg-type]  # takes any buffer
    return frame.to_ndarray()


_scratch = threading.local()


def _workspace(size: int) -> np.ndarray:
    """A buffer that is reused by each call: allocating memory for a whole image takes 7 ms."""
    held = getattr(_scratch, "bytes", None)
    if held is None or len(held) < size:
        held = _scratch.bytes = np.empty(size, np.uint8)
    return held[:size]


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def _checksum(data: Any) -> bytes:
    return struct.pack(">I", isal_zlib.crc32(data))


def _orientation(data: bytes) -> int:
    """The EXIF orientation that is stored before the pixels of a PNG."""
    at, parts, kinds = _HEADER_BYTES, [data[:_HEADER_BYTES]], set()
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"IDAT", b"IEND"):
            break
        parts.append(data[at : at + 12 + length])
        kinds.add(kind)
        at += 12 + length
    if not kinds & {b"eXIf", b"zTXt", b"tEXt", b"iTXt"}:  # as text, ImageMagick and XMP write it
        return 1
    try:
        with open_header(b"".join([*parts, _END])) as image:
            image.info.setdefault("exif", b"")  # else Pillow would decode the pixels to look after them
            return orientation_of(image)
    except Warning:
        raise  # the user's `-W error`
    except Exception:  # damage is found and reported when the file is decoded
        return 1


def png_size(path: str | Path) -> tuple[int, int]:
    """Read height and width from a PNG's header, as stored.

    Args:
        path: The file.

    Returns:
        Rows and columns.

    Raises:
        BrokenImageError: The file is missing, empty, not a PNG, or larger than `pictures.MOST_PIXELS`.
    """
    return _header(Path(path), _read(Path(path), _HEADER_BYTES))[:2]


def _read(path: Path, most: int) -> bytes:
    try:
        with opened(path) as file:
            return file.read(most)
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from error


def _header(path: Path, data: bytes, size: int | None = None) -> tuple[int, int, str]:
    if not data:
        raise _broken(path, "the file is empty")
    if len(data) < _HEADER_BYTES or data[:8] != _SIGNATURE or data[12:16] != b"IHDR":
        raise _broken(path, "not a PNG file")
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    try:
        refuse_too_large(width, height, size)
    except UserValueError as error:
        raise _broken(path, str(error)) from None
    return height, width, f"{depth}-bit {_KINDS.get(color, 'pixels of an unknown kind')}"


def _broken(path: Path, reason: str) -> BrokenImageError:
    return BrokenImageError(f"{path}: {reason}")
