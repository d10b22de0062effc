"""Inpainting of user-provided pictures, each with its own mask."""

from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from pcpad.datamodules.base import expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.file_pairs import Layout, find_pairs
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.datamodules.datasets.hole_masks import Polarity
from pcpad.datamodules.datasets.masked_pairs import PairedCrops, PairedSquares, PicturesWithMasks
from pcpad.datamodules.places2 import Places2DataModule
from pcpad.errors import UserValueError
from pcpad.files import FileName, PathName


class FolderInpaintingDataModule(Places2DataModule):
    r"""Pictures with holes, each with its own mask, such as annotated damage, watermarks or clouds.

    ```
    root/{train,val,test}/images/<stem>.jpg    root/{train,val,test}/masks/<stem>.png   found automatically
    root/images/<stem>.jpg                     root/masks/<stem>.png                    likewise, split by share
    root/<any>/<stem>.tif                      root/<other>/<stem>_holes.png            patterns: `images` and `masks`
    root/pairs.csv: image;mask;split                                                    `annotations`
    ```

    For pictures without their own masks, see `Places2DataModule`, which draws holes or takes them from a folder.

    Batches, squares and prediction are as in `Places2DataModule`, with the picture's own mask: `image` (N, 3, S, S)
    uint8 RGB in [0, 255], `mask` (N, 1, S, S) uint8, 1 = valid, 0 = hole, `path`, a list of N strings. The mask is
    cropped, resized and mirrored with its picture; a resized pixel is valid if all pixels that it covers are. The
    picture's content in the holes is the target, in training and in scores: pictures must be complete.

    Args:
        root: The folder with the data.
        mask_polarity: What white means in the masks.
        images: Pattern of the pictures below `root`, see `FolderSegmentationDataModule`; None: the usual folders.
        masks: Likewise, for the masks.
        annotations: A table of pairs instead, with the columns image and mask, and optionally split.
        columns: The names of its columns: `{image: photo, mask: holes}`.
        roots: Further folders to look for its files in.
        lists: Lists of names, one file per split: `splits/{split}.txt`.
        val_share: Fraction of the pictures held out for validation if nothing else defines the splits.
        test_share: Likewise for test; 0: none.
        split_seed: Seed of the division.
        group: A regular expression that matches the part of a picture's path that identifies its group; groups stay
            together.
        image_size: S.
        batch_size: Pictures per step, **per device**.
        effective_batch: Pictures per step, over all devices and accumulated batches, that the recipe assumes; warns
            if the run's differs. None: no check.
        augment: Further transforms of training pictures and masks, see `DataModule`.
        num_workers: Processes that read pictures, per device; prediction uses none.
        scale: Smallest and largest factor between a training picture's shorter side and S.
        flip: Probability of mirroring a training picture.
        predict_images: Folder of pictures, or a single one, for `predict`.
        predict_masks: Folder of masks named like the pictures, or one mask for all; with `mask_polarity`.
        fit_masks: For `predict`, `nearest` resizes masks whose size differs from their picture's; None refuses them.

    Raises:
        ValueError: A value is out of range; in `setup`, pictures and masks don't match, or a split is empty.
        FileNotFoundError: In `setup`, there is no data; says what was expected.
        BrokenImageError: On reading, a file cannot be read.
    """

    def __init__(
        self,
        root: PathName = "data/folder",
        mask_polarity: Polarity | None = None,
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
        image_size: int = 256,
        batch_size: int = 6,
        effective_batch: int | None = None,
        num_workers: int = 4,
        scale: tuple[float, float] = (1.0, 1.25),
        flip: float = 0.5,
        predict_images: PathName | None = None,
        predict_masks: PathName | None = None,
        fit_masks: Literal["nearest"] | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(
            root=root,
            mask_polarity=mask_polarity,
            image_size=image_size,
            batch_size=batch_size,
            effective_batch=effective_batch,
            num_workers=num_workers,
            scale=scale,
            flip=flip,
            predict_images=predict_images,
            predict_masks=predict_masks,
            fit_masks=fit_masks,
            augment=augment,
        )
        require(0 <= val_share < 1, "val_share", "in [0, 1)", val_share)
        require(0 <= test_share < 1 - val_share, "test_share", "in [0, 1 - val_share)", test_share)
        fine = annotations is None or (images is None and masks is None)
        require(fine, "annotations", "None if `images` and `masks` are given", annotations)
        others = [expanded(Path(each)) for each in roots or ()]
        self.layout = Layout(self.root, images, masks, annotations, columns or {}, others, lists)
        self.shares = Shares(val_share, test_share, split_seed, group)
        self._paired: dict[str, PicturesWithMasks] = {}

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        if stage == "predict":
            super().setup(stage)
            return
        self._warn_of_other_batch()
        if self.mask_polarity is None:
            message = (
                "What does white mean in the masks? Pass --data.mask_polarity white_hole (white is filled) or "
                "white_valid (white is kept)"
            )
            raise UserValueError(message)
        if not self._paired:
            found = find_pairs(self.layout, self.shares)
            self._paired = {
                split: PicturesWithMasks(self.root, pairs, self.mask_polarity)
                for split, pairs in found.items()
                if pairs
            }
        for split in ("train", "val") if stage == "fit" else ("val",) if not self._paired.get(stage) else ():
            if split not in self._paired:
                message = f"{self.root.absolute()} has no pictures for {split}: every split needs some"
                raise UserValueError(message)
        for pairs in self._paired.values():
            pairs.read(0)  # so that a problem of all pictures fails early

    def train_dataloader(self) -> CropLoader:
        """Random squares; a smaller last batch is dropped, unless it is the only one."""
        pairs = listed(self._paired.get("train"), "the pictures", "fit")
        return self.training_loader(PairedCrops(pairs, self.image_size, self.scale, self.flip))

    def val_dataloader(self) -> DataLoader[Any]:
        """The pictures of val, each once."""
        pairs = listed(self._paired.get("val"), "the pictures", "fit", "validate")
        return self.evaluation_loader(PairedSquares(pairs, self.image_size))

    def test_dataloader(self) -> DataLoader[Any]:
        """The pictures of test if there are any, else of val."""
        pairs = listed(self._paired.get("test") or self._paired.get("val"), "the pictures", "test")
        return self.evaluation_loader(PairedSquares(pairs, self.image_size))
