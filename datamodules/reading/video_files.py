"""Video files as PyAV opens them: what is in them, and when each frame is shown."""

import errno
import itertools
import struct
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

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
"""File names with one of these endings, in any case, count as videos; of others the content decides."""

MOST_PIXELS = _OF_A_PICTURE // 16
"""The pixels of the largest frame decoded, as decoders hold several: by default 67 megapixels, twice those of 8K."""

# A damaged or hostile file must lead to no other file and no network: playlists and `concat:` names do.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,mxf,gif",
}
# Their containers hold packets that are never shown.
_DECODED = {"vp8"}
_HEADER = struct.Struct("<qqqqIIIhB")


class BrokenVideoError(UserValueError):
    """A video that cannot be used: damaged, without pictures, or missing. The message names the file.

    It takes the message alone, because a DataLoader rebuilds a worker's exception from its text.
    """


class VideoIndex(NamedTuple):
    """When each frame of a video is shown, and where decoding can start.

    Attributes:
        pts: `(frames,)` int64, presentation times in units of `time_base`, rising.
        keys: int32, positions of the key frames in `pts`. None at all: the file does not tell frames' times reliably,
            they are those of frames counted from the start.
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
        seconds: np.ndarray = (np.append(self.pts, self.end) - self.pts[0]) * float(self.time_base)
        return seconds

    def pack(self) -> bytes:
        """Write the index in some hundred bytes; constant frame rates compress to nearly nothing."""
        base, codec = self.time_base, self.codec.encode()
        numbers = (int(self.pts[0]), self.end, base.numerator, base.denominator)
        sizes = (len(self.pts), self.height, self.width, self.rotation, len(codec))
        body = np.diff(self.pts).astype("<i8").tobytes() + self.keys.astype("<i4").tobytes()
        return _HEADER.pack(*numbers, *sizes) + codec + zlib.compress(body, 1)

    @classmethod
    def unpack(cls, data: bytes, most: int | None = None) -> "VideoIndex":
        """Read what `pack` wrote.

        Args:
            data: Those bytes; in a file beside the user's data they may be anything.
            most: More frames than these are refused.

        Raises:
            Exception: It did not: ValueError, struct.error, zlib.error or ZeroDivisionError.
        """
        first, end, numerator, denominator, frames, height, width, rotation, letters = _HEADER.unpack_from(data)
        start = _HEADER.size + letters
        if not 0 < frames <= (frames if most is None else most) or height * width > MOST_PIXELS or rotation % 90:
            message = f"no index of a video: {frames} frames of {width}x{height} in {len(data)} bytes"
            raise UserValueError(message)
        inflate = zlib.decompressobj()
        body = inflate.decompress(data[start:], 12 * frames)
        if inflate.unconsumed_tail or not inflate.eof:
            message = f"no index of a video: more or less than {frames} frames in it"
            raise UserValueError(message)
        pts = np.cumsum(np.append(first, np.frombuffer(body, "<i8", frames - 1)), dtype=np.int64)
        keys = np.frombuffer(body, "<i4", offset=8 * (frames - 1))
        codec = data[_HEADER.size : start].decode()
        if len(keys) and not 0 <= keys.min() <= keys.max() < frames:
            message = f"no index of a video: key frames beyond its {frames} frames"
            raise UserValueError(message)
        rising = bool((np.diff(pts) > 0).all()) and pts[-1] < end <= first + (1 << 53)
        if not (rising and height and width and numerator > 0 and denominator > 0):
            message = f"no index of a video: {width}x{height} pixels, {first} to {end} by {numerator}/{denominator} s"
            raise UserValueError(message)
        return cls(pts, keys, Fraction(numerator, denominator), end, height, width, rotation, codec)


def reason_of(error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    if isinstance(error, av.error.InvalidDataError):
        return "damaged (invalid data)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def reason_undecoded(error: Exception) -> str:
    """Say in a few words why pictures could not be decoded; FFmpeg does not tell damage from a size it was denied."""
    large = f", or pictures of more than the {MOST_PIXELS} pixels allowed ({OPTION})"
    return reason_of(error) + (large if isinstance(error, av.error.InvalidDataError) else "")


def decoder_options() -> dict[str, str]:
    """What decoders are opened with: some streams' pictures grow midway, whatever the header says.

    Decoders count in whole blocks, of up to 128 pixels: hence a little more than the limit.
    """
    return {"max_pixels": str(MOST_PIXELS * 9 // 8)}


# What PyAV raises on files: FFmpeg's errors, and its own for impossible sizes and the like.
ERRORS = (av.error.FFmpegError, OSError, ValueError, MemoryError)


class VideoFile:
    """An open file and its first video stream that is no cover picture.

    Args:
        path: The file.
        quick: Whether to keep FFmpeg from decoding its first frames on opening, 1 ms of the 12 that a clip takes. It
            does so to find out how far frames may be out of order, which most files say in their headers.
    """

    def __init__(self, path: str | Path, quick: bool = False) -> None:
        options = _OPTIONS | decoder_options() | ({"skip_frame": "all"} if quick else {})
        try:
            regular(path)  # FFmpeg would wait for somebody to write to a pipe
            # `file:` keeps a name such as `a:b.mp4` from being taken for a protocol.
            self.container = av.open(f"file:{path}", options=options, metadata_errors="replace")
        except ERRORS as error:
            reason = reason_of(error)
            if isinstance(error, UserError):
                pass
            elif Path(path).exists() and not Path(path).stat().st_size:
                reason = "the file is empty"
            elif isinstance(error, av.error.InvalidDataError):
                reason = _instead(Path(path)) or "no video file in a known format, or damaged"
            elif isinstance(error, av.error.EOFError):
                reason = _instead(Path(path)) or "truncated: the file ends before its first picture"
            elif getattr(error, "errno", None) == errno.EINVAL:
                reason = "a playlist, or another format than those read"
            message = f"{path}: {reason}"
            raise BrokenVideoError(message) from error
        streams = [stream for stream in self.container.streams.video if not stream.disposition & 0x400]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            message = f"{path}: the file has no moving pictures, but {kinds}"
            raise BrokenVideoError(message)
        self.stream = streams[0]
        # A core is a DataLoader's worker; frame threads would decode beyond what is wanted, and hold frames.
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = decoder_options()
        self.name = self.stream.codec_context.name

    def __enter__(self) -> "VideoFile":
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
        BrokenVideoError: Missing, empty, truncated, no video, without pictures, or of more than `MOST_PIXELS`.
    """
    with VideoFile(path) as file:
        size = file.stream.codec_context.width * file.stream.codec_context.height
        if size > MOST_PIXELS:
            message = f"{path}: the header claims {size} pixels per picture, more than the {MOST_PIXELS} allowed"
            message += f"; if it is what it should be, set the environment variable {OPTION} to {16 * size}"
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


