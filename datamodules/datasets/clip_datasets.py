"""Data sets of video clips: random clips for training, one or a few per video for validation, all windows for test."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.data.distributed import DistributedSampler

from pcpad.datamodules.datasets.clips import ClipAugmentation, Sampling, center_view
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.video_table import VideoTable
from pcpad.datamodules.reading.failures import raise_failures
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex
from pcpad.datamodules.reading.videos import View
from pcpad.errors import UserValueError

Item = dict[str, Any]


def read_clip(
    videos: VideoTable, video: int, positions: np.ndarray, view: View, flip: bool = False, least: int = 0
) -> torch.Tensor:
    """Read a clip.

    Args:
        videos: The table.
        video: The video's position in it.
        positions: Frame numbers, `(T,)`.
        view: The part of each frame to return.
        flip: Whether to mirror the clip.
        least: See `Video`.

    Returns:
        `(3, T, rows, columns)` uint8 RGB.

    Raises:
        BrokenVideoError: The file cannot be read.
    """
    with videos.open(video, videos.index(video), least) as opened:
        return _tensor(opened.read(positions, view), flip)


def _tensor(frames: np.ndarray, flip: bool = False) -> torch.Tensor:
    frames = frames[:, :, ::-1] if flip else frames
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2)))


class TrainingClips(CropDataset[Item]):
    """Random clips: `{"clip": (3, T, size, size) uint8, "label": int, "video": int}`.

    Indexed with a `Crop`, whose `file` and `seed` are used; a plain position, as from standard samplers, always gives
    the same clip of that video. A video that cannot be decoded is replaced by another, drawn from the clip's seed.

    Args:
        videos: The usable videos.
        sampling: How frames are sampled.
        augment: Random crop and flip.
        max_broken: How many failing videos to replace, counted in each process.

    Raises:
        BrokenVideoError: More videos fail; names all of this process.
    """

    def __init__(self, videos: VideoTable, sampling: Sampling, augment: ClipAugmentation, max_broken: int) -> None:
        self.videos = videos
        self.sampling = sampling
        self.augment = augment
        self.max_broken = max_broken
        self._broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, crop: Crop | int) -> Item:
        if not isinstance(crop, Crop):
            crop = Crop(crop, None, crop)
        video = crop.file
        for attempt in itertools.count(1):
            # A new generator per video, so that the clip does not depend on whether a previous one is known to fail.
            draws = np.random.default_rng([crop.seed, attempt])
            if attempt > 1:
                video = int(draws.integers(len(self.videos)))
            if video not in self._broken:
                try:
                    clip = self._read(video, draws)
                except BrokenVideoError as error:
                    self._replace(video, error)
                else:
                    break
        return {"clip": clip, "label": _label(self.videos, video), "video": video}

    def _read(self, video: int, draws: np.random.Generator) -> torch.Tensor:
        index = self.videos.index(video)
        timeline = self.sampling.timeline(index)
        start = int(draws.integers(self.sampling.latest_start(timeline) + 1))
        view, flip = self.augment.draw(index.height, index.width, draws)
        positions = self.sampling.clip(timeline, start)
        return read_clip(self.videos, video, positions, view, flip, min(view.height, view.width))

    def _replace(self, video: int, error: BrokenVideoError) -> None:
        self._broken[video] = str(error)
        count = len(self._broken)
        if count > self.max_broken or count == len(self):
            message = (
                f"{count} training videos cannot be decoded in one process, but data.max_broken allows "
                f"{self.max_broken} (of {len(self)}):\n  " + "\n  ".join(self._broken.values())
            )
            raise BrokenVideoError(message) from error
        warnings.warn(
            f"a training video that cannot be decoded is replaced by another ({count} of at most "
            f"{self.max_broken} in this process): {error}",
            stacklevel=3,
        )


def _label(videos: VideoTable, video: int) -> int:
    if videos.labels is None:
        message = "these videos have no labels"
        raise UserValueError(message)
    return int(videos.labels[video])


class ValidationClips(Dataset[Item]):
    """Fixed clips: `{"clip": (3, T, size, size) uint8, "label": int, "video": int}`.

    A video that cannot be decoded raises an error. The clips of a video are consecutive.

    Args:
        videos: The usable videos.
        sampling: How frames are sampled.
        size: Height and width of the clips.
        place: Whether a single clip is taken from the video's start or its center.
        count: Clips per video; more than one are spread over it, and short videos have fewer.
    """

    def __init__(
        self,
        videos: VideoTable,
        sampling: Sampling,
        size: int,
        place: Literal["start", "center"],
        count: int = 1,
    ) -> None:
        self.videos = videos
        self.sampling = sampling
        self.size = size
        starts = [_starts(sampling, videos.index(video), place, count) for video in range(len(videos))]
        # Arrays are shared with worker processes; the items of a list would be copied into each.
        self.video = np.repeat(np.arange(len(videos)), [len(of_one) for of_one in starts])
        self.start = np.array([start for of_one in starts for start in of_one], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, clip_number: int) -> Item:
        video, start = int(self.video[clip_number]), int(self.start[clip_number])
        index = self.videos.index(video)
        timeline = self.sampling.timeline(index)
        view = center_view(index.height, index.width, self.size)
        with explained():
            clip = read_clip(self.videos, video, self.sampling.clip(timeline, start), view, least=self.size)
        return {"clip": clip, "label": _label(self.videos, video), "video": video}


def _starts(sampling: Sampling, index: VideoIndex, place: Literal["start", "center"], count: int) -> list[int]:
    timeline = sampling.timeline(index)
    if count > 1:
        return sampling.spread(timeline, count)
    return [0 if place == "start" else sampling.latest_start(timeline) // 2]


class explained:
    """Add advice to the error of a video that fails in an evaluation."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BrokenVideoError):
            message = (
                f"{error}\nAn evaluation does not replace a video by another. `pcpad check kinetics --data.root ROOT` "
                "decodes all files and records those that fail; the next evaluation leaves them out, with a warning."
            )
            raise BrokenVideoError(message) from error


