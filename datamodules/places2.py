"""Places2, or any folder of images, with masks of holes."""

from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, evaluation_sampler, expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.damaged import DamagedPictures, PictureLoader, find_damaged, only
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.hole_masks import (
    AugmentedMasks,
    DrawnMasks,
    FixedMasks,
    MaskSource,
    Polarity,
    find_masks,
)
from pcpad.datamodules.datasets.masked_images import MaskedCrops, MaskedSquares
from pcpad.datamodules.datasets.places2_files import ImageSplits, Split
from pcpad.datamodules.datasets.strokes import check_hole_ratio
from pcpad.files import PathName


class Places2DataModule(DataModule):
    r"""Images with holes for inpainting: Places2, or any set of images with train/, val/ and test/.

    ```
    root/data_large/a/airfield/00000001.jpg          or root/train/…: any images, with or without subfolders
    root/val_large/Places365_val_00000001.jpg        or root/val/…
    root/test_large/Places365_test_00000001.jpg      or root/test/…; val and test can replace each other
    masks/*.png                                      irregular_mask.zip's disocclusion_img_mask/, white = valid
    test_masks/*.png                                 test_mask.zip's testing_mask_dataset/, white = hole
    ```

    Batches: `image` (N, 3, S, S) uint8 RGB in [0, 255], `mask` (N, 1, S, S) uint8, 1 = valid, 0 = hole, `path`, a list
    of N strings; S is `image_size`. Training images are resized, cropped to random squares, mirrored, and given an
    augmented mask (see `AugmentedMasks`); in evaluation the shorter side is resized to S, the center is cropped, and
    each image has a fixed mask, with hole-ratio bins alternating from image to image (see `FixedMasks`). An epoch's
    crops and masks depend only on the seed of `seed_everything` (0 without one) and the epoch's number; a run resumed
    from a checkpoint made within an epoch continues with the next image.

    For prediction: one picture of any size at a time, on the CPU, for `pcpad.filling.fill`; see `PictureLoader`.
    Pictures that cannot be used are skipped, and named in an error at the end.

    Args:
        root: The folder with the images; not needed to predict.
        masks: Folder of training masks; None draws brush strokes and boxes.
        mask_polarity: What white means in `masks` and `predict_masks`; checked for plausibility.
        test_masks: Folder of masks for validation and test; None draws them.
        test_mask_polarity: What white means in `test_masks`.
        image_size: S.
        batch_size: Images per step, **per device**.
        effective_batch: Images per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        num_workers: Processes that read images, per device; prediction uses none.
        scale: Smallest and largest factor between a training image's shorter side and S.
        flip: Probability of mirroring a training image.
        hole_ratio: Smallest and largest hole share of masks drawn for training.
        bins: Ranges (low, high] of hole shares, which evaluated images have in turn.
        mask_seed: Seed of the masks of evaluated images, independent of the run's seed.
        predict_images: Folder of pictures, or a single one, for `predict`.
        predict_masks: Folder of masks named like the pictures, or one mask for all.
        predict_mask_polarity: What white means in `predict_masks`, if it differs from `mask_polarity`; then any share
            of holes is accepted. `nonblack_hole`, `nonwhite_hole`, `transparent_hole` and `opaque_hole` are for masks
            that are not black and white, which are refused otherwise.
        predict_mask_threshold: For gray masks, the fraction of white above which a pixel of `predict_masks` counts as
            white; None: half, and masks that are mostly neither black nor white are refused.
        fit_masks: `nearest` resizes masks whose size differs from their picture's; None refuses them.
        augment: Further transforms of training images and masks, see `DataModule`.

    Raises:
        ValueError: A value is out of range; in `setup`, a polarity for which most of each picture is a hole, or
            pictures with the same name or without a mask.
        FileNotFoundError: In `setup`, there is no data; says what was expected and where to get it.
        BrokenImageError: On reading, a file for training or evaluation cannot be read.
    """

    reads_by_opencv = True
    unknown = 1  # pixels filled in from outside are not holes

    def __init__(
        self,
        root: PathName = "data/places2",
        masks: PathName | None = None,
        mask_polarity: Polarity | None = None,
        test_masks: PathName | None = None,
        test_mask_polarity: Polarity | None = None,
        image_size: int = 256,
        batch_size: int = 6,
        effective_batch: int | None = None,
        num_workers: int = 4,
        scale: tuple[float, float] = (1.0, 1.25),
        flip: float = 0.5,
        hole_ratio: tuple[float, float] = (0.01, 0.6),
        bins: list[tuple[float, float]] | None = None,
        mask_seed: int = 0,
        predict_images: PathName | None = None,
        predict_masks: PathName | None = None,
        predict_mask_polarity: Polarity | None = None,
        fit_masks: Literal["nearest"] | None = None,
        predict_mask_threshold: float | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(
            root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch, augment=augment
        )
        self.bins = [(low, high) for low, high in bins or ((0.01, 0.2), (0.2, 0.4), (0.4, 0.6))]
        require(image_size >= 8, "image_size", "at least 8", image_size)
        require(1 <= scale[0] <= scale[1], "scale", "1 <= smallest <= largest", scale)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        threshold = predict_mask_threshold
        fine = threshold is None or 0 < threshold < 1
        require(fine, "predict_mask_threshold", "None or in (0, 1)", threshold)
        require(mask_seed >= 0, "mask_seed", "at least 0", mask_seed)
        for name, ratio in [("hole_ratio", hole_ratio), *(("bins", one) for one in self.bins)]:
            check_hole_ratio(name, image_size, ratio)
        self.splits = ImageSplits(self.root)
        self.masks, self.mask_polarity = expanded(masks), mask_polarity
        self.test_masks, self.test_mask_polarity = expanded(test_masks), test_mask_polarity
        self.image_size = image_size
        self.scale = scale
        self.flip = flip
        self.hole_ratio = hole_ratio
        self.mask_seed = mask_seed
        self.predict_images, self.predict_masks = expanded(predict_images), expanded(predict_masks)
        self.predict_mask_polarity, self.fit_masks = predict_mask_polarity, fit_masks
        self.predict_mask_threshold = predict_mask_threshold
        self._train: MaskedCrops | None = None
        self._evaluated: dict[Split, MaskedSquares] = {}
        self._predict: DamagedPictures | None = None

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        super().setup(stage)
        if stage == "predict":
            polarity, sure = self.predict_mask_polarity or self.mask_polarity, self.predict_mask_polarity is not None
            places = (self.predict_images, self.predict_masks)
            self._predict = find_damaged(*places, polarity, sure, self.fit_masks, self.predict_mask_threshold)
            return
        if stage == "fit":
            masks: MaskSource = DrawnMasks(self.image_size, self.hole_ratio)
            if self.masks is not None:
                files, polarity = find_masks(self.masks, self.mask_polarity, "mask_polarity")
                masks = AugmentedMasks(files, polarity, self.image_size)
            self._train = MaskedCrops(self.splits["train"], masks, self.image_size, self.scale, self.flip)
        split: Split = "test" if stage == "test" else "val"
        if split not in self._evaluated:
            files_of_masks, polarity = None, "white_valid"
            if self.test_masks is not None:
                files_of_masks, polarity = find_masks(self.test_masks, self.test_mask_polarity, "test_mask_polarity")
            fixed = FixedMasks(files_of_masks, polarity, self.image_size, self.bins, self.mask_seed)
            self._evaluated[split] = MaskedSquares(self.splits[split], fixed)

    def train_dataloader(self) -> CropLoader:
        """Random squares with random masks; a smaller last batch is dropped, unless it is the only one."""
        return self.training_loader(listed(self._train, "the images", "fit"))

    def val_dataloader(self) -> DataLoader[Any]:
        """The images of val, each once with its own mask."""
        return self.evaluation_loader(listed(self._evaluated.get("val"), "the images", "fit", "validate"))

    def test_dataloader(self) -> DataLoader[Any]:
        """The images of test, each once with its own mask."""
        return self.evaluation_loader(listed(self._evaluated.get("test"), "the images", "test"))

    def predict_dataloader(self) -> PictureLoader:
        """The usable pictures of `predict_images`, one at a time, sorted by path."""
        dataset = listed(self._predict, "the pictures", "predict")
        if self.ranks[1] == 0:
            dataset.failures += dataset.left_out
        # In this process: passing a picture of gigabytes from a worker takes as much shared memory.
        return PictureLoader(dataset, collate_fn=only, sampler=evaluation_sampler(dataset, self.trainer))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Keep a picture to be filled on the CPU; `fill` moves it tile by tile."""
        if self.trainer is not None and self.trainer.predicting:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def teardown(self, stage: str) -> None:
        """Raise an error at the end if pictures could not be used; for `stage` see `setup`."""
        if stage == "predict" and self._predict is not None:
            self._predict.raise_failures()
