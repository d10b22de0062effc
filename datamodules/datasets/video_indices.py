"""What is known of videos: the index of each, kept in one file beside the data and written while it is made."""

from __future__ import annotations

import itertools
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.reading.caches import cache_places, read_arrays, write_arrays
from pcpad.datamodules.reading.video_files import VideoIndex

__all__ = ["Entry", "KnownVideos", "is_index"]

FILE_NAME = "pcpad_videos.npz"
MOST_FRAMES = 1 << 20  # of a folder of frames: ten hours
UNREADABLE = (ValueError, ArithmeticError, struct.error, zlib.error)
"""What `VideoIndex.unpack` raises on bytes that are no index."""

# Raised when the same file would give another index.
_FORMAT = 3
_KINDS = {
    **{"format": "<i8", "names": "|u1", "reasons": "|u1", "sizes": "<i8", "changed": "<i8", "ends": "<i8"},
    "packed": "|u1",
}
# Between two writes of what was found. All that is known is written each time, 2 s for 240 000 videos, which then is a
# twentieth of the time at most.
_SECONDS = 10.0
_SHARE = 20


class Entry(NamedTuple):
    """What is known of a file: its size and time of change then, and its index or why it has none."""

    size: int
    changed: int
    packed: bytes
    reason: str


class KnownVideos:
    """What the cache files of a data set know, read once, and what is found out in addition.

    The file is `root/pcpad_videos.npz`; where `root` cannot be written to, it lies below `$XDG_CACHE_HOME/pcpad`
    (`~/.cache/pcpad`).

    Args:
        root: The data set's folder.
        beside: Whether a file may be left in `root`; else it lies in the cache folder.
    """

    def __init__(self, root: Path, *, beside: bool = True) -> None:
        self.root = root
        self.beside = beside
        self._places = cache_places(root, FILE_NAME)[0 if beside else 1 :]
        self._read: dict[Path, tuple[object, _Kept]] = {}
        self._found: dict[str, Entry] = {}
        self._due = time.monotonic() + _SECONDS
        self._refresh()

    def find(self, name: str, state: tuple[int, int]) -> Entry | None:
        """What is known of a file in that state: size and time of change.

        Args:
            name: The file, relative to the root.
            state: As it is now.

        Returns:
            It; None where the file is new, or has changed.
        """
        # What is unchanged in both places and broken in one was found to be so by decoding all of it.
        places = (entry for _, kept in self._read.values() if (entry := kept.get(name)))
        found = [entry for entry in (self._found.get(name), *places) if entry and entry[:2] == state]
        return next((entry for entry in found if not entry.packed), found[0] if found else None)

    def add(self, name: str, entry: Entry) -> None:
        """Take note of a file; now and then all that is known is written, so that an interrupted start continues.

        Args:
            name: The file, relative to the root.
            entry: What was found out.
        """
        self._found[name] = entry
        if time.monotonic() >= self._due:
            began = time.monotonic()
            self.write(quietly=True)
            self._due = time.monotonic() + max(_SECONDS, _SHARE * (time.monotonic() - began))

    def write(self, *, quietly: bool = False) -> None:
        """Write all that is known to the first place that can be written to.

        Args:
            quietly: Whether to say nothing where there is none.
        """
        self._refresh()  # another run may have found out others
        known = _merged([kept for _, kept in self._read.values()]) | self._found
        unkept = write_arrays(self._places, _as_arrays(known))
        if unkept and not quietly:
            rank_zero_warn(f"the index of videos could not be kept and is built in each run: {unkept}")
        for place in self._places:
            if place in self._read and _version(place) != self._read[place][0]:
                self._read[place] = (_version(place), self._read[place][1])  # our own

    def _refresh(self) -> None:
        for place in self._places:
            version = _version(place)
            if place not in self._read or self._read[place][0] != version:
                self._read[place] = (version, _read(place))


class _Kept:
    """What one file knows: flat buffers, of which an entry is made when it is asked for."""

    def __init__(
        self,
        names: Sequence[str] = (),
        sizes: Sequence[int] | np.ndarray = (),
        changed: Sequence[int] | np.ndarray = (),
        parts: tuple[Sequence[int] | np.ndarray, bytes] = ((0,), b""),
        reasons: Sequence[str] = (),
    ) -> None:
        self._rows = {name: row for row, name in enumerate(names)}
        self._sizes, self._changed, self._reasons = sizes, changed, reasons
        self._ends, self._packed = parts

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return ((name, self._entry(row)) for name, row in self._rows.items())

    def get(self, name: str) -> Entry | None:
        row = self._rows.get(name)
        return None if row is None else self._entry(row)

    def _entry(self, row: int) -> Entry:
        packed = self._packed[self._ends[row] : self._ends[row + 1]]
        return Entry(int(self._sizes[row]), int(self._changed[row]), packed, self._reasons[row])


def is_index(entry: Entry) -> bool:
    """Whether an index can be read, which takes 20 µs where making one takes 5 ms. No frame takes less than a byte.

    Args:
        entry: Of a cache file, which may have come with the data and hold anything.

    Returns:
        False where it has to be rebuilt.
    """
    try:
        VideoIndex.unpack(entry.packed, max(entry.size, MOST_FRAMES))
    except UNREADABLE:
        return False
    return True


def _version(place: Path) -> object:
    """What tells a file from the one that stood there before; None where there is none."""
    try:
        state = place.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _merged(kept: Sequence[_Kept]) -> dict[str, Entry]:
    """What all places know; of a file that they know differently, the later state, else that it is broken."""
    merged: dict[str, Entry] = {}
    for name, entry in itertools.chain.from_iterable(kept):
        other = merged.get(name)
        if other is None or (entry.changed, not entry.packed) > (other.changed, not other.packed):
            merged[name] = entry
    return merged


def _read(place: Path) -> _Kept:
    """What a file knows, which may have come with the data: nothing, where its parts do not fit together."""
    stored = read_arrays(place, _KINDS)
    if stored is None or {name for name, array in stored.items() if not array.shape} != {"format"}:
        return _Kept()
    if int(stored["format"]) != _FORMAT:
        return _Kept()
    names, reasons = (os.fsdecode(stored[name].tobytes()).split("\0") for name in ("names", "reasons"))
    ends, packed = stored["ends"], stored["packed"].tobytes()
    if not len(ends) or ends[0] != 0 or ends[-1] != len(packed) or bool((ends[1:] < ends[:-1]).any()):
        return _Kept()
    sizes, changed = stored["sizes"], stored["changed"]
    if len({len(names), len(reasons), len(ends) - 1, len(sizes), len(changed)}) != 1:
        return _Kept()
    return _Kept(names, sizes, changed, (ends, packed), reasons)


def _as_arrays(known: dict[str, Entry]) -> dict[str, np.ndarray]:
    def text(lines: Sequence[str]) -> np.ndarray:
        return np.frombuffer(os.fsencode("\0".join(lines)), np.uint8)

    entries = known.values()
    return {
        "format": np.array(_FORMAT),
        "names": text(list(known)),
        "reasons": text([entry.reason.replace("\0", " ") for entry in entries]),
        "sizes": np.asarray([entry.size for entry in entries], np.int64),
        "changed": np.asarray([entry.changed for entry in entries], np.int64),
        "ends": np.cumsum([0, *(len(entry.packed) for entry in entries)], dtype=np.int64),
        "packed": np.frombuffer(b"".join(entry.packed for entry in entries), np.uint8),
    }