class Windows(Dataset[Item]):
    """All windows of all videos in order, without overlap; the last window of a video is looped to its full length.

    `{"clip": (3, T, size, size) uint8, "video": int}` with `label` if there are labels, else with `path`, and `start`
    and `end` of the window in seconds. For a batch, each video is opened once and its windows are decoded in sequence.

    With labels, a window that cannot be decoded raises an error, so that no score misses it. Without labels it becomes
    `{"failure": str}`, for `WindowLoader` to collect.

    Args:
        videos: The usable videos.
        sampling: How frames are sampled.
        size: Height and width of the clips.

    Attributes:
        failures: The windows that could not be decoded and why, filled by `WindowLoader`.
    """

    def __init__(self, videos: VideoTable, sampling: Sampling, size: int) -> None:
        self.videos = videos
        self.sampling = sampling
        self.size = size
        counts = (len(sampling.windows(sampling.timeline(videos.index(video)))) for video in range(len(videos)))
        self.ends = np.cumsum(np.fromiter(counts, np.int64, len(videos)))
        self.failures: list[str] = []

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def input_files(self) -> Iterator[tuple[str, ...]]:
        """The file of each video, which writers must not overwrite."""
        return ((str(self.videos.paths[video]),) for video in range(len(self.videos)))

    def file_of(self, window: int) -> str:
        """The video of a window."""
        return str(self.videos.paths[int(np.searchsorted(self.ends, window, side="right"))])

    def of_video(self, video: int) -> range:
        """The positions of a video's windows."""
        return range(int(self.ends[video - 1]) if video else 0, int(self.ends[video]))

    def __getitem__(self, window: int) -> Item:
        return self.__getitems__([window])[0]

    def __getitems__(self, windows: Sequence[int]) -> list[Item]:
        items: dict[int, Item] = {}
        videos = np.searchsorted(self.ends, np.asarray(windows), side="right")
        for video in np.unique(videos).tolist():
            wanted = [window for window, of in zip(windows, videos, strict=True) if of == video]
            if self.videos.labels is None:
                items |= self._read_what_can_be(video, wanted)
                continue
            with explained():
                items |= zip(wanted, self._read(video, wanted), strict=True)
        return [items[window] for window in windows]

    def raise_failures(self) -> None:
        """Raise an error for windows that no process could decode; every process has to call it.

        Raises:
            BrokenVideoError: Some windows could not be decoded; names each of them.
        """
        raise_failures(self.failures, "videos, or windows of some, could not be read", BrokenVideoError)

    def _read_what_can_be(self, video: int, windows: Sequence[int]) -> dict[int, Item]:
        items: dict[int, Item] = {}
        while len(items) < len(windows):
            left = windows[len(items) :]
            try:
                for window, item in zip(left, self._read(video, left), strict=True):
                    items[window] = item
            except BrokenVideoError as error:
                items[windows[len(items)]] = {"failure": str(error)}
        return items

    def _read(self, video: int, windows: Sequence[int]) -> Iterator[Item]:
        index = self.videos.index(video)
        timeline = self.sampling.timeline(index)
        view = center_view(index.height, index.width, self.size)
        first = self.of_video(video).start
        with self.videos.open(video, index, self.size) as opened:
            for window in windows:
                positions = self.sampling.clip(timeline, (window - first) * self.sampling.span)
                item = {"clip": _tensor(opened.read(positions, view, more=window != windows[-1])), "video": video}
                if self.videos.labels is None:
                    start, end = self.sampling.seconds(index, timeline, (window - first) * self.sampling.span)
                    item |= {"path": str(self.videos.paths[video]), "start": start, "end": end}
                else:
                    item["label"] = _label(self.videos, video)
                yield item


