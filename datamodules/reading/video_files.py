"""Open video files with PyAV, and index when each frame is shown."""

import errno
import itertools
import struct
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from pcpad.datamodules.reading.containers import refuse_incomplete
from pcpad.errors import UserError, UserValueError
from pcpad.file_kinds import kind_of_file, named
from pcpad.files import regular
from pcpad.limits import OPTION
from pcpad.pictures import MOST_PIXELS as _OF_A_PICTURE

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe"),
    *(".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".asf", ".ogv", ".ogg", ".ogm", ".mxf", ".gif"),
)
"""Files with one of these extensions, in any case, count as videos; for others the content decides."""

MOST_PIXELS = _OF_A_PICTURE // 16
"""Most pixels of a frame that is decoded, as decoders hold several: by default 67 megapixels, twice those of 8K."""

# A damaged or malicious file must not access other files or the network, as playlists and `concat:` names do.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,mxf,gif",
}
# Codecs whose containers hold packets that are never shown.
_DECODED = {"vp8"}
_HEADER = struct.Struct("<qqqqIIIhB")


class BrokenVideoError(UserValueError):
    """A video is damaged, without frames, or missing. The message names the file.

    Its only argument is the message, because a DataLoader rebuilds a worker's exception from its text.
    """


class VideoIndex(NamedTuple):
    """When each frame of a video is shown, and where decoding can start.

    Attributes:
        pts: `(frames,)` int64, presentation times in units of `time_base`, rising.
        keys: int32, positions of the key frames in `pts`. Empty if the file does not state frame times reliably; then
            frames are counted from the start.
        time_base: Seconds per unit.
        end: When the last frame ends, in the same units.
        height: Rows as shown, after rotation.
        width: Columns as shown, after rotation.
        rotation: Degrees by which stored frames have to be rotated counterclockwise: 0, 90, 180 or 270.
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
        """When each frame is shown and the last one ends, in seconds after the first frame; `(frames + 1,)` float64."""
        seconds: np.ndarray = (np.append(self.pts, self.end) - self.pts[0]) * float(self.time_base)
        return seconds

    def pack(self) -> bytes:
        """Pack the index into a few hundred bytes; constant frame rates compress to nearly nothing."""
        base, codec = self.time_base, self.codec.encode()
        numbers = (int(self.pts[0]), self.end, base.numerator, base.denominator)
        sizes = (len(self.pts), self.height, self.width, self.rotation, len(codec))
        body = np.diff(self.pts).astype("<i8").tobytes() + self.keys.astype("<i4").tobytes()
        return _HEADER.pack(*numbers, *sizes) + codec + zlib.compress(body, 1)

    @classmethod
    def unpack(cls, data: bytes, most: int | None = None) -> "VideoIndex":
        """Read an index that `pack` wrote.

        Args:
            data: The packed bytes; not trusted, as the cache file may come with the data.
            most: Largest number of frames to accept.

        Raises:
            Exception: The data is not an index: ValueError, struct.error, zlib.error or ZeroDivisionError.
        """
        first, end, numerator, denominator, frames, height, width, rotation, letters = _HEADER.unpack_from(data)
        start = _HEADER.size + letters
        if not 0 < frames <= (frames if most is None else most) or height * width > MOST_PIXELS or rotation % 90:
            message = f"not a video index: {frames} frames of {width}x{height} in {len(data)} bytes"
            raise UserValueError(message)
        inflate = zlib.decompressobj()
        body = inflate.decompress(data[start:], 12 * frames)
        if inflate.unconsumed_tail or not inflate.eof:
            message = f"not a video index: it does not hold {frames} frames"
            raise UserValueError(message)
        pts = np.cumsum(np.append(first, np.frombuffer(body, "<i8", frames - 1)), dtype=np.int64)
        keys = np.frombuffer(body, "<i4", offset=8 * (frames - 1))
        codec = data[_HEADER.size : start].decode()
        if len(keys) and not 0 <= keys.min() <= keys.max() < frames:
            message = f"not a video index: key frames beyond its {frames} frames"
            raise UserValueError(message)
        rising = bool((np.diff(pts) > 0).all()) and pts[-1] < end <= first + (1 << 53)
        if not (rising and height and width and numerator > 0 and denominator > 0):
            message = f"not a video index: {width}x{height} pixels, {first} to {end} by {numerator}/{denominator} s"
            raise UserValueError(message)
        return cls(pts, keys, Fraction(numerator, denominator), end, height, width, rotation, codec)


def reason_of(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, av.error.InvalidDataError):
        return "damaged (invalid data)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def reason_undecoded(error: Exception) -> str:
    """Why frames could not be decoded, in a few words; FFmpeg does not tell damage from a refused size."""
    large = f", or frames of more than the {MOST_PIXELS} pixels allowed ({OPTION})"
    return reason_of(error) + (large if isinstance(error, av.error.InvalidDataError) else "")


def decoder_options() -> dict[str, str]:
    """The options of decoders: the frames of some streams become larger midway, whatever the header states.

    Decoders round up to whole blocks of up to 128 pixels, hence a little more than the limit.
    """
    return {"max_pixels": str(MOST_PIXELS * 9 // 8)}


# PyAV before 19 refuses files whose titles or comments are not UTF-8 unless told to replace such bytes; 19 takes them.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# The errors that PyAV raises for files: FFmpeg's, and its own, for example for impossible sizes.
ERRORS = (av.error.FFmpegError, OSError, ValueError, MemoryError)


class VideoFile:
    """An open file and its first video stream that is not a cover image.

    Args:
        path: The file.
        quick: Whether to keep FFmpeg from decoding its first frames on opening, which takes 1 of the 12 ms of a clip.
            FFmpeg does so to learn how far frames may be out of order, which most headers state.
    """

    def __init__(self, path: str | Path, quick: bool = False) -> None:
        options = _OPTIONS | decoder_options() | ({"skip_frame": "all"} if quick else {})
        try:
            regular(path)  # FFmpeg would block on a pipe
            # `file:` keeps FFmpeg from taking a name such as `a:b.mp4` for a protocol.
            self.container = av.open(f"file:{path}", options=options, **_LENIENT)
        except ERRORS as error:
            reason = reason_of(error)
            if isinstance(error, UserError):
                pass
            elif Path(path).exists() and not Path(path).stat().st_size:
                reason = "the file is empty"
            elif isinstance(error, av.error.InvalidDataError):
                reason = _instead(Path(path)) or "not a video file in a known format, or damaged"
            elif isinstance(error, av.error.EOFError):
                reason = _instead(Path(path)) or "truncated: the file ends before its first frame"
            elif getattr(error, "errno", None) == errno.EINVAL:
                reason = "a playlist, or a format that is not supported"
            message = f"{path}: {reason}"
            raise BrokenVideoError(message) from error
        streams = [stream for stream in self.container.streams.video if not stream.disposition & 0x400]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            message = f"{path}: the file has no video stream, but {kinds}"
            raise BrokenVideoError(message)
        self.stream = streams[0]
        # DataLoader workers use the cores; frame threads would decode more than is needed, and hold frames.
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = decoder_options()
        self.name = self.stream.codec_context.name

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()


def index_video(path: str | Path) -> VideoIndex:
    """Index when each frame of a file is shown, by reading its packets once and decoding the first frame.

    Frames that an edit list hides are left out.

    Args:
        path: A video file; its content decides, not its name.

    Returns:
        The index.

    Raises:
        BrokenVideoError: Missing, empty, truncated, not a video, without frames, or larger than `MOST_PIXELS`.
    """
    with VideoFile(path) as file:
        size = file.stream.codec_context.width * file.stream.codec_context.height
        if size > MOST_PIXELS:
            message = f"{path}: the header claims {size} pixels per frame, more than the {MOST_PIXELS} allowed"
            message += f"; if the file is trusted, set the environment variable {OPTION} to {16 * size}"
            raise BrokenVideoError(message)
        try:
            shown, first = _look_through(file, path)
            refuse_incomplete(path)
        except ERRORS as error:
            if isinstance(error, BrokenVideoError):
                raise
            message = f"{path}: {_why(error, path)}"
            raise BrokenVideoError(message) from error
        if first is None or not shown:
            message = f"{path}: no frame can be decoded"
            raise BrokenVideoError(message)
        pts = np.asarray(sorted(shown), np.int64)
        keys = np.asarray([place for place, time in enumerate(pts.tolist()) if shown[time][0]], np.int32)
        # A last packet without a duration lasts as long as the one before it.
        last = shown[int(pts[-1])][1] or (int(pts[-1] - pts[-2]) if len(pts) > 1 else 1)
        rotation = round(first.rotation / 90) % 4 * 90
        height, width = (first.width, first.height) if rotation % 180 else (first.height, first.width)
        base = file.stream.time_base or Fraction(1, 1000)
        return VideoIndex(pts, keys, base, int(pts[-1]) + last, height, width, rotation, file.name)


def _why(error: Exception, path: str | Path) -> str:
    """Why FFmpeg failed, from the container's structure if possible, since FFmpeg often says only "End of file"."""
    return _instead(Path(path)) or reason_of(error)


