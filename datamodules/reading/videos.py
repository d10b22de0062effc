"""Decode exactly the frames asked for, also at variable frame rates."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from pcpad.datamodules.reading.video_files import (
    ERRORS,
    BrokenVideoError,
    VideoFile,
    VideoIndex,
    decoder_options,
    reason_undecoded,
)
from pcpad.errors import UserValueError

# Decoders that can decode at 1/2, 1/4 and 1/8 of the size, from part of each block. H.264, HEVC, VP9 and AV1 cannot.
_LOWRES = {"mjpeg": 3, "mpeg4": 3, "mpeg2video": 3, "mpeg1video": 3, "h263": 3, "msmpeg4v3": 3, "flv": 3}


class View(NamedTuple):
    """The part of the frames to return: a box of the whole frame after resizing it to height × width."""

    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int


@lru_cache(maxsize=8)
def _reformatter(*_: object) -> VideoReformatter:
    """One converter per size and format: creating one takes longer than converting a small frame."""
    return VideoReformatter()


class Video:
    """A file opened for decoding; close it, or use it in a `with` statement.

    Open it in the process that decodes, never before a fork.

    Args:
        path: The file.
        index: Its index, from `index_video`.
        least: Shortest side that decoded frames may be reduced to, if the codec can decode at 1/2, 1/4 or 1/8 of the
            size (`_LOWRES`: MPEG-4 part 2, Motion JPEG and older; H.264 cannot). 0: no reduction.

    Raises:
        BrokenVideoError: The file cannot be opened.
    """

    def __init__(self, path: str | Path, index: VideoIndex, least: int = 0) -> None:
        self.path = path
        self.index = index
        self._least = least
        self._open(quick=True)

    def _open(self, quick: bool) -> None:
        self._file = VideoFile(self.path, quick)
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
            self._file.stream.codec_context.options = decoder_options() | {"lowres": str(reduced)}

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
        """Decode exactly the frames asked for, also at variable frame rates.

        Decoding starts at the key frame before the first of them, or continues where the last call ended. Frames that
        are neither requested nor references of other frames are not decoded.

        Args:
            positions: Frame numbers in order of presentation, given in any order, with repetitions allowed.
            view: The part of each frame to return; None: all of it.
            more: Whether later frames will be read next: then the decoder is not flushed.

        Returns:
            `(len(positions), rows, columns, 3)` uint8 RGB, rotated as the file states.

        Raises:
            BrokenVideoError: A frame cannot be decoded.
        """
        places = sorted(set(map(int, positions)))
        times = [int(self.index.pts[place]) for place in places]
        view = view or View(*(self.index.height, self.index.width, 0, 0), self.index.height, self.index.width)
        self._wanted, self._last, self._more = set(times), times[-1], more
        reason: Exception | None = None
        # Wrong key frames, order or reference marks in a file cost time, not exactness.
        for attempt in range(3):
            try:
                self._start(places[0], attempt)
                found = self._collect(view)
            except ERRORS as error:
                reason, self._at = error, None
                continue
            if len(found) == len(places):
                return np.stack([found[int(self.index.pts[int(place)])] for place in positions])
            reason, self._at = None, None
        why = reason_undecoded(reason) if reason else "a frame is missing"
        first, last = self.index.times[[places[0], places[-1]]]
        message = f"{self.path}: the frames from {first:.3f} s to {last:.3f} s cannot all be decoded: {why}"
        raise BrokenVideoError(message) from reason

    def _start(self, place: int, attempt: int) -> None:
        """Prepare to decode from a position: continue, or seek to the key frame before it, or to the start."""
        keys = self.index.keys
        # Containers without a table of key frames may seek a little too far: then use the previous key frame.
        before = int(np.searchsorted(keys, place, side="right")) - 1 - attempt
        key = int(keys[before]) if before >= 0 and attempt < 2 else 0
        start = int(self.index.pts[key])
        self._all = attempt > 0 or not len(keys)
        if attempt > 0 and self._quick:
            self.close()
            wanted, last, more = self._wanted, self._last, self._more
            self._open(quick=False)
            self._wanted, self._last, self._more, self._all = wanted, last, more, True
        if attempt == 0 and self._at is not None and start <= self._at < int(self.index.pts[place]):
            return
        self._file.container.seek(start if key else min(0, start), stream=self._file.stream)
        self._at = None
        self._frames = self._decode(after_seek=key > 0) if len(keys) else self._count()

    def _count(self) -> Iterator[av.VideoFrame]:
        """Decode from the start, replacing each frame's time with that of the index."""
        frames = self._file.container.decode(self._file.stream)
        for time, frame in zip(self.index.pts.tolist(), frames, strict=False):
            frame.pts = time
            yield frame

    def _decode(self, after_seek: bool) -> Iterator[av.VideoFrame]:
        context = self._file.stream.codec_context
        skipping = False
        context.skip_frame = "DEFAULT"
        missing = set(self._wanted)
        for packet in self._file.container.demux(self._file.stream):
            if after_seek and not packet.is_keyframe:
                continue  # some decoders output frames whose reference is missing
            after_seek = False
            time = packet.pts
            # The next call may need later frames, which have passed through the decoder by then.
            skip = not self._all and time is not None and time not in self._wanted and time < self._last
            if skip != skipping:
                context.skip_frame, skipping = ("NONREF" if skip else "DEFAULT"), skip
            yield from packet.decode()
            if not self._more and not self._all and time is not None:
                missing.discard(time)
                if not missing:
                    # All are in the decoder; flushing it is faster than decoding further frames.
                    yield from self._file.stream.decode(None)
                    return

    def _collect(self, view: View) -> dict[int, np.ndarray]:
        found = {}
        for frame in self._frames:
            if frame.is_corrupt:
                # FFmpeg fills in damaged parts, and predicts the following frames from them.
                message = "a frame is damaged"
                raise UserValueError(message)
            if frame.pts is None:
                continue
            self._at = frame.pts if self._more else None
            if frame.pts in self._wanted:
                found[frame.pts] = self._convert(frame, view)
            if frame.pts >= self._last:
                break
        return found

    def _convert(self, frame: av.VideoFrame, view: View) -> np.ndarray:
        # FFmpeg converts 16 frames of 320×240 in 0.5 ms without resizing and in 3.5 ms with it, while OpenCV resizes
        # the cut-out part in 0.5 ms.
        size = (frame.width, frame.height)
        scaler = _reformatter(*size, frame.format.name)
        rgb = scaler.reformat(frame, *size, format="rgb24", threads=1).to_ndarray()
        if self.index.rotation:
            rgb = np.rot90(rgb, self.index.rotation // 90)
        return cut(rgb, view)


def cut(picture: np.ndarray, view: View) -> np.ndarray:
    """Cut a view out of a frame of any size.

    Args:
        picture: `(H, W, 3)` uint8.
        view: The part to return.

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
    # Bilinear resizing skips no pixel at factors below 2; averaging 2×2 blocks first takes a tenth of the time of
    # averaging over areas of any size.
    while part.shape[0] >= 2 * view.rows and part.shape[1] >= 2 * view.columns:
        even = part[: part.shape[0] // 2 * 2, : part.shape[1] // 2 * 2]
        part = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(np.ascontiguousarray(part), (view.columns, view.rows), interpolation=cv2.INTER_LINEAR)
