"""Detect truncated and damaged video files by their container's structure, which FFmpeg does not report.

FFmpeg takes the end of a file for the end of the video, and skips bytes it does not know. But most containers state
the length of each of their parts. Not detected this way: a stream that was never finished (live recordings state no
length) and was cut between two parts; MPEG transport and program streams cut between two packets; changed bytes within
a frame without a checksum (Ogg has checksums, and Matroska as FFmpeg writes it). `pcpad check` decodes all frames,
which detects most of these.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pcpad.errors import UserValueError
from pcpad.files import opened

__all__ = ["refuse_incomplete"]

_EBML, _SEGMENT, _CLUSTER, _CRC = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xBF
_CUES_AND_SO_ON = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, _CRC}
_IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xEC, 0xAF, 0x5854, _CRC}
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MXF = bytes.fromhex("060e2b34020501010d01020101")
_BITS_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_END = 1 << 16
_MOST = 1 << 28  # bytes that are read into memory at once, if the file is that large


def refuse_incomplete(path: str | Path) -> None:
    """Refuse a video file that ends before its parts do, or has unknown bytes between them.

    Args:
        path: The file. Unknown containers are accepted.

    Raises:
        ValueError: It is truncated or damaged.
        OSError: It cannot be read.
    """
    path = Path(path)
    with opened(path) as file:
        head = file.read(16)
        file.seek(0)
        look = _checker(head)
        if look is not None:
            look(file, os.fstat(file.fileno()).st_size)


def _checker(head: bytes) -> Callable[[BinaryIO, int], None] | None:
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _look_at_matroska
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _look_at_boxes
    if head[:4] == b"RIFF":
        return _look_at_riff
    if head[:4] == b"OggS":
        return _look_at_ogg
    if head[:4] == b"GIF8":
        return _look_at_gif
    if head[: len(_ASF_HEADER)] == _ASF_HEADER:
        return _look_at_asf
    return _look_at_mxf if head[: len(_MXF)] == _MXF else None


def _truncated(size: int, stated: int) -> UserValueError:
    return UserValueError(f"truncated: {size} of the {stated} bytes that its parts take")


def _damaged(at: int) -> UserValueError:
    return UserValueError(f"damaged: the bytes at {at} are not part of such a file")


def _element(file: BinaryIO) -> tuple[int, int | None] | None:
    """Read an EBML element's id and size (None: unknown); None at the end of the file."""
    head = file.read(12)
    if not head:
        return None
    first = head[0]
    length = 9 - first.bit_length()
    if length > 4 or len(head) < length + 1:
        return 0, None
    sizes = 9 - head[length].bit_length()
    if sizes > 8 or len(head) < length + sizes:
        return 0, None
    size = int.from_bytes(head[length : length + sizes], "big") & ((1 << 7 * sizes) - 1)
    file.seek(length + sizes - len(head), os.SEEK_CUR)
    return int.from_bytes(head[:length], "big"), None if size == (1 << 7 * sizes) - 1 else size


def _look_at_matroska(file: BinaryIO, size: int) -> None:
    inside = False
    in_cluster = False  # a cluster of unknown size, whose parts are at the level of clusters
    while (at := file.tell()) < size:
        element = _element(file)
        if element is None:
            return
        kind, length = element
        start = file.tell()
        if not inside:
            if kind == _SEGMENT:
                inside = True
                if length is not None and start + length > size:
                    raise _truncated(size, start + length)
            elif kind == 0 or length is None:
                raise _damaged(at)
            else:
                file.seek(start + length)
            continue
        if kind == _CLUSTER and length is None:
            in_cluster = True
            continue
        if kind in (_EBML, _SEGMENT):  # another file appended, which FFmpeg reads too
            inside = kind == _SEGMENT
            file.seek(start + (length or 0) if kind == _EBML else start)
            continue
        known = kind == _CLUSTER or kind in _CUES_AND_SO_ON or (in_cluster and kind in _IN_CLUSTER)
        if not known or length is None:
            raise _damaged(at)
        if start + length > size:
            raise _truncated(size, start + length)
        in_cluster = in_cluster and kind != _CLUSTER
        if kind == _CLUSTER and length <= _MOST:
            _look_at_cluster(file.read(length), start)
        else:
            file.seek(start + length)