def _instead(path: Path) -> str:
    """What is wrong with a file, or what it is instead of a video; empty if that is unknown."""
    with suppress(OSError):
        try:
            refuse_incomplete(path)
        except UserValueError as reason:
            return str(reason)
        kind = kind_of_file(path)
        if kind is not None and kind.what != "video":
            return f"not a video file in a known format, but {named(kind)}"
    return ""


def _look_through(file: VideoFile, path: str | Path) -> tuple[dict[int, tuple[bool, int]], av.VideoFrame | None]:
    """Map presentation times to (key frame?, duration), and decode one frame."""
    # AVI stores no times; those that FFmpeg invents follow the order of decoding.
    if file.name in _DECODED or ("avi" in file.container.format.name and file.stream.codec_context.has_b_frames):
        return _by_decoding(file)
    shown: dict[int, tuple[bool, int]] = {}
    first, packets, reach = None, 0, 0
    for packet in file.container.demux(file.stream):
        if packet.is_corrupt:
            raise BrokenVideoError(_truncated(file, path, packets))
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:
            continue  # the packet that flushes the decoder
        packets += 1
        reach = max(reach, (packet.pos or 0) + packet.size)
        if packet.is_discard:
            continue
        if packet.pts is None or packet.pts in shown:
            # Elementary streams and old containers provide times only after decoding.
            file.container.seek(0)
            return _by_decoding(file)
        shown[packet.pts] = (packet.is_keyframe, packet.duration or 0)
    # Truncated between two packets; if an edit list hides packets, more bytes follow.
    mp4 = "mp4" in file.container.format.name
    if mp4 and packets < file.stream.frames and reach >= Path(path).stat().st_size:
        raise BrokenVideoError(_truncated(file, path, packets))
    return shown, first


