"""PNG files of a data set: header first, then only the rows that are needed."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pcpad.datamodules.images import MAX_PIXELS, BrokenImageError, decode_image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 33
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Colour type → a name for messages, at 8 bits a channel.
_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
# PIL stops after the rows asked for, but takes 1.3 times as long a row as OpenCV, which always inflates the whole file.
_PIL_BELOW = 0.7


class PngFile:
    """A PNG file in memory, its header read, its pixels not yet decoded.

    Args:
        path: The file.

    Attributes:
        path: The file.
        height: Rows.
        width: Columns.
        kind: What a pixel is, in words: "8-bit grey", "16-bit grey", "8-bit RGB", ….

    Raises:
        BrokenImageError: Missing, empty, truncated, no PNG, or larger than `MAX_PIXELS`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._data = _read(self.path, -1)
        self.height, self.width, self.kind = _header(self.path, self._data)
        if self._data[-len(_END) :] != _END:
            raise _broken(self.path, "truncated: the file has no end mark")

    def rgb(self, rows: int | None = None) -> np.ndarray:
        """Decode colours.

        Args:
            rows: Only that many rows from the top; None: all. A picture's lower part then costs little.

        Returns:
            `(rows, width, 3)` uint8.

        Raises:
            BrokenImageError: Damaged.
        """
        # OpenCV would blend 16 bits and transparency by rules of its own.
        return self._decode(rows, "RGB") if self.kind == "8-bit RGB" else self._by_pil(rows, "RGB")

    def grey(self, rows: int | None = None) -> np.ndarray:
        """Decode the values of an 8-bit grey file; `rows` as in `rgb`.

        Returns:
            `(rows, width)` uint8.

        Raises:
            ValueError: The file has other pixels.
            BrokenImageError: Damaged.
        """
        if self.kind != "8-bit grey":
            message = f"{self.path}: expected 8-bit grey pixels, one id each, but the file has {self.kind} pixels"
            raise ValueError(message)
        return self._decode(rows, "L")

    def _decode(self, rows: int | None, mode: str) -> np.ndarray:
        if rows is not None and rows < _PIL_BELOW * self.height:
            return self._by_pil(rows, mode)
        # Of 1500 files with one flipped bit OpenCV 5 refused all and PIL 13 let 3 pass.
        flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR_RGB if mode == "RGB" else cv2.IMREAD_GRAYSCALE)
        pixels = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
        return self._by_pil(rows, mode) if pixels is None else pixels[:rows]

    def _by_pil(self, rows: int | None, mode: str) -> np.ndarray:
        """Decode by PIL, which also says what is wrong where something is."""
        try:
            if mode == "L":
                with Image.open(io.BytesIO(self._cut(rows)), formats=("PNG",)) as image:
                    return np.asarray(image)
            return decode_image(self._cut(rows)).permute(1, 2, 0).numpy()
        except Warning:
            raise  # somebody's `-W error`
        # PIL's parsing raises SyntaxError, struct.error, zlib.error and more.
        except Exception as error:
            raise _broken(self.path, str(error) or type(error).__name__) from error

    def _cut(self, rows: int | None) -> bytes:
        """The same file with fewer rows in its header, after which PIL stops; the rest is skipped unread."""
        if rows is None or rows >= self.height:
            return self._data
        header = self._data[12:20] + struct.pack(">I", rows) + self._data[24:29]
        return self._data[:12] + header + struct.pack(">I", zlib.crc32(header)) + self._data[33:]


def png_size(path: str | Path) -> tuple[int, int]:
    """Read height and width from a PNG's header.

    Args:
        path: The file.

    Returns:
        Rows and columns.

    Raises:
        BrokenImageError: Missing, empty, no PNG, or larger than `MAX_PIXELS`.
    """
    return _header(Path(path), _read(Path(path), _HEADER_BYTES))[:2]


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from error


def _header(path: Path, data: bytes) -> tuple[int, int, str]:
    if not data:
        raise _broken(path, "the file is empty")
    if len(data) < _HEADER_BYTES or data[:8] != _SIGNATURE or data[12:16] != b"IHDR":
        raise _broken(path, "not a PNG file")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if width * height > MAX_PIXELS:
        raise _broken(path, f"the header claims {width}x{height} pixels, more than the {MAX_PIXELS} allowed")
    return height, width, f"{depth}-bit {_KINDS.get(colour, 'pixels of an unknown kind')}"


def _broken(path: Path, reason: str) -> BrokenImageError:
    return BrokenImageError(f"{path}: {reason}")