def _look_at_cluster(data: bytes, start: int) -> None:
    """Walk over the blocks of a cluster, and verify its checksum if it has one."""
    at = 0
    while at < len(data):
        first = data[at]
        length = 1 if first & 0x80 else 2 if first & 0x40 else 0
        kind = int.from_bytes(data[at : at + length], "big")
        place = at + length
        if kind not in _IN_CLUSTER or place >= len(data) or not data[place]:
            raise _damaged(start + at)
        sizes = 9 - data[place].bit_length()
        size = int.from_bytes(data[place : place + sizes], "big") & ((1 << 7 * sizes) - 1)
        at = place + sizes + size
        if at > len(data):
            raise _damaged(start + place)
        # A checksum comes first and covers everything after it.
        stated = int.from_bytes(data[at - 4 : at], "little")
        if kind == _CRC and size == 4 and zlib.crc32(memoryview(data)[at:]) != stated:
            message = f"damaged: the part from byte {start} to {start + len(data)} does not match its checksum"
            raise UserValueError(message)


def _look_at_boxes(file: BinaryIO, size: int) -> None:
    """MP4 and QuickTime: a sequence of boxes."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 0:
            return  # the box extends to the end of the file
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            if any(head):  # zeros behind the last box are padding
                raise _damaged(at)
            return
        if at + length > size:
            raise _truncated(size, at + length)
        at += length
    if at < size:
        file.seek(at)
        if any(file.read()):
            raise _truncated(size, at + 8)


def _look_at_riff(file: BinaryIO, size: int) -> None:
    """AVI: large files are a sequence of several RIFF chunks."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        # Writers that never filled it in leave 0 or a round number.
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF, 0x7FFFFFFF):
            return
        if at + 8 + length > size:
            raise _truncated(size, at + 8 + length)
        at += 8 + length + length % 2


def _look_at_ogg(file: BinaryIO, size: int) -> None:
    """Ogg: a sequence of pages with checksums; the last page of each stream is marked."""
    if size > _MOST:
        return
    data = file.read()
    at, marked = 0, False
    while at < len(data):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            raise _damaged(at)
        end = at + 27 + data[at + 26]
        end += sum(data[at + 27 : end])
        if end > len(data):
            raise _truncated(size, end)
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        if _ogg_sum(page) != int.from_bytes(data[at + 22 : at + 26], "little"):
            message = f"damaged: the part from byte {at} to {end} does not match its checksum"
            raise UserValueError(message)
        marked |= bool(data[at + 5] & 4)
        at = end
    if not marked:
        message = "truncated: its last page is not marked as the last"
        raise UserValueError(message)


def _ogg_sum(data: bytes) -> int:
    """Ogg's CRC: zlib's with the bits of each byte, and of the result, reversed."""
    reversed_data = zlib.crc32(data.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_data:032b}"[::-1], 2)


def _look_at_gif(file: BinaryIO, size: int) -> None:
    if size > _MOST:
        return
    data = file.read()
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while at < len(data):
        if data[at] == 0x3B:
            return
        if data[at] == 0x21:
            at += 2
        elif data[at] == 0x2C and at + 9 < len(data):
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif data[at] == 0 and not any(data[at : at + 64]):
            at += 1  # padding
            continue
        else:
            raise _damaged(at)
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    message = "truncated: the file has no end mark"
    raise UserValueError(message)


def _look_at_asf(file: BinaryIO, size: int) -> None:
    """Windows Media: the header states the file's size, unless it was broadcast."""
    head = file.read(_END)
    at = head.find(_ASF_FILE)
    if at < 0 or at + 92 > len(head):
        return
    (stated,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    if not flags & 1 and stated > size:
        raise _truncated(size, stated)


def _look_at_mxf(file: BinaryIO, size: int) -> None:
    """MXF: a sequence of keys, lengths and values; the first states where the last part is."""
    at, footer = 0, 0
    while at + 17 <= size:
        file.seek(at)
        head = file.read(128)
        if head[:4] != _MXF[:4]:
            raise _damaged(at)
        sizes = head[16] & 0x7F if head[16] & 0x80 else 0
        length = int.from_bytes(head[17 : 17 + sizes], "big") if sizes else head[16]
        if not at and len(head) >= 49 + sizes:
            (footer,) = struct.unpack_from(">Q", head, 17 + sizes + 24)
        at += 17 + sizes + length
    if max(at, footer + 1) > size:
        raise _truncated(size, max(at, footer))