def _truncated(file: VideoFile, path: str | Path, packets: int) -> str:
    stated = f" of the {file.stream.frames} that its header states" if file.stream.frames > packets else ""
    return f"{path}: truncated or damaged after {packets} frames{stated}"


def _by_decoding(file: VideoFile) -> tuple[dict[int, tuple[bool, int]], av.VideoFrame | None]:
    times, kinds, stored = [], [], []
    first = None
    for packet in file.container.demux(file.stream):
        if packet.size and packet.dts is not None:
            stored.append(packet.dts)
        for frame in packet.decode():
            first = first or frame
            times.append(frame.pts)
            kinds.append((bool(frame.key_frame), frame.duration or 0))
    known = [time for time in times if time is not None]
    if len(known) == len(times) and all(a < b for a, b in itertools.pairwise(known)):
        return dict(zip(known, kinds, strict=True)), first
    # Frames are shown in order, at the stored times.
    stored = sorted(set(stored))
    rate = file.stream.average_rate
    if len(stored) < len(times) and rate and file.container.format.name in ("mpeg", "mpegvideo"):
        # MPEG-1 and 2 have one frame rate per stream, and need no stored times.
        step = 1 / (rate * (file.stream.time_base or Fraction(1, 90000)))
        return {round(number * step): (False, 0) for number in range(len(times))}, first
    if len(stored) < len(times):
        message = "frames without times: convert it with `ffmpeg -i IN OUT.mp4`, which adds them"
        raise UserValueError(message)
    return dict.fromkeys(stored[: len(times)], (False, 0)), first


def decode_all(path: str | Path, index: VideoIndex) -> int:
    """Decode a file from start to end, as a check.

    Args:
        path: The file.
        index: Its index, from `index_video`.

    Returns:
        How many frames were damaged or missing.

    Raises:
        BrokenVideoError: Decoding stopped with an error.
    """
    came, damaged = [], 0
    with VideoFile(path) as file, suppress(EOFError):
        try:
            for frame in file.container.decode(file.stream):
                came.append(frame.pts)
                damaged += frame.is_corrupt
        except ERRORS as error:
            message = f"{path}: decoding stops after {len(came)} of {len(index.pts)} frames: {reason_undecoded(error)}"
            raise BrokenVideoError(message) from error
    if not len(index.keys):
        return damaged + max(0, len(index.pts) - len(came))
    return damaged + len(set(index.pts.tolist()) - set(came))