def collate_windows(items: list[Item]) -> Item:
    """Collate the windows that could be decoded; `failures` holds why the others could not."""
    failures = [item["failure"] for item in items if "failure" in item]
    whole = [item for item in items if "failure" not in item]
    batch = default_collate(whole) if whole else {}
    # Lists, because precision bf16-true rounds all tensors of a batch, 10.24 s to 10.25.
    batch |= {name: [item[name] for item in whole] for name in ("start", "end") if name in batch}
    return batch | ({"failures": failures} if failures else {})


class WindowLoader(DataLoader[Any]):
    """Yields the windows that can be decoded, and collects in `Windows.failures` why others cannot."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches of windows."""
        for batch in super().__iter__():
            failures = batch.pop("failures", [])
            if isinstance(self.dataset, Windows):
                self.dataset.failures += failures
            if batch:
                yield batch


class WholeVideoSampler(DistributedSampler[int]):
    """Distribute the windows of whole videos: process r of R takes videos r, r + R, r + 2R, …, in order.

    So each video counts once, and a process can average all of its windows without communication. Lightning does not
    replace this sampler, because it is a `DistributedSampler`.

    Args:
        windows: All windows.
        num_replicas: The number of processes.
        rank: The index of this process, from 0.

    Raises:
        ValueError: There are fewer videos than processes; the others would wait forever for one without a batch.
    """

    def __init__(self, windows: Windows, num_replicas: int = 1, rank: int = 0) -> None:
        videos = len(windows.videos)
        if videos < num_replicas:
            message = (
                f"{videos} videos cannot be distributed over {num_replicas} processes, which need at least one each: "
                f"run with at most {videos} (--trainer.devices {videos} --trainer.num_nodes 1)"
            )
            raise UserValueError(message)
        super().__init__(windows, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.windows = windows
        self.own = range(rank, videos, num_replicas)
        self.num_samples = sum(len(windows.of_video(video)) for video in self.own)
        self.total_size = len(windows)

    def __iter__(self) -> Iterator[int]:
        return (window for video in self.own for window in self.windows.of_video(video))
