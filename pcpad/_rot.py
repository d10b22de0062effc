"""Find damage in the middle of JPEG files that decoders ignore, by the files' structure.

A JPEG has no checksums, and a decoder that loses its place recovers within a few blocks, so a flipped bit usually
leaves a valid file of other pixels: nothing can detect that (libjpeg and FFmpeg report one flipped bit in six).
What can be detected is a stretch of other bytes: random ones contain markers that no scan can hold; a stretch of zeros
repeats the same coefficient over and over, which no picture does.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from typing import NamedTuple

from pcpad.errors import UserValueError

__all__ = ["refuse_rot"]

_ZEROS = bytes(32)
_MARK = re.compile(rb"\xff[^\x00\xff]")
_NOTED = {0xC0, 0xC1, 0xC2, 0xC4, 0xDD}
_AFTER_SCANS = {0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}


def refuse_rot(data: bytes, format: str | None) -> None:
    """Refuse a JPEG file whose pixel data cannot be as it was written (JPEG of 500x375: 2 % of the time to decode it).

    Args:
        data: The whole file.
        format: Pillow's name of its format.

    Raises:
        ValueError: The file is damaged.
    """
    if format in ("JPEG", "MPO"):
        _Jpeg(data).look()


class _Component(NamedTuple):
    across: int
    down: int


class _Jpeg:
    """Walks over the segments of a JPEG file up to its first end mark."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        # Not by NumPy, which is as quick by itself and takes four times as long between two calls of a decoder.
        self.marks = [mark.start() for mark in _MARK.finditer(data)]  # a handful, unless there are restart marks
        self.first_symbols: dict[int, int] = {}  # per Huffman table: the symbol of the code of zeros
        self.components: dict[int, _Component] = {}
        self.size = (0, 0)
        self.interval = 0
        self.progressive = False

    def look(self) -> None:
        data, at, last, scans = self.data, 2, len(self.data) - 4, 0
        while at <= last:
            kind = data[at + 1]
            if kind == 0xD9:
                return
            if kind in (0xFF, 0x01, 0xD8):
                at += 1 if kind == 0xFF else 2
                continue
            end = at + 2 + (data[at + 2] << 8) + data[at + 3]
            if data[at] != 0xFF or end > len(data) or (scans and kind not in _AFTER_SCANS):
                if scans:
                    raise _damaged(at, "are no markers of a JPEG file")
                return  # the decoder says what is wrong with the header
            if kind == 0xDA:
                stop = self._look_at_scan(data[at + 4 : end], end)
                if not stop:
                    return
                at, scans = stop, scans + 1
                continue
            if kind in _NOTED:
                self._note(kind, data[at + 4 : end])
            at = end

    def _note(self, kind: int, body: bytes) -> None:
        if kind == 0xC4:
            at = 0
            while at + 17 < len(body):
                symbols = sum(body[at + 1 : at + 17])
                if symbols:
                    self.first_symbols[body[at]] = body[at + 17]
                at += 17 + symbols
        elif kind == 0xDD and len(body) >= 2:
            self.interval = int.from_bytes(body[:2], "big")
        elif kind != 0xDD and len(body) >= 6:
            self.progressive = kind == 0xC2
            self.size = (int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"))
            for at in range(6, len(body) - 2, 3):
                self.components[body[at]] = _Component(body[at + 1] >> 4, body[at + 1] & 15)

    def _look_at_scan(self, head: bytes, start: int) -> int:
        """Check a scan's data; return where they end, or 0 where nothing more can be checked."""
        place = first = bisect_left(self.marks, start)
        while place < len(self.marks) and 0xD0 <= self.data[self.marks[place] + 1] <= 0xD7:
            place += 1
        if place == len(self.marks) or not self.components:
            return 0  # truncated, which is checked elsewhere, or of a kind that is not checked
        end: int = self.marks[place]
        if self.interval or place > first:
            kinds = [self.data[mark + 1] for mark in self.marks[first:place]]
            self._look_at_restarts(head[1 : 1 + 2 * head[0] : 2], kinds, start)
        at = self.data.find(_ZEROS, start, end)
        if at >= 0:
            after = end - len(self.data[at:end].lstrip(b"\0"))
            # Zeros before the end mark are padding, or what `refuse_cut_scan` looks for.
            if after < end and (self._is_absurd(head[2 : 2 + 2 * head[0] : 2]) or _fails_in_ffmpeg(self.data)):
                raise _damaged(at, f"are {after - at} zeros, which no encoder writes")
        return end

    def _look_at_restarts(self, scanned: bytes, kinds: list[int], start: int) -> None:
        expected = 0
        if self.interval:
            units = self._units(scanned)
            if units is None:
                return
            expected = math.ceil(units / self.interval) - 1
        if any(kind != 0xD0 + number % 8 for number, kind in enumerate(kinds)):
            raise _damaged(start, "hold restart marks that do not follow one another")
        if len(kinds) < expected:
            message = f"truncated: its pixel data end at restart mark {len(kinds)} of {expected}"
            raise UserValueError(message)
        # Some encoders write one more before the end mark.
        if len(kinds) > expected + bool(self.interval):
            raise _damaged(start, f"hold {len(kinds)} restart marks for {expected}")

    def _units(self, scanned: bytes) -> int | None:
        """How many units a scan has that restarts are counted by; None where the file says that elsewhere."""
        parts = [self.components.get(name) for name in scanned]
        if not self.size[0] or not parts or any(part is None or not part.across or not part.down for part in parts):
            return None
        across, down = (max(one[axis] for one in self.components.values()) for axis in (0, 1))
        height, width = self.size
        if len(parts) == 1 and parts[0] is not None:
            width = math.ceil(width * parts[0].across / across)
            height = math.ceil(height * parts[0].down / down)
            across = down = 1
        return math.ceil(width / (8 * across)) * math.ceil(height / (8 * down))

    def _is_absurd(self, tables: bytes) -> bool:
        """Whether zeros stand for coefficients other than 0, block after block, which fills them with one value."""
        symbols = [self.first_symbols.get(0x10 | number & 15, 0) for number in tables]
        return not self.progressive and any(symbol & 15 for symbol in symbols)


def _damaged(at: int, why: str) -> UserValueError:
    return UserValueError(f"damaged: its pixel data from byte {at} on {why}")


def _fails_in_ffmpeg(data: bytes) -> bool:
    """Whether a decoder that reports invalid codes, which libjpeg does not, finds any."""
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode"}
    try:
        frames = [frame for packet in (av.Packet(data), None) for frame in decoder.decode(packet)]
    except av.error.InvalidDataError:
        return True
    except av.error.FFmpegError:
        return False  # a kind of JPEG that FFmpeg does not know
    return any(frame.is_corrupt for frame in frames)
