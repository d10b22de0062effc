"""Cityscapes: street scenes with a class for every pixel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.centroids import Centroids, load_centroids
from pcpad.datamodules.datasets.cityscapes_files import CITIES, VAL_CITIES, Pair, find_coarse, find_fine, select_cities
from pcpad.datamodules.datasets.cityscapes_labels import (
    CLASS_COLORS,
    CLASSES,
    RARE_TRAIN_IDS,
    check_set_of_ids,
    count_ids,
)
from pcpad.datamodules.datasets.epochs import CropLoader, CropPlan, run_seed
from pcpad.datamodules.datasets.folds import Fold
from pcpad.datamodules.datasets.image_folders import UnlabeledImages
from pcpad.datamodules.datasets.label_maps import read_checked_ids
from pcpad.datamodules.datasets.scenes import SceneAugmentation, SceneCrops, WholeScenes, collate_equal_sizes
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.errors import UserValueError
from pcpad.files import PathName


class CityscapesDataModule(DataModule):
    r"""Semantic segmentation of Cityscapes, or of any data in its format.

    ```
    root/leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png        2975 + 500 images, 1024×2048
    root/gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_labelIds.png         8-bit label ids
    root/leftImg8bit/train_extra/<city>/…_leftImg8bit.png                                19 998 images, optional
    root/gtCoarse/train_extra/<city>/…_gtCoarse_labelIds.png
    ```

    Each archive may also be in its own folder (`root/gtFine_trainvaltest/gtFine/…`). Cityscapes is available at
    https://www.cityscapes-dataset.com and needs an account. Label ids are converted to the 19 trainIds in memory; no
    `*_labelTrainIds.png` are needed. `class_names` and `num_classes` are known before `setup`.

    Splits, by city over train/ and val/: "cv0" (the official one) validates on frankfurt, lindau, munster (2975
    images for training, 500 for validation), "cv1" on darmstadt, dusseldorf, erfurt (3060, 415), "cv2" on
    monchengladbach, strasbourg, stuttgart (2820, 655). `test` runs on the split's validation images, as the labels
    of Cityscapes' own test images are not public.

    Batches: `image` `(N, 3, H, W)` uint8 RGB in [0, 255] (the task normalizes) and `label` `(N, H, W)` int64 trainIds,
    255 = ignore; crops of `crop_size`² pixels in training, whole images in evaluation. For prediction: `image` of any
    size and `path`, a list of one string, without labels. Files that cannot be read are skipped, and named in an
    error at the end.

    An epoch has as many crops as the split has fine training images. A fraction `class_uniform` of them contains class
    centroids (one per class and tile of `tile_size`² pixels of each image) at random places, equally often for every
    class; the others are anywhere. Coarse images are only used for centroids of the rare classes truck, bus, train,
    wall, rider, motorcycle, fence. The centroids are computed once (minutes, with a progress bar) and cached in
    `root/pcpad_centroids_*.npz`, or in the user's cache folder if `root` is read-only, until the labels change.
    An epoch's crops, their order and augmentation depend only on the seed of `seed_everything` (0 without one) and the
    epoch's number, not on the number of processes or workers. A run resumed from a checkpoint made within an epoch
    continues with the next crop.

    Augmentation (albumentations): scale, pad (image 0, label 255), crop, flip, color jitter, Gaussian blur.

    Args:
        root: The folder with leftImg8bit/ and gtFine/.
        split: Which cities to validate on: "cv0", "cv1" or "cv2".
        batch_size: Crops per training step, **per device**.
        eval_batch_size: Images per step when evaluating, per device; more than 1 needs images of equal size.
        num_workers: Processes that read images, per device; 0 reads in the training process.
        crop_size: Height and width of the training crops.
        scale: Smallest and largest factor by which training images are resized.
        class_uniform: Fraction of the crops drawn around class centroids; 0: none, and no index is built.
        tile_size: Height and width of the tiles that centroids are found in.
        coarse: Whether to use the coarse images of train_extra/.
        flip: Probability of mirroring.
        color_jitter: Largest change of brightness, contrast, saturation (factors) and hue (fraction of the color
            circle); 0: none.
        blur: Smallest and largest σ of the Gaussian blur in pixels; None: none.
        predict_images: Folder of images, or one image, for `predict`.
        effective_batch: Crops per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        augment: Further transforms of training images and labels, see `DataModule`.
        fold: Instead of `split`, for example `2/5`: of five parts of the cities in train/ and val/, the second is for
            validation and the others for training.
        split_seed: Seed of the parts of `fold`, independent of the run's seed.

    Raises:
        ValueError: A value is out of range; in `setup`, an unknown city, a split without images, images and labels
            that don't match or differ in size, or labels that are not label ids.
        FileNotFoundError: In `setup`, there is no data; says what was expected and where to get it.
        BrokenImageError: A file cannot be read; for training labels in `setup`, for others when they are read.
    """

    class_names = CLASSES
    class_colors = CLASS_COLORS
    reads_by_opencv = True

    def __init__(
        self,
        root: PathName = "data/cityscapes",
        split: Literal["cv0", "cv1", "cv2"] = "cv0",
        batch_size: int = 2,
        eval_batch_size: int = 1,
        num_workers: int = 4,
        crop_size: int = 736,
        scale: tuple[float, float] = (0.5, 2.0),
        class_uniform: float = 0.5,
        tile_size: int = 1024,
        coarse: bool = False,
        flip: float = 0.5,
        color_jitter: float = 0.25,
        blur: tuple[float, float] | None = (0.15, 1.3),
        predict_images: PathName | None = None,
        effective_batch: int | None = None,
        augment: Augment | None = None,
        fold: str | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            root,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            effective_batch=effective_batch,
            augment=augment,
        )
        require(split in VAL_CITIES, "split", f"one of {', '.join(VAL_CITIES)}", split)
        require(fold is None or split == "cv0", "split", "omitted if `fold` is given", split)
        require(crop_size >= 1, "crop_size", "at least 1", crop_size)
        require(0 < scale[0] <= scale[1], "scale", "0 < smallest <= largest", scale)
        require(0 <= class_uniform <= 1, "class_uniform", "in [0, 1]", class_uniform)
        require(tile_size >= 1, "tile_size", "at least 1", tile_size)
        # Coarse images are only used for centroids: without these, `coarse` would silently have no effect.
        require(class_uniform > 0 or not coarse, "class_uniform", "positive if `coarse` is true", class_uniform)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        require(0 <= color_jitter <= 0.5, "color_jitter", "in [0, 0.5]", color_jitter)
        if blur is not None:
            require(0 < blur[0] <= blur[1], "blur", "None or 0 < smallest <= largest", blur)
        self.split = split
        self.fold = None if fold is None else Fold.parse(fold, split_seed)
        self.class_uniform = class_uniform
        self.tile_size = tile_size
        self.coarse = coarse
        self.predict_images = expanded(predict_images)
        self.augment = SceneAugmentation(crop_size, scale, flip, color_jitter, blur)
        self._train: SceneCrops | None = None
        self._centroids: Centroids | None = None
        self._val: WholeScenes | None = None
        self._predict: FileTable | None = None

    def prepare_data(self) -> None:
        """Build the index of class centroids, in one process per machine, if training needs it."""
        if self.trainer is None or self.trainer.state.fn == "fit":
            self._prepare_training(find_fine(self.root))

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
        fine = find_fine(self.root)
        held_out = self._held_out(fine)
        val = select_cities(fine, held_out, f"{self._division()} has no validation images", self.root)
        self._val = WholeScenes(self.root, val)
        self._check_ids(val)
        if stage == "fit":
            self._train, self._centroids = self._prepare_training(fine)

    def train_dataloader(self) -> CropLoader:
        """Augmented crops; a smaller last batch is dropped, unless it is the only one."""
        dataset = listed(self._train, "the training images", "fit")
        plan = CropPlan(len(dataset), self._centroids, self.class_uniform, len(CLASSES), run_seed())
        return self.training_loader(dataset, plan)

    def val_dataloader(self) -> DataLoader[Any]:
        """The split's validation images, whole, each once."""
        dataset = listed(self._val, "the images", "fit", "validate", "test")
        return self.evaluation_loader(dataset, collate_fn=collate_equal_sizes)

    def test_dataloader(self) -> DataLoader[Any]:
        """The split's validation images, since the labels of Cityscapes' test images are not public."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """All images of `predict_images`, once each and in batches of one, sorted by path."""
        files = listed(self._predict, "the images", "predict")
        return self.prediction_loader(UnlabeledImages(files, _unchanged), files.passed_over, batch_size=1)

    def _prepare_training(self, fine: dict[str, list[Pair]]) -> tuple[SceneCrops, Centroids | None]:
        """List the images that crops are taken from, fine ones first, and load their centroids."""
        held_out = self._held_out(fine)
        cities = [city for city in (CITIES if self.fold is None else sorted(fine)) if city not in held_out]
        train = select_cities(fine, cities, f"{self._division()} has no training images", self.root)
        extra = find_coarse(self.root) if self.coarse else []
        self._check_ids(train)
        dataset = SceneCrops(self.root, train + extra, len(train), self.augment)
        if self.class_uniform == 0:
            return dataset, None
        # One index of all fine images serves the three splits.
        everything = [pair for pairs in fine.values() for pair in pairs]
        place = {pair: number for number, pair in enumerate(train)}
        places = np.asarray([place.get(pair, -1) for pair in everything], np.int32)
        centroids = load_centroids(self.root, "fine", everything, self.tile_size).moved(places)
        if extra:
            coarse = load_centroids(self.root, "coarse", extra, self.tile_size)
            coarse = coarse.select(np.isin(coarse.train_id, RARE_TRAIN_IDS))
            coarse = coarse.moved(np.arange(len(train), len(train) + len(extra), dtype=np.int32))
            centroids = Centroids(*(np.concatenate(columns) for columns in zip(centroids, coarse, strict=True)))
        return dataset, centroids

    def _held_out(self, fine: dict[str, list[Pair]]) -> Sequence[str]:
        """The cities for validation."""
        if self.fold is None:
            return VAL_CITIES[self.split]
        cities = sorted(fine)
        if len(cities) < self.fold.of:
            message = (
                f"fold: {len(cities)} cities ({', '.join(cities)}) below {self.root.absolute()} cannot make "
                f"{self.fold.of} folds, as a city's images stay together: choose fewer"
            )
            raise UserValueError(message)
        return [city for city, out in zip(cities, self.fold.held_out(cities), strict=True) if out]

    def _division(self) -> str:
        return f"split {self.split}" if self.fold is None else f"fold {self.fold.number}/{self.fold.of}"

    def _check_ids(self, pairs: list[Pair]) -> None:
        """Refuse labels of another kind, by checking one file per city."""
        looked_at = {Path(pair.label).parent: pair for pair in reversed(pairs)}.values()
        counts = sum((count_ids(read_checked_ids(self.root, pair)) for pair in looked_at), np.zeros(256, np.int64))
        others = f" and {len(looked_at) - 1} others" if len(looked_at) > 1 else ""
        check_set_of_ids(counts, f"{self.root / pairs[0].label}{others}")


def _unchanged(image: torch.Tensor) -> torch.Tensor:
    return image
