"""Read folders of JPEG frames, `image_00001.jpg`, `image_00002.jpg`, …, as videos."""

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from pcpad.datamodules.reading.images import SUFFIXES
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex
from pcpad.datamodules.reading.videos import View, cut
from pcpad.errors import UserValueError
from pcpad.files import read_bytes
from pcpad.pictures import open_header, refuse_cut_scan, refuse_rot

CODEC = "jpeg folder"
_NO_JPEG = "not a JPEG file, or damaged"
_NAME = re.compile(r"image_(\d{5,})\.(\w+)", re.IGNORECASE)
_ENDINGS = (".jpg", ".JPG", ".jpeg", ".JPEG")
_REDUCED = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)


def holds_frames(folder: str | Path) -> bool:
    """Whether a folder holds a video's frames: usually one file lookup, as a data set has 240 000 folders."""
    return any(Path(folder, f"image_00001{ending}").is_file() for ending in _ENDINGS)


def frame_path(folder: str | Path, number: int) -> Path:
    """The path of a frame, counted from 1, whatever the case of its extension."""
    path = Path(folder, f"image_{number:05d}{_ENDINGS[0]}")
    return next((other for ending in _ENDINGS if (other := path.with_suffix(ending)).exists()), path)


def index_folder(folder: str | Path) -> VideoIndex:
    """List the frames of a folder.

    Args:
        folder: Holds `image_%05d.jpg`, counted from 1 without gaps; other files are ignored.

    Returns:
        The index; its times count frames, since a folder has no frame rate: see `at_rate`.

    Raises:
        BrokenVideoError: A frame is missing, there are none, or the first cannot be decoded.
    """
    with os.scandir(folder) as entries:
        frames = [match for entry in entries if (match := _NAME.fullmatch(entry.name))]
    other = sorted(
        match[0] for match in frames if f".{match[2]}" not in _ENDINGS and f".{match[2].lower()}" in SUFFIXES
    )
    if other:
        message = f"{folder}: {other[0]}, and {len(other) - 1} more like it, are not JPEG files: frames must be JPEGs"
        raise BrokenVideoError(message)
    numbers = sorted(int(match[1]) for match in frames if f".{match[2]}" in _ENDINGS)
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        gap = next((n for n, have in enumerate(numbers, 1) if n != have), len(numbers) + 1)
        message = f"{folder}: image_{gap:05d}.jpg is missing; {len(numbers)} frames are there"
        raise BrokenVideoError(message)
    height, width = _read(folder, 1, 0).shape[:2]
    pts = np.arange(len(numbers), dtype=np.int64)
    return VideoIndex(pts, pts.astype(np.int32), Fraction(1), len(numbers), height, width, 0, CODEC)


def at_rate(index: VideoIndex, rate: float) -> VideoIndex:
    """Set the frame rate of a folder's index to the rate that its frames were written at."""
    return index._replace(time_base=Fraction(1 / rate).limit_denominator(10**6))


class FrameFolder:
    """A folder of frames with the interface of `Video`.

    Args:
        path: The folder.
        index: The folder's index, from `index_folder`.
        least: Shortest side that decoded frames may be reduced to; 0: no reduction.
    """

    def __init__(self, path: str | Path, index: VideoIndex, least: int = 0) -> None:
        self.path = path
        self.index = index
        shortest = min(index.height, index.width)
        self._reduced = max((n for n in range(4) if least and shortest >> n >= least), default=0)

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, positions: Sequence[int] | np.ndarray, view: View | None = None, more: bool = False) -> np.ndarray:
        """Decode frames; see `Video.read`."""
        view = view or View(*(self.index.height, self.index.width, 0, 0), self.index.height, self.index.width)
        found: dict[int, np.ndarray] = {}
        for place in map(int, positions):
            if place not in found:
                found[place] = cut(_read(self.path, place + 1, self._reduced), view)
        return np.stack([found[int(place)] for place in positions])


def _read(folder: str | Path, number: int, reduced: int) -> np.ndarray:
    path = Path(folder, f"image_{number:05d}.jpg")
    try:
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            path = frame_path(folder, number)
            data = read_bytes(path)
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        raise BrokenVideoError(message) from error
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        # OpenCV would fill the missing part with gray.
        message = f"{path}: {'truncated: no end mark' if data else 'the file is empty'}"
        raise BrokenVideoError(message)
    try:
        # OpenCV allocates whatever size a header claims, so the header is checked first.
        with open_header(data) as header:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduced])
            if picture is None:
                raise UserValueError(_NO_JPEG)
            refuse_rot(data, header.format)
            refuse_cut_scan(data, header, _grayest_corner(picture))
    except UserValueError as error:
        message = f"{path}: {error}"
        raise BrokenVideoError(message) from error
    except Warning:
        raise  # the user's `-W error`
    except Exception as error:  # Pillow's parsing raises SyntaxError, struct.error and more, OpenCV its own
        message = f"{path}: {_NO_JPEG}"
        raise BrokenVideoError(message) from error
    return picture[:, :, ::-1]


def _grayest_corner(picture: np.ndarray) -> list[int]:
    """The corner nearest to gray; in a rotated image, the corner that is stored last may be any of the four."""
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    corner: list[int] = corners[np.abs(corners - 128).max(axis=1).argmin()].tolist()
    return corner
