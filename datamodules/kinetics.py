"""Kinetics: short videos of human actions, with one class each."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from torch.utils.data import DataLoader, Dataset

from pcpad._renamed import present_value
from pcpad.datamodules.base import DataModule, expanded, listed, require
from pcpad.datamodules.datasets.clip_datasets import (
    TrainingClips,
    ValidationClips,
    WholeVideoSampler,
    WindowLoader,
    Windows,
    collate_windows,
)
from pcpad.datamodules.datasets.clips import ClipAugmentation, CropKind, Sampling
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.folds import Fold
from pcpad.datamodules.datasets.kinetics_files import find_classes
from pcpad.datamodules.datasets.kinetics_splits import find_test_split, load_split, load_unlabeled
from pcpad.datamodules.datasets.video_indices import KnownVideos
from pcpad.datamodules.datasets.video_lists import Annotations
from pcpad.datamodules.datasets.video_table import VideoTable
from pcpad.errors import UserValueError
from pcpad.files import FileName, PathName


class KineticsDataModule(DataModule):
    r"""Action recognition on Kinetics-400, or on any videos with one class each.

    ```
    root/{train,val,test}/<class>/<youtube id>_<start:06>_<end:06>.mp4   class folders; any video names work
    root/{train,val,test}/<class>/<video>/image_00001.jpg, …             or folders of JPEG frames
    ```

    The annotations of CVDF (https://github.com/cvdfoundation/kinetics-dataset, which also has the videos) or lists can
    name videos and classes instead of the folders: see `annotations`. Kinetics-400 has about 240 000 training and
    20 000 validation videos of 10 s; `test` runs on test/ if it has class folders or annotations, else on val/.
    `class_names` and `num_classes` are known after `setup`.

    Batches: `clip` `(N, 3, clip_length, size, size)` uint8 RGB in [0, 255] (the task normalizes), `label` `(N,)` and
    `video` `(N,)` int64, the video's position among the split's usable ones. Training: one random clip per video and
    epoch. Validation: `val_clips` clips per video. Test: all windows of `clip_length` frames of all videos, without
    overlap, the last one looped; a video's windows stay in one process, in order, over as many batches as needed.
    Predict: the same windows of a folder's videos, with `path`, a list of strings, and `start` and `end`, lists of
    seconds, instead of the label.

    Frames are located by their presentation times, so clips are also exact at variable frame rates. The times are read
    once (with a progress bar) and cached in `root/pcpad_videos.npz`, or in the user's cache if `root` is read-only;
    files that change are read again. Rotation is applied, a non-square pixel aspect ratio is not.

    An epoch's clips, their order and augmentation depend only on the seed of `seed_everything` (0 without one) and the
    epoch's number, not on the number of processes or workers. A run resumed from a checkpoint made within an epoch
    continues with the next clip.

    Other files in class folders are listed in a warning, those in `predict_videos` in the error at the end; lists,
    sounds, and pictures with the name of a video are accepted. Files are checked for truncation by their container's
    structure when they are indexed; see `reading.containers` for damage that only `pcpad check` detects, by decoding.

    Missing (annotated) and broken videos are counted and listed in a warning. Training skips them, and replaces videos
    that fail later by others, up to `max_broken`. Evaluations never replace: their scores are computed on the readable
    videos, as the warning says, and a video that fails later is an error. Prediction processes everything that can be
    decoded, and then ends with an error that lists the rest.

    Args:
        root: The folder with train/ and val/.
        annotations: None: class folders. Else a table `label,youtube_id,time_start,time_end,split` whose videos are
            `<split>/<class>/<youtube id>_<start:06>_<end:06>.mp4`, a table with `path,label` among its columns, or a
            list of `path class` lines, with the class as a word or a number; separated by commas, semicolons or tabs,
            in lists also by spaces. Videos may have another extension than listed. `{split}` in its path stands for
            train, val or test. Relative to the working directory or to `root`.
        batch_size: Clips (in evaluation windows) per step, **per device**.
        num_workers: Processes that decode, per device; 0 decodes in the training process.
        clip_length: Frames per clip.
        stride: Every `stride`-th frame is taken.
        fps: Frame rate that videos are resampled to before that; None: not resampled.
        size: Height and width of the clips.
        crop: "multi_scale_corner" (the paper's) or "random_resized" (newer defaults), of a training clip.
        flip: Probability of mirroring a training clip.
        val_clip: Whether validation with one clip per video takes the video's "center" (old spelling: "centre") or
            its "start".
        val_clips: Validation clips per video. More than 1 are spread from the video's start to its end, like the 3 of
            the public code (for 300 frames those from 0, 142 and 284); short videos give fewer.
        jpeg_fps: Frame rate that folders of JPEG frames were written at.
        predict_videos: Folder of videos, or one video, for `predict`.
        max_broken: How many broken training videos to tolerate: in total when the run starts, later in each worker.
        max_missing: Largest fraction of a split's annotated videos that may be missing.
        effective_batch: Clips per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        columns: The names of the columns of a user-provided table, with any delimiter: `{path: clip, label: action}`,
            and optionally `split`.
        roots: Further folders to look for the videos of `annotations` in.
        fold: For example `2/5`: of five equal parts of train/, the second is for validation (and for `test`, without a
            test/), and the others are for training; val/ is not used. Each part has its share of every class.
        split_seed: Seed of the parts, independent of the run's seed.
        group: A regular expression that matches the part of a file's name that identifies its group, such as `^[^_]+`;
            groups stay together. None: each file by itself.

    Raises:
        ValueError: A value is out of range; in `setup`, annotations that cannot be parsed or that point outside of
            `root`, unknown classes, or too many missing videos.
        FileNotFoundError: In `setup`, there is no data; says what was expected and where to get it.
        BrokenVideoError: There are too many broken training videos, no usable ones, or one fails in an evaluation.
    """

    reads_by_opencv = True

    def __init__(
        self,
        root: PathName = "data/kinetics",
        annotations: FileName | None = None,
        batch_size: int = 32,
        num_workers: int = 4,
        clip_length: int = 16,
        stride: int = 1,
        fps: float | None = None,
        size: int = 112,
        crop: CropKind = "multi_scale_corner",
        flip: float = 0.5,
        val_clip: Literal["center", "start", "centre"] = "center",
        val_clips: int = 1,
        jpeg_fps: float = 30.0,
        predict_videos: PathName | None = None,
        max_broken: int = 100,
        max_missing: float = 0.2,
        effective_batch: int | None = None,
        columns: dict[str, str] | None = None,
        roots: list[str] | None = None,
        fold: str | None = None,
        split_seed: int = 0,
        group: str | None = None,
    ) -> None:
        super().__init__(root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch)
        for name in ("clip_length", "stride", "size", "val_clips"):
            require(locals()[name] >= 1, name, "at least 1", locals()[name])
        require(max_broken >= 0, "max_broken", "at least 0", max_broken)
        require(fps is None or fps > 0, "fps", "None or above 0", fps)
        require(jpeg_fps > 0, "jpeg_fps", "above 0", jpeg_fps)
        require(crop in get_args(CropKind), "crop", f"one of {', '.join(get_args(CropKind))}", crop)
        val_clip = present_value("val_clip", val_clip, stacklevel=2)
        require(val_clip in ("center", "start"), "val_clip", "center or start", val_clip)
        require(val_clips == 1 or val_clip == "center", "val_clip", "omitted if `val_clips` is above 1", val_clip)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        require(0 <= max_missing <= 1, "max_missing", "in [0, 1]", max_missing)
        require(
            annotations is not None or not (columns or roots),
            "annotations",
            "given if `columns` or `roots` is",
            None,
        )
        others = tuple(expanded(Path(each)) for each in roots or ())
        self.annotations = None if annotations is None else Annotations(annotations, columns or {}, others)
        self.sampling = Sampling(clip_length, stride, fps)
        self.augment = ClipAugmentation(size, crop, flip)
        self.val_clip: Literal["center", "start"] = "start" if val_clip == "start" else "center"
        self.val_clips = val_clips
        self.jpeg_fps = jpeg_fps
        self.predict_videos = expanded(predict_videos)
        self.max_broken = max_broken
        self.max_missing = max_missing
        require(group is None or fold is not None, "group", "omitted without `fold`", group)
        self.fold = None if fold is None else Fold.parse(fold, split_seed, group)
        self._splits: dict[str, VideoTable] = {}
        self._predicted: Dataset[Any] | None = None
        self._left_out: list[str] = []

    def look_for_classes(self) -> None:
        """Set the class names from the folder names, or from the annotations."""
        with suppress(FileNotFoundError):  # `setup` reports it in detail
            self.class_names = find_classes(self.root, self.annotations)

    def prepare_data(self) -> None:
        """Index the videos, in one process per machine; the others read the index from its file."""
        stage = self.trainer.state.fn if self.trainer else None
        self.setup("fit" if stage is None else str(stage.value))

    def setup(self, stage: str) -> None:
        """List and index the videos that a stage needs, so that a run with missing videos fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        super().setup(stage)
        if stage == "predict":
            if self.predict_videos is None:
                message = "predict needs videos: --data.predict_videos FOLDER"
                raise UserValueError(message)
            if "predict" not in self._splits:
                self._splits["predict"], self._left_out = load_unlabeled(self.predict_videos, self.jpeg_fps)
            if self.root.is_dir():
                self.class_names = find_classes(self.root, self.annotations)
            return
        self.class_names = find_classes(self.root, self.annotations)
        splits: dict[str, str] = {"train": "train"} if stage == "fit" else {}
        splits |= {"test": find_test_split(self.root, self.annotations)} if stage == "test" else {"val": "val"}
        splits = {split: source for split, source in splits.items() if split not in self._splits}
        known = KnownVideos(self.root) if splits else None  # the file is read once for all splits
        for split, source in splits.items():
            self._load(split, source, known)

    def train_dataloader(self) -> CropLoader:
        """Random clips; a smaller last batch is dropped, unless it is the only one."""
        clips = TrainingClips(self._split("train"), self.sampling, self.augment, self.max_broken)
        return self.training_loader(clips)

    def val_dataloader(self) -> DataLoader[Any]:
        """`val_clips` clips of each video of val/."""
        size = self.augment.size
        clips = ValidationClips(self._split("val"), self.sampling, size, self.val_clip, self.val_clips)
        return self.evaluation_loader(clips)

    def test_dataloader(self) -> DataLoader[Any]:
        """All windows of all videos of test/ if it exists, else of val/."""
        return self._window_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """All windows of all videos of `predict_videos`, sorted by path."""
        loader = self._window_loader("predict")
        self._predicted = loader.dataset
        if isinstance(loader.dataset, Windows) and self.ranks[1] == 0:
            loader.dataset.failures += self._left_out
        return loader

    def teardown(self, stage: str) -> None:
        """Raise an error at the end if videos to predict, or parts of them, could not be read."""
        if stage == "predict" and isinstance(self._predicted, Windows):
            self._predicted.raise_failures()

    def _window_loader(self, split: str) -> DataLoader[Any]:
        windows = Windows(self._split(split), self.sampling, self.augment.size)
        sampler = WholeVideoSampler(windows, *self.ranks)
        options = {"batch_size": self.batch_size, "collate_fn": collate_windows, **self.worker_options()}
        return WindowLoader(windows, sampler=sampler, **options)

    def _load(self, split: str, source: str, known: KnownVideos | None) -> None:
        if self.fold is not None and source == "val":
            source = "train"
        table = load_split(
            self.root,
            source,
            self.annotations,
            self.class_names or (),
            jpeg_fps=self.jpeg_fps,
            max_missing=self.max_missing,
            max_broken=self.max_broken if split == "train" else None,
            known=known,
        )
        if self.fold is not None and source == "train":
            held_out = self.fold.held_out(table.paths.names, table.labels)
            table = table.select(~held_out if split == "train" else held_out)
        self._splits[split] = table

    def _split(self, split: str) -> VideoTable:
        stages = {"train": ("fit",), "val": ("fit", "validate")}.get(split, (split,))
        return listed(self._splits.get(split), f"the videos of {split}", *stages)
