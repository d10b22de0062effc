"""The indices of videos, in one file next to the data that is also written while it is built."""

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
MOST_FRAMES = 1 << 20  # in a folder of frames: ten hours
UNREADABLE = (ValueError, ArithmeticError, struct.error, zlib.error)
"""The errors that `VideoIndex.unpack` raises for bytes that are not an index."""

# Increased whenever the same file would give another index.
_FORMAT = 3
_KINDS = {
    **{"format": "<i8", "names": "|u1", "reasons": "|u1", "sizes": "<i8", "changed": "<i8", "ends": "<i8"},
    "packed": "|u1",
}
# Seconds between two writes. Each writes all entries, which takes 2 s for 240 000 videos: at most a twentieth of the
# time.
_SECONDS = 10.0
_SHARE = 20


class Entry(NamedTuple):
    """What is known of a file: its size and modification time at that time, and its index or why it has none."""

    size: int
    changed: int
    packed: bytes
    reason: str


class KnownVideos:
    """The content of a data set's cache files, read once, and new entries.

    The file is `root/pcpad_videos.npz`, or if `root` is not writable one below `$XDG_CACHE_HOME/pcpad`
    (`~/.cache/pcpad`).

    Args:
        root: The data set's folder.
        beside: Whether to write the file to `root`; else it is in the cache folder.
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
        """Look up a file in its current state.

        Args:
            name: The file, relative to the root.
            state: Its current size and modification time.

        Returns:
            Its entry; None if the file is new or has changed.
        """
        # If it is unchanged in both places but broken in one, decoding the whole file found that.
        places = (entry for _, kept in self._read.values() if (entry := kept.get(name)))
        found = [entry for entry in (self._found.get(name), *places) if entry and entry[:2] == state]
        return next((entry for entry in found if not entry.packed), found[0] if found else None)

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry; all entries are written from time to time, so that an interrupted start can continue.

        Args:
            name: The file, relative to the root.
            entry: Its entry.
        """
        self._found[name] = entry
        if time.monotonic() >= self._due:
            began = time.monotonic()
            self.write(quietly=True)
            self._due = time.monotonic() + max(_SECONDS, _SHARE * (time.monotonic() - began))

    def write(self, *, quietly: bool = False) -> None:
        """Write all entries to the first writable place.

        Args:
            quietly: Whether not to warn if there is none.
        """
        self._refresh()  # another run may have added entries
        known = _merged([kept for _, kept in self._read.values()]) | self._found
        unkept = write_arrays(self._places, _as_arrays(known))
        if unkept and not quietly:
            rank_zero_warn(f"the index of videos could not be saved and is rebuilt in each run: {unkept}")
        for place in self._places:
            if place in self._read and _version(place) != self._read[place][0]:
                self._read[place] = (_version(place), self._read[place][1])  # our own

    def _refresh(self) -> None:
        for place in self._places:
            version = _version(place)
            if place not in self._read or self._read[place][0] != version:
                self._read[place] = (version, _read(place))


class _Kept:
    """The content of one file, in flat buffers from which entries are made on access."""

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
    """Whether an entry's index can be unpacked, which takes 20 µs, while building one takes 5 ms.

    Args:
        entry: From a cache file, which is not trusted, as it may come with the data.

    Returns:
        False if it has to be rebuilt.
    """
    try:
        VideoIndex.unpack(entry.packed, max(entry.size, MOST_FRAMES))
    except UNREADABLE:
        return False
    return True


def _version(place: Path) -> object:
    """A value that changes when a file is replaced; None if there is no file."""
    try:
        state = place.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _merged(kept: Sequence[_Kept]) -> dict[str, Entry]:
    """Merge the entries of all places; if they differ for a file, use the later state, else the one that is broken."""
    merged: dict[str, Entry] = {}
    for name, entry in itertools.chain.from_iterable(kept):
        other = merged.get(name)
        if other is None or (entry.changed, not entry.packed) > (other.changed, not other.packed):
            merged[name] = entry
    return merged


def _read(place: Path) -> _Kept:
    """Read a cache file, which is not trusted, as it may come with the data; empty if it is inconsistent."""
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
