"""Video files: when each frame is shown, and exactly the frames asked for. The only module that calls PyAV."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from pcpad.datamodules.images import MAX_PIXELS

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".ts", ".3gp", ".wmv")
"""File names with one of these endings, in any case, count as videos."""

# A damaged or hostile file must lead to no other file and no network: playlists and `concat:` names do.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf",
}
# Decoders that can reconstruct 1/2, 1/4, 1/8 of the size from part of each block. H.264, HEVC, VP9 and AV1 cannot.
_LOWRES = {"mjpeg": 3, "mpeg4": 3, "mpeg2video": 3, "mpeg1video": 3, "h263": 3, "msmpeg4v3": 3, "flv": 3}
# Their containers hold packets that are never shown.
_DECODED = {"vp8"}
_HEADER = struct.Struct("<qqqqIIIhB")


class BrokenVideoError(ValueError):
    """A video that cannot be used: damaged, without pictures, or missing. The message names the file.

    It takes the message alone, because a DataLoader rebuilds a worker's exception from its text.
    """


class VideoIndex(NamedTuple):
    """When each frame of a video is shown, and where decoding can start.

    Attributes:
        pts: `(frames,)` int64, presentation times in units of `time_base`, rising.
        keys: int32, positions of the key frames in `pts`.
        time_base: Seconds a unit.
        end: When the last frame ends, in the same units.
        height: Rows as shown, after rotation.
        width: Columns as shown, after rotation.
        rotation: By how many degrees counterclockwise the stored pictures have to be turned: 0, 90, 180 or 270.
        codec: FFmpeg's name of the decoder.
    """

    pts: np.ndarray
    keys: np.ndarray
    time_base: Fraction
    end: int
    height: int
    width: int
    rotation: int
    codec: str

    @property
    def times(self) -> np.ndarray:
        """Seconds after the first frame at which each frame is shown, and the last ends; `(frames + 1,)` float64."""
        return (np.append(self.pts, self.end) - self.pts[0]) * float(self.time_base)

    def pack(self) -> bytes:
        """Write the index in some hundred bytes; constant frame rates compress to nearly nothing."""
        base, codec = self.time_base, self.codec.encode()
        numbers = (int(self.pts[0]), self.end, base.numerator, base.denominator)
        sizes = (len(self.pts), self.height, self.width, self.rotation, len(codec))
        body = np.diff(self.pts).astype("<i8").tobytes() + self.keys.astype("<i4").tobytes()
        return _HEADER.pack(*numbers, *sizes) + codec + zlib.compress(body, 1)

    @classmethod
    def unpack(cls, data: bytes) -> "VideoIndex":
        """Read what `pack` wrote."""
        first, end, numerator, denominator, frames, height, width, rotation, letters = _HEADER.unpack_from(data)
        start = _HEADER.size + letters
        body = zlib.decompress(data[start:])
        pts = np.cumsum(np.append(first, np.frombuffer(body, "<i8", frames - 1)), dtype=np.int64)
        keys = np.frombuffer(body, "<i4", offset=8 * (frames - 1))
        codec = data[_HEADER.size : start].decode()
        return cls(pts, keys, Fraction(numerator, denominator), end, height, width, rotation, codec)


class View(NamedTuple):
    """The part of the pictures that is wanted: the whole, resized to height × width, and a box cut out of that."""

    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "no video file in a known format, or damaged (invalid data)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# What PyAV raises on files: FFmpeg's errors, and its own for impossible sizes and the like.
_ERRORS = (av.error.FFmpegError, OSError, ValueError, MemoryError)


class _File:
    """An open file and its first video stream that is no cover picture.

    Args:
        path: The file.
        quick: Whether to keep FFmpeg from decoding its first frames on opening, 1 ms of the 12 that a clip takes. It
            does so to find out how far frames may be out of order, which most files say in their headers.
    """

    def __init__(self, path: str | Path, quick: bool = False) -> None:
        options = _OPTIONS | {"skip_frame": "all"} if quick else dict(_OPTIONS)
        try:
            # `file:` keeps a name such as `a:b.mp4` from being taken for a protocol.
            self.container = av.open(f"file:{path}", options=options, metadata_errors="replace")
        except _ERRORS as error:
            reason = "the file is empty" if Path(path).exists() and not Path(path).stat().st_size else _reason(error)
            message = f"{path}: {reason}"
            raise BrokenVideoError(message) from error
        streams = [stream for stream in self.container.streams.video if not stream.disposition & 0x400]
        if not streams:
            self.container.close()
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            message = f"{path}: the file has no moving pictures, but {kinds}"
            raise BrokenVideoError(message)
        self.stream = streams[0]
        # A core is a DataLoader's worker; frame threads would decode beyond what is wanted, and hold frames.
        self.stream.codec_context.thread_count = 1
        self.name = self.stream.codec_context.name

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()


def index_video(path: str | Path) -> VideoIndex:
    """Find out when each frame of a file is shown, by reading its packets once and decoding the first picture.

    Frames that an edit list hides are left out.

    Args:
        path: A video file; its content decides, not its name.

    Returns:
        The index.

    Raises:
        BrokenVideoError: Missing, empty, truncated, no video, without pictures, or of more than `MAX_PIXELS`.
    """
    with _File(path) as file:
        size = file.stream.codec_context.width * file.stream.codec_context.height
        if size > MAX_PIXELS:
            message = f"{path}: the header claims {size} pixels a picture, more than the {MAX_PIXELS} allowed"
            raise BrokenVideoError(message)
        try:
            shown, first = _look_through(file, path)
        except _ERRORS as error:
            if isinstance(error, BrokenVideoError):
                raise
            message = f"{path}: {_reason(error)}"
            raise BrokenVideoError(message) from error
        if first is None or not shown:
            message = f"{path}: no picture can be decoded"
            raise BrokenVideoError(message)
        pts = np.asarray(sorted(shown), np.int64)
        keys = np.asarray([place for place, time in enumerate(pts.tolist()) if shown[time][0]], np.int32)
        # A last packet without duration lasts as long as the one before.
        last = shown[int(pts[-1])][1] or (int(pts[-1] - pts[-2]) if len(pts) > 1 else 1)
        rotation = round(first.rotation / 90) % 4 * 90
        height, width = (first.width, first.height) if rotation % 180 else (first.height, first.width)
        base = file.stream.time_base or Fraction(1, 1000)
        return VideoIndex(pts, keys, base, int(pts[-1]) + last, height, width, rotation, file.name)


def _look_through(file: _File, path: str | Path) -> tuple[dict[int, tuple[bool, int]], av.VideoFrame | None]:
    """Map presentation time to (key frame?, duration); and decode one picture."""
    if file.name in _DECODED:
        return _by_decoding(file)
    shown: dict[int, tuple[bool, int]] = {}
    first, packets, reach = None, 0, 0
    for packet in file.container.demux(file.stream):
        if packet.is_corrupt:
            raise BrokenVideoError(_truncated(file, path, packets))
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:
            continue  # the one that empties the decoder
        packets += 1
        reach = max(reach, (packet.pos or 0) + packet.size)
        if packet.is_discard:
            continue
        if packet.pts is None or packet.pts in shown:
            # Elementary streams and old containers tell times only to who decodes.
            file.container.seek(0)
            return _by_decoding(file)
        shown[packet.pts] = (packet.is_keyframe, packet.duration or 0)
    # Cut between two packets; where an edit list hides packets, bytes follow.
    mp4 = "mp4" in file.container.format.name
    if mp4 and packets < file.stream.frames and reach >= Path(path).stat().st_size:
        raise BrokenVideoError(_truncated(file, path, packets))
    return shown, first


def _truncated(file: _File, path: str | Path, packets: int) -> str:
    stated = f" of the {file.stream.frames} that its header states" if file.stream.frames > packets else ""
    return f"{path}: truncated or damaged after {packets} frames{stated}"


def _by_decoding(file: _File) -> tuple[dict[int, tuple[bool, int]], av.VideoFrame | None]:
    shown: dict[int, tuple[bool, int]] = {}
    first = None
    for frame in file.container.decode(file.stream):
        first = first or frame
        if frame.pts is None:
            message = "frames without presentation times; `ffmpeg -i IN -c copy OUT.mp4` gives them some"
            raise ValueError(message)
        shown[frame.pts] = (bool(frame.key_frame), frame.duration or 0)
    return shown, first


@lru_cache(maxsize=8)
def _reformatter(*_: object) -> VideoReformatter:
    """One converter for each size and format: setting one up takes longer than converting a small picture."""
    return VideoReformatter()


class Video:
    """A file opened to decode frames of; to be closed, which `with` does.

    Opened in the process that decodes, never before a fork.

    Args:
        path: The file.
        index: What `index_video` says of it.
        least: Shortest side that decoded pictures may be reduced to, where the codec can decode at 1/2, 1/4 or 1/8 of
            the size (`_LOWRES`: MPEG-4 part 2, Motion JPEG and older; H.264 cannot). 0: no reduction.

    Raises:
        BrokenVideoError: The file cannot be opened.
    """

    def __init__(self, path: str | Path, index: VideoIndex, least: int = 0) -> None:
        self.path = path
        self.index = index
        self._least = least
        self._open(quick=True)

    def _open(self, quick: bool) -> None:
        self._file = _File(self.path, quick)
        self._quick = quick
        self._wanted: set[int] = set()
        self._last = -1
        self._all = False
        self._more = True
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._at: int | None = None  # time of the last frame decoded
        most = _LOWRES.get(self._file.name, 0) if self._least else 0
        shortest = min(self.index.height, self.index.width)
        reduced = max((n for n in range(most + 1) if shortest >> n >= self._least), default=0)
        if reduced:
            self._file.stream.codec_context.options = {"lowres": str(reduced)}

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._file.container.close()

    def read(self, positions: Sequence[int] | np.ndarray, view: View | None = None, more: bool = False) -> np.ndarray:
        """Decode frames, exactly those asked for, whatever the frame rate does.

        Decoding starts at the key frame before the first of them, or goes on where the last call ended. Pictures that
        are not wanted and that no other picture is predicted from are not decoded at all.

        Args:
            positions: Which frames, counted in order of presentation; any order, repetitions allowed.
            view: The part wanted of each; None: all of it.
            more: Whether later frames will be asked for next: the decoder is then left as it is, not emptied.

        Returns:
            `(len(positions), rows, columns, 3)` uint8 RGB, rotated as the file says.

        Raises:
            BrokenVideoError: A frame that cannot be decoded.
        """
        places = sorted(set(map(int, positions)))
        times = [int(self.index.pts[place]) for place in places]
        view = view or View(*(self.index.height, self.index.width, 0, 0), self.index.height, self.index.width)
        self._wanted, self._last, self._more = set(times), times[-1], more
        reason: Exception | None = None
        # A file whose key frames, order or reference marks are not what they seem costs time, not exactness.
        for attempt in range(3):
            try:
                self._start(places[0], attempt)
                found = self._collect(view)
            except _ERRORS as error:
                reason, self._at = error, None
                continue
            if len(found) == len(places):
                return np.stack([found[int(self.index.pts[int(place)])] for place in positions])
            reason, self._at = None, None
        why = _reason(reason) if reason else "a frame is missing"
        first, last = self.index.times[[places[0], places[-1]]]
        message = f"{self.path}: the frames from {first:.3f} s to {last:.3f} s cannot all be decoded: {why}"
        raise BrokenVideoError(message) from reason

    def _start(self, place: int, attempt: int) -> None:
        """Get ready to decode from a position: go on, or seek to the key frame before it, or to the start."""
        keys = self.index.keys
        before = int(np.searchsorted(keys, place, side="right")) - 1
        key = int(keys[before]) if before >= 0 and attempt < 2 else 0
        start = int(self.index.pts[key])
        self._all = attempt > 0
        if self._all and self._quick:
            self.close()
            wanted, last, more = self._wanted, self._last, self._more
            self._open(quick=False)
            self._wanted, self._last, self._more, self._all = wanted, last, more, True
        if attempt == 0 and self._at is not None and start <= self._at < int(self.index.pts[place]):
            return
        self._file.container.seek(start if key else min(0, start), stream=self._file.stream)
        self._at = None
        self._frames = self._decode()

    def _decode(self) -> Iterator[av.VideoFrame]:
        context = self._file.stream.codec_context
        skipping = False
        context.skip_frame = "DEFAULT"
        missing = set(self._wanted)
        for packet in self._file.container.demux(self._file.stream):
            time = packet.pts
            # Later ones may be wanted by the next call, after they have passed here.
            skip = not self._all and time is not None and time not in self._wanted and time < self._last
            if skip != skipping:
                context.skip_frame, skipping = ("NONREF" if skip else "DEFAULT"), skip
            yield from packet.decode()
            if not self._more and not self._all and time is not None:
                missing.discard(time)
                if not missing:
                    # All are in the decoder; emptying it is quicker than pushing them out with further frames.
                    yield from self._file.stream.decode(None)
                    return

    def _collect(self, view: View) -> dict[int, np.ndarray]:
        found = {}
        for frame in self._frames:
            if frame.pts is None:
                continue
            self._at = frame.pts if self._more else None
            if frame.pts in self._wanted:
                found[frame.pts] = self._convert(frame, view)
            if frame.pts >= self._last:
                break
        return found

    def _convert(self, frame: av.VideoFrame, view: View) -> np.ndarray:
        # Without a change of size FFmpeg converts 16 pictures of 320×240 in 0.5 ms, with one in 3.5 ms, OpenCV takes
        # 0.5 ms for resizing what is cut out.
        size = (frame.width, frame.height)
        scaler = _reformatter(*size, frame.format.name)
        rgb = scaler.reformat(frame, *size, format="rgb24", threads=1).to_ndarray()
        if self.index.rotation:
            rgb = np.rot90(rgb, self.index.rotation // 90)
        return cut(rgb, view)


def cut(picture: np.ndarray, view: View) -> np.ndarray:
    """Cut a view out of a picture of any size.

    Args:
        picture: `(H, W, 3)` uint8.
        view: What is wanted.

    Returns:
        `(rows, columns, 3)` uint8.
    """
    height, width = picture.shape[:2]
    if (height, width) == (view.height, view.width):
        return picture[view.top : view.top + view.rows, view.left : view.left + view.columns]
    down, right = height / view.height, width / view.width
    top, left = round(view.top * down), round(view.left * right)
    bottom = max(top + 1, round((view.top + view.rows) * down))
    part = picture[top:bottom, left : max(left + 1, round((view.left + view.columns) * right))]
    # Below a factor of 2 bilinear resizing skips no pixel; averaging blocks of 2×2 before takes a tenth of the time of
    # averaging over areas of any size.
    while part.shape[0] >= 2 * view.rows and part.shape[1] >= 2 * view.columns:
        even = part[: part.shape[0] // 2 * 2, : part.shape[1] // 2 * 2]
        part = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(np.ascontiguousarray(part), (view.columns, view.rows), interpolation=cv2.INTER_LINEAR)


def decode_all(path: str | Path, index: VideoIndex) -> int:
    """Decode a file from start to end, as a check.

    Args:
        path: The file.
        index: What `index_video` says of it.

    Returns:
        How many frames were damaged or did not come out.

    Raises:
        BrokenVideoError: Decoding stopped with an error.
    """
    came, damaged = set(), 0
    with _File(path) as file, suppress(EOFError):
        try:
            for frame in file.container.decode(file.stream):
                came.add(frame.pts)
                damaged += frame.is_corrupt
        except _ERRORS as error:
            message = f"{path}: decoding stops after {len(came)} of {len(index.pts)} frames: {_reason(error)}"
            raise BrokenVideoError(message) from error
    return damaged + len(set(index.pts.tolist()) - came)
