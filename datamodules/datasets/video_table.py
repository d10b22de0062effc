"""The usable videos of a data set, with the index of each."""

import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pcpad.datamodules.datasets.video_indices import MOST_FRAMES, UNREADABLE, Entry, KnownVideos, is_index
from pcpad.datamodules.reading.caches import work_through
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.frame_folders import CODEC, FrameFolder, at_rate, index_folder
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex, index_video
from pcpad.datamodules.reading.videos import Video

__all__ = ["BrokenVideo", "VideoTable", "index_any", "load_videos", "note_broken"]


class BrokenVideo(NamedTuple):
    """A file that is not a usable video, and why."""

    name: str
    reason: str


class PassingReason(str):
    """A temporary reason why a file cannot be read, such as permissions or a disk that does not respond."""

    __slots__ = ()


class VideoTable:
    """The usable videos of a split, in three flat buffers that are shared after a fork; see `FileTable`.

    Args:
        root: The folder the names are relative to.
        names: The name of each video.
        packed: The packed index of each video.
        labels: Class indices; None: unknown.
        jpeg_fps: Frame rate of videos that are folders of frames.
        sizes: The files' sizes in bytes, if the indices have not been checked yet.

    Attributes:
        paths: The path of each video.
        labels: `(videos,)` int64, or None.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        packed: Sequence[bytes],
        labels: Sequence[int] | None = None,
        jpeg_fps: float = 30.0,
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.paths = FileTable(root, names)
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        self.jpeg_fps = jpeg_fps
        self._ends = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        self._packed = b"".join(packed)
        self._sizes = None if sizes is None else np.asarray(sizes, np.int64)
        self._anew: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def index(self, video: int) -> VideoIndex:
        """The index of a video; an invalid one is rebuilt.

        Args:
            video: Its position.

        Raises:
            BrokenVideoError: It cannot be rebuilt.
        """
        packed = self._anew.get(video) or self._packed[self._ends[video] : self._ends[video + 1]]
        most = None if self._sizes is None else max(int(self._sizes[video]), MOST_FRAMES)
        try:
            index = VideoIndex.unpack(packed, most)
        except UNREADABLE:
            index = VideoIndex.unpack(self._made_anew(video))
        return at_rate(index, self.jpeg_fps) if index.codec == CODEC else index

    def _made_anew(self, video: int) -> bytes:
        path = self.paths[video]
        found = index_any(path.parent, path.name)
        if isinstance(found, str):
            message = f"{path}: {found}"
            raise BrokenVideoError(message)
        self._anew[video] = found
        return found

    def select(self, wanted: np.ndarray) -> "VideoTable":
        """Select the videos for which a boolean array is true."""
        packed = [self._packed[self._ends[video] : self._ends[video + 1]] for video in np.flatnonzero(wanted)]
        labels = None if self.labels is None else self.labels[wanted].tolist()
        names = self.paths.select(wanted).names
        sizes = None if self._sizes is None else self._sizes[wanted].tolist()
        return VideoTable(Path(self.paths.folder), names, packed, labels, self.jpeg_fps, sizes)

    def open(self, video: int, index: VideoIndex, least: int = 0) -> Video | FrameFolder:
        """Open a video; may raise BrokenVideoError, see `Video`."""
        return (FrameFolder if index.codec == CODEC else Video)(self.paths[video], index, least)


def index_any(root: Path, name: str) -> bytes | str:
    """Index a video file or a folder of frames.

    Args:
        root: The folder the name is relative to.
        name: The file.

    Returns:
        The packed index, or a str with the reason why there is none; a `PassingReason` if it may be temporary.
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
    known: KnownVideos | None = None,
    lazily: bool = False,
) -> tuple[VideoTable, list[BrokenVideo]]:
    """Index videos, using the cache file for those that are unchanged, see `KnownVideos`.

    The cache holds each file's path, size and modification time; new and changed files are indexed in parallel, with a
    progress bar. Results are written every few seconds, so that an interrupted start continues where it stopped.

    Args:
        root: The data set's folder.
        names: Files and folders of frames, relative to it.
        labels: The class index of each; None: unknown.
        jpeg_fps: Frame rate of folders of frames.
        beside: Whether to write the cache file to `root`; else it is in the cache folder.
        known: The content of the cache file, if it has been read already.
        lazily: Whether to check a cached index when it is used instead of now (20 µs each). Then an invalid one is
            rebuilt, and `VideoTable.index` raises the error of a video that has none.

    Returns:
        The usable videos in the given order, and the others.
    """
    known = known or KnownVideos(root, beside=beside)
    entries: list[Entry | None] = []
    unknown: list[tuple[int, tuple[int, int]]] = []
    for name in names:
        state = _state(f"{root}{os.sep}{name}")
        entry = known.find(name, state)
        if entry is None or not (lazily or not entry.packed or is_index(entry)):
            unknown.append((len(entries), state))
        entries.append(entry)
    _index_others(known, names, entries, unknown)
    found = [entry for entry in entries if entry is not None]
    good = [place for place, entry in enumerate(found) if entry.packed]
    table = VideoTable(
        root,
        [names[place] for place in good],
        [found[place].packed for place in good],
        None if labels is None else [labels[place] for place in good],
        jpeg_fps,
        [found[place].size for place in good],
    )
    broken = [BrokenVideo(name, entry.reason) for name, entry in zip(names, found, strict=True) if not entry.packed]
    return table, broken


def _index_others(
    known: KnownVideos, names: Sequence[str], entries: list[Entry | None], unknown: list[tuple[int, tuple[int, int]]]
) -> None:
    """Index the videos at some positions, with given states; the results are written even after an error."""
    if not unknown:
        return
    others = [names[place] for place, _ in unknown]
    results = work_through(partial(index_any, known.root), others, f"index of videos in {known.root}")
    worth_keeping = False
    try:
        for (place, state), result in zip(unknown, results, strict=True):
            entry = Entry(*state, *((result, "") if isinstance(result, bytes) else (b"", result)))
            entries[place] = entry
            if not isinstance(result, PassingReason):
                worth_keeping = True
                known.add(names[place], entry)
    finally:
        if worth_keeping:
            known.write()


def note_broken(root: Path, broken: Sequence[BrokenVideo]) -> None:
    """Record in the cache file that videos are broken, until they change.

    Args:
        root: The data set's folder.
        broken: Indexed videos that turned out not to decode.
    """
    known = KnownVideos(root)
    for name, reason in broken:
        known.add(name, Entry(*_state(f"{root}{os.sep}{name}"), b"", reason))
    known.write()


def _state(path: str) -> tuple[int, int]:
    """Size and modification time; for a folder of frames only the time, which new and removed files change."""
    try:
        state = os.stat(path)  # noqa: PTH116  # `Path.stat` would build a path for each of 240 000 files
    except OSError:
        return -1, -1
    return (0 if stat.S_ISDIR(state.st_mode) else state.st_size), state.st_mtime_ns
