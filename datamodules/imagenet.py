"""ImageNet, and any other data set of one image folder per class."""

from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.datamodules.datasets.file_tables import SPLITS
from pcpad.datamodules.datasets.folds import Fold
from pcpad.datamodules.datasets.image_folders import (
    LabeledFiles,
    LabeledImages,
    Reader,
    UnlabeledImages,
    scan_split,
    split_folder,
    table_splits,
    undivided_classes,
)
from pcpad.datamodules.datasets.transforms import evaluation_transform, training_transform
from pcpad.datamodules.reading.folders import FileTable, class_folders, find_images
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import FileName, PathName

_NO_DATA = """{what}: {path}
Expected (any names and image formats; one folder per class, the same names in each split):
    {root}/train/<class>/*.JPEG    for example train/n01440764/n01440764_10026.JPEG
    {root}/val/<class>/*.JPEG
    {root}/test/<class>/*.JPEG     optional; without it, `test` runs on val/
ImageNet (ILSVRC2012) is available at https://image-net.org/download.php and needs an account. Its train archive
holds one archive per class, and its val images come without folders: both have to be sorted into class folders.
A small stand-in of real handwritten digits, written in a second:
    pcpad sample digits DIR        and then --data.root DIR"""


class ImageNetDataModule(DataModule):
    r"""Image classification from folders, in the layout of ImageNet (ILSVRC2012).

    ```
    root/train/<class>/*.JPEG     1 281 167 images in 1000 folders n01440764 … n15075141
    root/val/<class>/*.JPEG          50 000 images
    root/test/<class>/*.JPEG      optional: `test` uses it if it exists, else val/
    ```

    Any data set with one folder per class works; `training`, `validation`, `valid` and similar names are recognized
    too, and if class folders are not in split folders, `root/<class>/*.jpg`, `val_share` of each class is for
    validation.

    A class's index is the position of its folder among the sorted folder names of train/ (without train/, of val/, else
    of test/, for evaluation only); the other splits may lack classes, but not add any. Images may be in subfolders;
    hidden files are ignored. `class_names` and `num_classes` are known after `setup`. ImageNet itself is available at
    https://image-net.org and needs an account; its test images have no labels: a test/ without class folders is
    ignored, with a warning. Other files in or next to class folders are ignored with a warning too, except for lists,
    notes and the like; prediction ends with an error for them.

    Batches: `image` `(N, 3, image_size, image_size)` uint8 RGB in [0, 255] (the task normalizes) and `label`
    `(N,)` int64; in prediction `image` and `path`, a list of N strings.

    Training uses a random resized crop and a random flip, evaluation the center of the resized image, as in the
    official PyTorch ImageNet example (bilinear, antialiased). An epoch's images, their order and crops depend only on
    the seed of `seed_everything` (0 without one) and the epoch's number, not on the number of processes or workers. A
    run resumed from a checkpoint made within an epoch continues with the next image.

    An unreadable training image is skipped with a warning, up to `max_broken`; in validation and test it raises
    `BrokenImageError`, so that no result is computed on fewer images than stated. Prediction processes all readable
    images, and then ends with an error that lists the others.

    Args:
        root: The folder with train/ and val/.
        batch_size: Images per step, **per device**.
        num_workers: Processes that read images, per device; 0 reads in the training process.
        image_size: Height and width of the images in a batch.
        resize: Length of the shorter side before the center crop; at least `image_size`.
        crop_scale: Smallest and largest fraction of the area that a random training crop covers. None: training
            images are cropped like evaluation images (digits and other small images).
        crop_ratio: Smallest and largest width / height of a random crop.
        horizontal_flip: Probability of mirroring a training image; 0 for digits and letters.
        predict_images: Folder of images, or one image, for `predict`.
        max_broken: How many unreadable training images to skip, in each worker process.
        upright: Whether training and evaluation apply the EXIF orientation, as prediction always does. False reads
            images as stored, as the pipelines behind ImageNet's published numbers did.
        effective_batch: Images per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        annotations: A table instead of class folders, with any delimiter, with the columns image and label, and
            optionally split; `{split}` in its path stands for a split's name. Relative to the working directory or to
            `root`; its file names are relative to `root` or to its own folder.
        columns: The names of its columns: `{image: file, label: species, split: fold}`.
        roots: Further folders to look for its files in.
        val_share: Fraction of the images held out for validation if neither the table nor folders define the splits.
        split_seed: Seed of that division and of the parts of `fold`, independent of the run's seed.
        group: A regular expression that matches the part of an image's path that identifies its group, such as
            `^[^_]+`; groups stay together. None: each image by itself.
        channels: The images' number of channels, see `reading.channels.read_channels`: 3 for RGB, 1 for gray, others
            for TIFF files.
        white: The value that becomes 1, for images of more than 8 bits. None: converted to 8-bit RGB if `channels` is
            3.
        augment: Further transforms of training images, see `DataModule`.
        fold: For example `2/5`: of five equal parts of train/, the second is for validation (and for `test`, without a
            test/), and the others are for training; val/ is not used. Each part has its share of every class.

    Raises:
        ValueError: A value is out of range; in `setup`, classes that don't match, or empty folders.
        FileNotFoundError: In `setup`, there is no data; says what was expected and where to get it.
    """

    def __init__(
        self,
        root: PathName = "data/imagenet",
        batch_size: int = 32,
        num_workers: int = 4,
        image_size: int = 224,
        resize: int = 256,
        crop_scale: tuple[float, float] | None = (0.08, 1.0),
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        horizontal_flip: float = 0.5,
        predict_images: PathName | None = None,
        max_broken: int = 10,
        effective_batch: int | None = None,
        upright: bool = True,
        annotations: FileName | None = None,
        columns: dict[str, str] | None = None,
        roots: list[str] | None = None,
        val_share: float = 0.2,
        split_seed: int = 0,
        group: str | None = None,
        channels: int = 3,
        white: float | None = None,
        augment: Augment | None = None,
        fold: str | None = None,
    ) -> None:
        super().__init__(
            root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch, augment=augment
        )
        require(image_size >= 1, "image_size", "at least 1", image_size)
        # With a smaller one, the center crop would pad with black: a border added by the data.
        require(resize >= image_size, "resize", f"at least image_size={image_size}", resize)
        if crop_scale is not None:
            require(0 < crop_scale[0] <= crop_scale[1] <= 1, "crop_scale", "0 < smallest <= largest <= 1", crop_scale)
        require(0 < crop_ratio[0] <= crop_ratio[1], "crop_ratio", "0 < smallest <= largest", crop_ratio)
        require(0 <= horizontal_flip <= 1, "horizontal_flip", "in [0, 1]", horizontal_flip)
        require(max_broken >= 0, "max_broken", "at least 0", max_broken)
        require(0 <= val_share < 1, "val_share", "in [0, 1)", val_share)
        require(channels >= 1, "channels", "at least 1", channels)
        require(white is None or white > 0, "white", "None or above 0", white)
        require(
            annotations is not None or not (columns or roots),
            "annotations",
            "given if `columns` or `roots` is",
            None,
        )
        self.annotations = annotations
        self.columns = columns or {}
        self.roots = [expanded(Path(each)) for each in roots or ()]
        self.shares = Shares(val_share, 0, split_seed, group)
        self.channels = channels
        self.read: Reader | None = None
        if channels != 3 or white is not None:
            from pcpad.datamodules.reading.channels import image_tensor  # imports OpenCV

            self.read = partial(image_tensor, channels=channels, white=white)
        self.predict_images = expanded(predict_images)
        self.max_broken = max_broken
        self.upright = upright
        self.eval_transform = evaluation_transform(resize, image_size)
        self.train_transform = training_transform(resize, image_size, crop_scale, crop_ratio, horizontal_flip)
        require(
            fold is None or annotations is None, "fold", "omitted with `annotations`, which defines the splits", fold
        )
        divided = fold is not None or annotations is not None
        require(group is None or divided, "group", "omitted without `fold` and `annotations`", group)
        self.fold = None if fold is None else Fold.parse(fold, split_seed, group)
        self._splits: dict[str, LabeledFiles] = {}
        self._test_split = "val"
        self._undivided = False
        self._predict: FileTable | None = None

    def look_for_classes(self) -> None:
        """Set the class names from the folder names, without reading the folders, or from the table."""
        if self.annotations is not None:
            table = (self.root, self.annotations, self.columns, self.roots, self.shares)
            self.class_names, self._splits = table_splits(*table)
            return
        found = (class_folders(split_folder(self.root, split)) for split in SPLITS)
        self.class_names = next((names for names in found if names), [])
        if not self.class_names:
            self.class_names = undivided_classes(self.root)
            self._undivided = bool(self.class_names)

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        super().setup(stage)
        self.look_for_classes()
        if stage == "predict":
            if self.predict_images is None:
                message = "predict needs images: --data.predict_images FOLDER"
                raise UserValueError(message)
            self._predict = find_images(self.predict_images)
        elif stage == "fit":
            self._scan("train")
            self._scan("val")
        elif stage == "validate":
            self._scan("val")
        else:
            self._test_split = self._find_test_split()
            self._scan(self._test_split)

    def train_dataloader(self) -> CropLoader:
        """Shuffled, augmented batches; a smaller last one is dropped, unless it is the only one."""
        options: dict[str, Any] = {"upright": self.upright, "read": self.read}
        images = LabeledImages(self._split("train"), self.train_transform, self.max_broken, **options)
        return self.training_loader(images)

    def val_dataloader(self) -> DataLoader[Any]:
        """All images of val/, each once."""
        return self._evaluated("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """All images of test/ if it exists, else of val/, each once."""
        return self._evaluated(self._test_split)

    def predict_dataloader(self) -> DataLoader[Any]:
        """All images of `predict_images`, each once, sorted by path."""
        files = listed(self._predict, "the images", "predict")
        return self.prediction_loader(UnlabeledImages(files, self.eval_transform, self.read), files.passed_over)

    def _evaluated(self, split: str) -> DataLoader[Any]:
        options: dict[str, Any] = {"upright": self.upright, "read": self.read}
        return self.evaluation_loader(LabeledImages(self._split(split), self.eval_transform, **options))

    def _scan(self, split: str) -> None:
        if self.annotations is not None:
            if not len(self._splits[split].files):
                message = f"{self.annotations} has no images for {split}: every split needs some (--data.val_share 0.2)"
                raise UserValueError(message)
            return
        if split != "test" and (self.fold is not None or self._undivided):
            self._divide(self.fold)
            return
        folder = split_folder(self.root, split)
        if not class_folders(folder):
            raise UserFileNotFoundError(self._no_data(folder))
        if split not in self._splits:
            self._splits[split] = scan_split(folder, self.class_names or ())

    def _divide(self, fold: Fold | None) -> None:
        """Divide train/, or class folders without split folders, into training and validation."""
        if "train" in self._splits:
            return
        folder = self.root if self._undivided else split_folder(self.root, "train")
        if not class_folders(folder):
            raise UserFileNotFoundError(self._no_data(folder))
        if fold is None:
            if not self.shares.val:
                raise UserFileNotFoundError(self._no_data(self.root / "train"))
            fold = Fold(1, max(2, round(1 / self.shares.val)), self.shares.seed, self.shares.group)
            rank_zero_info(f"{folder}: class folders without train/ and val/: 1 in {fold.of} images is for validation")
        files, labels = scan_split(folder, self.class_names or ())
        held_out = fold.held_out(files.names, labels)
        self._splits["train"] = LabeledFiles(files.select(~held_out), labels[~held_out])
        self._splits["val"] = LabeledFiles(files.select(held_out), labels[held_out])

    def _split(self, split: str) -> LabeledFiles:
        stages = ("fit",) if split == "train" else ("fit", "validate", "test")
        return listed(self._splits.get(split), f"the images of {split}", *stages)

    def _find_test_split(self) -> str:
        if self.annotations is not None:
            return "test" if len(self._splits["test"].files) else "val"
        folder = split_folder(self.root, "test")
        if class_folders(folder):
            return "test"
        if folder.is_dir():
            rank_zero_warn(f"{folder.absolute()} has no class folders, so no labels: val/ is used for testing")
        return "val"

    def _no_data(self, folder: Path) -> str:
        what = "No class folders in" if folder.is_dir() else "No such folder"
        return _NO_DATA.format(what=what, path=folder.absolute(), root=self.root)
