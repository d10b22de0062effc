"""The videos of a data set with the index of each, kept in one file beside the data."""

import itertools
import os
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.reading.caches import cache_places, read_arrays, work_through, write_arrays
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.frame_folders import CODEC, FrameFolder, at_rate, index_folder
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex, index_video
from pcpad.datamodules.reading.videos import Video

__all__ = ["BrokenVideo", "VideoTable", "index_any", "load_videos", "note_broken"]

FILE_NAME = "pcpad_videos.npz"
_MOST_FRAMES = 1 << 20  # of a folder of frames: ten hours
# Raised when the same file would give another index.
_FORMAT = 3
_KINDS = {
    **{"format": "<i8", "names": "|u1", "reasons": "|u1", "sizes": "<i8", "changed": "<i8", "ends": "<i8"},
    "packed": "|u1",
}


class BrokenVideo(NamedTuple):
    """A file that is no usable video, and why."""

    name: str
    reason: str


class _Entry(NamedTuple):
    """What the cache knows of a file: its size and time of change then, and its index or why it has none."""

    size: int
    changed: int
    packed: bytes
    reason: str


class PassingReason(str):
    """Why a file cannot be read now; it may be tomorrow, with other permissions or a disk that answers."""

    __slots__ = ()


class VideoTable:
    """The usable videos of a split, in three flat buffers, shared after a fork; see `FileTable`.

    Args:
        root: The folder the names are relative to.
        names: One for each video.
        packed: The index of each, packed.
        labels: Class indices; None: unknown.
        jpeg_fps: Frame rate of videos that are folders of frames.

    Attributes:
        paths: Where each video lies.
        labels: `(videos,)` int64, or None.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        packed: Sequence[bytes],
        labels: Sequence[int] | None = None,
        jpeg_fps: float = 30.0,
    ) -> None:
        self.paths = FileTable(root, names)
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        self.jpeg_fps = jpeg_fps
        self._ends = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        self._packed = b"".join(packed)

    def __len__(self) -> int:
        return len(self.paths)

    def index(self, video: int) -> VideoIndex:
        """The index of a video."""
        index = VideoIndex.unpack(self._packed[self._ends[video] : self._ends[video + 1]])
        return at_rate(index, self.jpeg_fps) if index.codec == CODEC else index

    def select(self, wanted: np.ndarray) -> "VideoTable":
        """The videos for which an array of bools is true."""
        packed = [self._packed[self._ends[video] : self._ends[video + 1]] for video in np.flatnonzero(wanted)]
        labels = None if self.labels is None else self.labels[wanted].tolist()
        names = self.paths.select(wanted).names()
        return VideoTable(Path(self.paths.folder), names, packed, labels, self.jpeg_fps)

    def open(self, video: int, index: VideoIndex, least: int = 0) -> Video | FrameFolder:
        """Open a video, which raises BrokenVideoError; see `Video`."""
        return (FrameFolder if index.codec == CODEC else Video)(self.paths[video], index, least)


def index_any(root: Path, name: str) -> bytes | str:
    """Index a video file or a folder of frames.

    Args:
        root: The folder the name is relative to.
        name: The file.

    Returns:
        The packed index, or as a str the reason why there is none; a `PassingReason` where the file is not to blame.
    """
    path = root / name
    try:
        return (index_folder if path.is_dir() else index_video)(path).pack()
    except BrokenVideoError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return PassingReason(reason) if isinstance(error.__cause__, OSError | MemoryError) else reason


def load_videos(
    root: Path,
    names: Sequence[str],
    labels: Sequence[int] | None = None,
    jpeg_fps: float = 30.0,
    *,
    beside: bool = True,
) -> tuple[VideoTable, list[BrokenVideo]]:
    """Index videos; those that are known unchanged from the cache file.

    The file is `root/pcpad_videos.npz`; where `root` cannot be written to, it lies below `$XDG_CACHE_HOME/pcpad`
    (`~/.cache/pcpad`). It knows each file's path, size and time of change; other files, and those that changed, are
    looked through in parallel, with a progress bar.

    Args:
        root: The data set's folder.
        names: Files and folders of frames, relative to it.
        labels: The class index of each; None: unknown.
        jpeg_fps: Frame rate of folders of frames.
        beside: Whether a file may be left in `root`; else it lies in the cache folder.

    Returns:
        The usable videos in the order given, and the others.
    """
    places = cache_places(root, FILE_NAME)[0 if beside else 1 :]
    kept = [_read(place) for place in places]
    now: dict[str, _Entry] = {}
    unknown: list[tuple[str, tuple[int, int]]] = []
    for name in names:
        state = _state(root / name)
        # What is unchanged in both places and broken in one was found to be so by decoding all of it.
        found = [entry for known in kept if (entry := known.get(name)) and entry[:2] == state]
        if found:
            now[name] = next((entry for entry in found if not entry.packed), found[0])
        else:
            unknown.append((name, state))
    if unknown:
        results = work_through(partial(index_any, root), [name for name, _ in unknown], f"index of videos in {root}")
        passing = set()
        for (name, state), result in zip(unknown, results, strict=True):
            now[name] = _Entry(*state, *((result, "") if isinstance(result, bytes) else (b"", result)))
            if isinstance(result, PassingReason):
                passing.add(name)
        if len(passing) < len(unknown):
            _write(places, _merged(kept) | {name: entry for name, entry in now.items() if name not in passing})
    entries = [now[name] for name in names]
    good = [place for place, entry in enumerate(entries) if entry.packed]
    table = VideoTable(
        root,
        [names[place] for place in good],
        [entries[place].packed for place in good],
        None if labels is None else [labels[place] for place in good],
        jpeg_fps,
    )
    broken = [BrokenVideo(name, entry.reason) for name, entry in zip(names, entries, strict=True) if not entry.packed]
    return table, broken


def note_broken(root: Path, broken: Sequence[BrokenVideo]) -> None:
    """Keep in the cache file that videos are broken, until they change.

    Args:
        root: The data set's folder.
        broken: Videos that are indexed already but turned out not to decode.
    """
    places = cache_places(root, FILE_NAME)
    known = _merged([_read(place) for place in places])
    for name, reason in broken:
        known[name] = _Entry(*_state(root / name), b"", reason)
    _write(places, known)


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; of a folder of frames the time alone, which new and removed files change."""
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return (0 if path.is_dir() else state.st_size), state.st_mtime_ns


