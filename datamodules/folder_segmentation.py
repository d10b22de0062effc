"""Semantic segmentation of user-provided images and masks in folders."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.centroids import Centroids, load_centroids
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.class_values import EXPECTED, parse_classes
from pcpad.datamodules.datasets.epochs import CropLoader, CropPlan, run_seed
from pcpad.datamodules.datasets.file_pairs import Layout, find_pairs
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.datamodules.datasets.folder_scenes import FolderCrops, FolderScenes, ScenePairs
from pcpad.datamodules.datasets.folds import Fold
from pcpad.datamodules.datasets.image_folders import UnlabeledImages
from pcpad.datamodules.datasets.scenes import SceneAugmentation, collate_equal_sizes
from pcpad.datamodules.reading.channels import image_tensor
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.datamodules.reading.label_files import read_label_file
from pcpad.errors import UserValueError
from pcpad.files import FileName, PathName

_LOOKED_AT = 8
_DARK = 1 / 8
_MOST_CHANNELS = 512  # of OpenCV's arrays


class FolderSegmentationDataModule(DataModule):
    r"""Semantic segmentation of your own images and masks, in any of the usual layouts.

    ```
    root/{train,val,test}/images/<stem>.jpg    root/{train,val,test}/labels/<stem>.png   found automatically
    root/images/<stem>.jpg                     root/masks/<stem>.png                     likewise, split by share
    root/<any>/<stem>_rgb.tif                  root/<other>/<stem>_gt.png                patterns: `images` and `masks`
    root/pairs.csv: image;mask;split                                                     `annotations`
    ```

    Masks hold one id per pixel (gray PNGs of up to 16 bits, or palette PNGs, whose indices are the ids), or one color,
    according to `classes`: names by id, or colors by name. `class_names`, `num_classes` and `class_colors` are known
    before `setup`, so that the command builds a network with that number of classes.

    Batches: `image` `(N, channels, H, W)`, uint8 in [0, 255], or float in [0, 1] for files of more than 8 bits (the
    task normalizes), and `label` `(N, H, W)` int64 classes, 255 = ignore; crops of `crop_size`² pixels in training,
    whole images in evaluation. For prediction: `image` of any size and `path`, a list of one string. Files that cannot
    be read are skipped, and named in an error at the end.

    Splits: by folders, lists or the table's column, if any of these define them; else by share, depending on a file's
    (or its group's) name and `split_seed`. Without a test split, `test` runs on the validation images.

    An epoch's crops, their order and augmentation depend only on the seed of `seed_everything` (0 without one) and the
    epoch's number, not on the number of processes or workers. A run resumed from a checkpoint made within an epoch
    continues with the next crop.

    `pcpad check folder --data.root …` reports problems of the files, shows eight of them, and counts the classes.

    Args:
        root: The folder with the data.
        classes: A number of classes (ids from 0), names by id (`{0: road, 1: sky}`), a list of names, colors by name
            (`{road: "#804080"}`), or a file with one name per line, the columns name,r,g,b, or `names:` in YAML.
        ignore: The id or color that losses and metrics ignore, a list of them, or `others`: everything that `classes`
            does not name. None: the id 255.
        images: Pattern of the images below `root`: `{split}/images/{stem}.jpg`, or a folder: `{split}/images`.
            `{split}` stands for train, val or test, `{stem}` for the part of the path that an image and its mask have
            in common, folders included, and any other `{word}` for a further common part. None: the usual folders.
        masks: Likewise, for the masks.
        annotations: A table of pairs instead, with any delimiter, with the columns image and mask, and optionally
            split; `{split}` in its path stands for a split's name. Relative to the working directory or to `root`.
        columns: The names of the table's columns: `{image: photo, mask: drawing, split: fold}`.
        roots: Further folders to look for the table's files in.
        lists: Lists of names, one file per split: `splits/{split}.txt`, each with one stem or image name per line.
        val_share: Fraction of the images held out for validation if nothing else defines the splits.
        test_share: Likewise for test; 0: none.
        split_seed: Seed of the division.
        group: A regular expression that matches the part of an image's path that identifies its group, such as a
            drive or a patient; groups stay together. `^[^_]+` is the name up to the first `_`.
        channels: The images' number of channels, see `reading.channels.read_channels`: 3 for RGB, 1 for gray, others
            for TIFF files.
        white: The value that becomes 1, for images of more than 8 bits: 4095 for 12 bits, 10000 for Sentinel-2. None:
            255 for 8 bits, 65535 for 16.
        batch_size: Crops per training step, **per device**.
        eval_batch_size: Images per step when evaluating, per device; more than 1 needs images of equal size.
        num_workers: Processes that read images, per device; 0 reads in the training process.
        crop_size: Height and width of the training crops.
        crops: Crops per image and epoch; more than 1 for few or large images.
        scale: Smallest and largest factor by which training images are resized.
        flip: Probability of mirroring.
        color_jitter: Largest change of brightness, contrast, saturation (factors) and hue (fraction of the color
            circle); 0: none.
        blur: Smallest and largest σ of the Gaussian blur in pixels; None: none.
        predict_images: Folder of images, or one image, for `predict`.
        effective_batch: Crops per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        augment: Further transforms of training crops and their labels, see `DataModule`.
        fold: For example `2/5`: of five equal parts of the training and validation images together, the second is for
            validation and the others are for training. The parts depend on `split_seed` and `group`.
        class_uniform: Fraction of the crops drawn around class centroids, equally often for every class, so that rare
            classes are frequent; 0: none. The centroids, one per class and tile of each image, are computed once and
            cached in `root/pcpad_centroids_folder_*.npz`, or in the user's cache folder if `root` is read-only, until
            labels or classes change.
        tile_size: Height and width of the tiles that centroids are found in.

    Raises:
        ValueError: A value is out of range; in `setup`, images and masks that don't match, an empty split, or values
            in the first masks that are not classes (in others when they are read).
        FileNotFoundError: In `setup`, there is no data; says what was expected.
        BrokenImageError: On reading, a file cannot be read.
    """

    reads_by_opencv = True

    channels: int

    def __init__(
        self,
        root: PathName = "data/folder",
        classes: int | str | list[str] | dict[str, str | int | list[int]] | None = None,
        ignore: int | str | list[int | str | list[int]] | None = None,
        images: str | None = None,
        masks: str | None = None,
        annotations: FileName | None = None,
        columns: dict[str, str] | None = None,
        roots: list[str] | None = None,
        lists: str | None = None,
        val_share: float = 0.2,
        test_share: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
        channels: int = 3,
        white: float | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 1,
        num_workers: int = 4,
        crop_size: int = 512,
        crops: int = 1,
        scale: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        color_jitter: float = 0.25,
        blur: tuple[float, float] | None = None,
        predict_images: PathName | None = None,
        effective_batch: int | None = None,
        augment: Augment | None = None,
        fold: str | None = None,
        class_uniform: float = 0.0,
        tile_size: int = 512,
    ) -> None:
        super().__init__(
            root,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            effective_batch=effective_batch,
            augment=augment,
        )
        require(0 <= val_share < 1, "val_share", "in [0, 1)", val_share)
        require(0 <= test_share < 1 - val_share, "test_share", "in [0, 1 - val_share)", test_share)
        require(1 <= channels <= _MOST_CHANNELS, "channels", f"in 1 … {_MOST_CHANNELS}", channels)
        require(white is None or white > 0, "white", "None or above 0", white)
        require(crop_size >= 1, "crop_size", "at least 1", crop_size)
        require(crops >= 1, "crops", "at least 1", crops)
        require(0 < scale[0] <= scale[1], "scale", "0 < smallest <= largest", scale)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        require(0 <= color_jitter <= 0.5, "color_jitter", "in [0, 0.5]", color_jitter)
        require(blur is None or 0 < blur[0] <= blur[1], "blur", "None or 0 < smallest <= largest", blur)
        require(0 <= class_uniform <= 1, "class_uniform", "in [0, 1]", class_uniform)
        require(tile_size >= 1, "tile_size", "at least 1", tile_size)
        patterns = images is not None or masks is not None
        require(
            annotations is None or not patterns, "annotations", "None if `images` and `masks` are given", annotations
        )
        require(annotations is not None or not columns, "columns", "None if `annotations` is None", columns)
        others = [expanded(Path(each)) for each in roots or ()]
        self.layout = Layout(self.root, images, masks, annotations, columns or {}, others, lists)
        self.shares = Shares(val_share, test_share, split_seed, group)
        self.fold = None if fold is None else Fold.parse(fold, split_seed, group)
        self.values = None if classes is None else parse_classes(classes, ignore, self.root)
        if self.values is not None:
            self.class_names, self.class_colors = self.values.names, self.values.colors
        self.channels = channels
        self.white = white
        self.crops = crops
        self.class_uniform = class_uniform
        self.tile_size = tile_size
        self.augment = SceneAugmentation(crop_size, scale, flip, color_jitter, blur, channels)
        self.predict_images = expanded(predict_images)
        self._found: dict[str, list[Pair]] | None = None
        self._splits: dict[str, ScenePairs] = {}
        self._predict: FileTable | None = None
        self._centroids: Centroids | None = None

    def prepare_data(self) -> None:
        """Build the index of class centroids, in one process per machine, if training needs it."""
        if self.class_uniform and (self.trainer is None or self.trainer.state.fn == "fit"):
            self._find_centroids()

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        super().setup(stage)
        if stage == "predict":
            if self.predict_images is None:
                message = "predict needs images: --data.predict_images FOLDER"
                raise UserValueError(message)
            self._predict = find_images(self.predict_images)
            return
        if stage == "fit":
            self._prepare("train")
            if self.class_uniform:
                self._centroids = self._find_centroids()
        self._prepare("test" if stage == "test" and self.pairs()["test"] else "val")

    def pairs(self) -> dict[str, list[Pair]]:
        """All images with their masks, by split; listed once."""
        if self._found is None:
            found = find_pairs(self.layout, self.shares)
            if self.fold is not None:
                both = sorted(found["train"] + found["val"])
                held_out = self.fold.held_out([pair.image for pair in both])
                for split, chosen in (("train", ~held_out), ("val", held_out)):
                    found[split] = [pair for pair, taken in zip(both, chosen, strict=True) if taken]
            self._found = found
        return self._found

    def train_dataloader(self) -> CropLoader:
        """Augmented crops; a smaller last batch is dropped, unless it is the only one."""
        pairs = listed(self._splits.get("train"), "the training images", "fit")
        dataset = FolderCrops(pairs, self.augment, self.crops)
        if self._centroids is None:
            return self.training_loader(dataset)
        plan = CropPlan(len(dataset), self._centroids, self.class_uniform, len(self.class_names or ()), run_seed())
        return self.training_loader(dataset, plan)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images, whole, each once."""
        return self._evaluated(listed(self._splits.get("val"), "the images", "fit", "validate"))

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images if there are any, else the validation images."""
        return self._evaluated(listed(self._splits.get("test") or self._splits.get("val"), "the images", "test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """All images of `predict_images`, once each and in batches of one, sorted by path."""
        files = listed(self._predict, "the images", "predict")
        images = UnlabeledImages(files, None, partial(image_tensor, channels=self.channels, white=self.white))
        return self.prediction_loader(images, files.passed_over, batch_size=1)

    def _evaluated(self, pairs: ScenePairs) -> DataLoader[Any]:
        return self.evaluation_loader(FolderScenes(pairs), collate_fn=collate_equal_sizes)

    def _prepare(self, split: str) -> None:
        if split in self._splits:
            return
        pairs = self.pairs()[split]
        if not pairs:
            others = ", ".join(f"{len(found)} for {name}" for name, found in self.pairs().items() if found)
            wanted = " (--data.val_share 0.2 holds some out)" if split == "val" else ""
            message = f"{self.root.absolute()} has no images for {split}, but {others}: every split needs some{wanted}"
            raise UserValueError(message)
        if self.values is None:
            raise UserValueError(self.no_classes(pairs))
        self._splits[split] = ScenePairs(self.root, pairs, self.values, self.channels, self.white)
        self._look_at_some(self._splits[split])

    def _find_centroids(self) -> Centroids:
        """The index of class centroids in the training images; one index serves all folds."""
        pairs, values = self.pairs(), self.values
        if values is None:
            raise UserValueError(self.no_classes(pairs["train"]))
        both = sorted(pairs["train"] + pairs["val"])
        place = {pair: number for number, pair in enumerate(pairs["train"])}
        scenes = ScenePairs(self.root, both, values, self.channels, self.white)
        known = hashlib.sha256(values.table.tobytes()).hexdigest()
        found = load_centroids(
            self.root, "folder", both, self.tile_size, lambda at: scenes.read(at)[1].classes, len(values.names), known
        )
        return found.moved(np.asarray([place.get(pair, -1) for pair in both], np.int32))

    def no_classes(self, pairs: list[Pair]) -> str:
        """The error message for missing `classes`, which lists the values in the first masks."""
        held: set[str] = set()
        for pair in pairs[:_LOOKED_AT]:
            file = read_label_file(self.root / pair.label)
            if file.values is not None:
                held |= {str(value) for value in sorted(set(file.values.ravel().tolist()))[:256]}
            elif file.colors is not None:
                colors = file.colors.reshape(-1, 3)
                held |= {"#{:02x}{:02x}{:02x}".format(*color) for color in set(map(tuple, colors.tolist()))}
        shown = sorted(held, key=lambda value: (len(value), value))
        values = ", ".join(shown[:40]) + (", …" if len(shown) > 40 else "")
        return (
            f"Which classes are there? The first masks below {self.root.absolute()} hold {values}. Expected argument "
            f"`classes` (--data.classes) to be {EXPECTED}"
        )

    def _look_at_some(self, pairs: ScenePairs) -> None:
        """Read the first few, so that a problem of all of them fails early."""
        step = max(1, len(pairs) // _LOOKED_AT)
        tops = [pairs.read(index)[0] for index in range(0, len(pairs), step)][:_LOOKED_AT]
        white = self.white or (255 if tops[0].pixels.dtype.kind == "u" else 65535)
        brightest = max(image.top for image in tops)
        if 0 < brightest < _DARK * white:
            rank_zero_warn(
                f"The first images below {self.root} are nearly black: no value is above {brightest:g}, but "
                f"{white:g} counts as white. Pass --data.white {brightest:g}, or the end of their value range"
            )