def _why(error: Exception, path: str | Path) -> str:
    """Why FFmpeg failed; by the container's parts where these tell, as FFmpeg often says "End of file" alone."""
    return _instead(Path(path)) or reason_of(error)


def _instead(path: Path) -> str:
    """What a file lacks to be a video, or what it is instead; nothing where that does not show."""
    with suppress(OSError):
        try:
            refuse_incomplete(path)
        except UserValueError as reason:
            return str(reason)
        kind = kind_of_file(path)
        if kind is not None and kind.what != "video":
            return f"no video file in a known format, but {named(kind)}"
    return ""


def _look_through(file: VideoFile, path: str | Path) -> tuple[dict[int, tuple[bool, int]], av.VideoFrame | None]:
    """Map presentation time to (key frame?, duration); and decode one picture."""
    # AVI stores no times; those that FFmpeg makes up are in the order of decoding.
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
    # Shown one after the other at the times at which they are stored.
    stored = sorted(set(stored))
    rate = file.stream.average_rate
    if len(stored) < len(times) and rate and file.container.format.name in ("mpeg", "mpegvideo"):
        # MPEG-1 and 2 have one rate in all of a stream, and need no times of their own.
        step = 1 / (rate * (file.stream.time_base or Fraction(1, 90000)))
        return {round(number * step): (False, 0) for number in range(len(times))}, first
    if len(stored) < len(times):
        message = "frames without times; `ffmpeg -i IN OUT.mp4` gives them some"
        raise UserValueError(message)
    return dict.fromkeys(stored[: len(times)], (False, 0)), first


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