def _merged(kept: Sequence[dict[str, _Entry]]) -> dict[str, _Entry]:
    """What all places know; of a file that they know differently, the later state, else that it is broken."""
    merged: dict[str, _Entry] = {}
    for name, entry in (pair for known in kept for pair in known.items()):
        other = merged.get(name)
        if other is None or (entry.changed, not entry.packed) > (other.changed, not other.packed):
            merged[name] = entry
    return merged


def _read(place: Path) -> dict[str, _Entry]:
    """What a file knows, which may have come with the data: looked at as any other, or not used."""
    stored = read_arrays(place, _KINDS)
    if stored is None or {name for name, array in stored.items() if not array.shape} != {"format"}:
        return {}
    if int(stored["format"]) != _FORMAT:
        return {}
    names, reasons = (os.fsdecode(stored[name].tobytes()).split("\0") for name in ("names", "reasons"))
    ends, packed = stored["ends"].tolist(), stored["packed"].tobytes()
    sizes, changed = stored["sizes"].tolist(), stored["changed"].tolist()
    if not ends or ends[0] != 0 or ends[-1] != len(packed) or any(a > b for a, b in itertools.pairwise(ends)):
        return {}
    parts = [packed[start:end] for start, end in itertools.pairwise(ends)]
    if len({len(names), len(reasons), len(parts), len(sizes), len(changed)}) != 1:
        return {}
    entries = zip(names, map(_Entry, sizes, changed, parts, reasons), strict=True)
    return {name: entry for name, entry in entries if not entry.packed or _is_index(entry)}


def _is_index(entry: _Entry) -> bool:
    """Whether an index can be read, which takes 20 µs where making one takes 10 ms. No frame takes less than a byte."""
    try:
        VideoIndex.unpack(entry.packed, max(entry.size, _MOST_FRAMES))
    except (ValueError, ArithmeticError, struct.error, zlib.error):
        return False
    return True


def _write(places: Sequence[Path], known: dict[str, _Entry]) -> None:
    def text(lines: Sequence[str]) -> np.ndarray:
        return np.frombuffer(os.fsencode("\0".join(lines)), np.uint8)

    entries = known.values()
    unkept = write_arrays(
        places,
        {
            "format": np.array(_FORMAT),
            "names": text(list(known)),
            "reasons": text([entry.reason.replace("\0", " ") for entry in entries]),
            "sizes": np.asarray([entry.size for entry in entries], np.int64),
            "changed": np.asarray([entry.changed for entry in entries], np.int64),
            "ends": np.cumsum([0, *(len(entry.packed) for entry in entries)], dtype=np.int64),
            "packed": np.frombuffer(b"".join(entry.packed for entry in entries), np.uint8),
        },
    )
    if unkept:
        rank_zero_warn(f"the index of videos could not be kept and is built in each run: {unkept}")
