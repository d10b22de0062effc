"""Cityscapes for image synthesis: images with label ids and instance ids."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, expanded, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.cityscapes_files import CITIES, VAL_CITIES, find_fine, select_cities
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.panoptic_scenes import (
    COLORS,
    NAMES,
    TRAIN_IDS,
    UNKNOWN,
    PanopticScenes,
    collate_scenes,
    find_maps,
    with_instances,
)
from pcpad.errors import UserValueError
from pcpad.files import PathName


class CityscapesPanopticDataModule(DataModule):
    r"""Image synthesis of Cityscapes, or of any data in its format.

    ```
    root/leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png        2975 + 500 images, 1024×2048
    root/gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_labelIds.png         8-bit label ids
    root/gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_instanceIds.png      16-bit instance ids
    ```

    See `CityscapesDataModule` for the source, splits and folder variants. `pcpad sample cityscapes DIR` draws a
    stand-in.

    Batches: `image` (N, 3, H, W) uint8 RGB; `label` (N, 1, H, W) int64 label ids 0 … 33, and 34 for -1 (255 in the
    files); `instance` (N, 1, H, W) int64, the label id, or 1000 times the label id plus a number for single objects;
    `path`, a list of the label maps' names; with the argument `plans`, if the task asks for them, `plans`: by stride
    the `PanopticPlan` of label and instance, see `pcpad.models.spade.plans_of_strides`. Images are resized by bicubic
    and ids by nearest-neighbor interpolation. In evaluation also `label_full` (N, 1, H0, W0) uint8, the labels at
    their original size, in [0, 34]. In prediction, the same without `image`.

    An epoch's images, their order and mirroring depend only on the seed of `seed_everything` (0 without one) and the
    epoch's number, not on the number of processes or workers. A run resumed from a checkpoint made within an epoch
    continues with the next image. `test` runs on the split's validation images.

    Args:
        root: The folder with leftImg8bit/ and gtFine/.
        split: Which cities to validate on, see `CityscapesDataModule`.
        batch_size: Images per training step, **per device**.
        eval_batch_size: Images per step when evaluating and predicting, per device.
        num_workers: Processes that read images, per device; 0 reads in the training process.
        image_size: Height and width after resizing.
        flip: Probability of mirroring.
        predict_maps: For `predict`, a folder with `NAME_labelIds.png` and `NAME_instanceIds.png`.
        effective_batch: Images per step over all devices that the recipe assumes; warns if the run's differs. None:
            no check.
        augment: Further transforms of training images and maps, see `DataModule`.
        plans: Whether workers build the plans of panoptic networks; false: the network does. Results are equal.

    Raises:
        ValueError: A value is out of range; in `setup`, an unknown city, a split without images, or images and labels
            that don't match; on reading, maps of another kind or size, or values that are not label ids.
        FileNotFoundError: In `setup`, data or instance maps are missing.
        BrokenImageError: On reading, a file cannot be read.
    """

    class_names = NAMES
    class_colors = COLORS
    train_ids = TRAIN_IDS
    unknown = UNKNOWN

    def __init__(
        self,
        root: PathName = "data/cityscapes",
        split: Literal["cv0", "cv1", "cv2"] = "cv0",
        batch_size: int = 4,
        eval_batch_size: int = 1,
        num_workers: int = 4,
        image_size: tuple[int, int] = (256, 512),
        flip: float = 0.5,
        predict_maps: PathName | None = None,
        effective_batch: int | None = None,
        augment: Augment | None = None,
        plans: bool = True,
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
        require(min(image_size) >= 1, "image_size", "height and width of at least 1", image_size)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        self.split = split
        self.image_size = (image_size[0], image_size[1])
        self.flip = flip
        self.plans = plans
        self.predict_maps = expanded(predict_maps)
        self._train: PanopticScenes | None = None
        self._eval: PanopticScenes | None = None
        self._left_out: list[str] = []

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        super().setup(stage)
        if stage == "predict":
            if self.predict_maps is None:
                message = "predict needs label and instance maps: --data.predict_maps FOLDER"
                raise UserValueError(message)
            self._left_out = []
            self._eval = PanopticScenes(find_maps(self.predict_maps, self._left_out), self.image_size, full=True)
            return
        fine, held_out = find_fine(self.root), VAL_CITIES[self.split]
        val = select_cities(fine, held_out, f"split {self.split} has no validation images", self.root)
        self._eval = PanopticScenes(with_instances(self.root, val), self.image_size, full=True)
        if stage == "fit":
            cities = [city for city in CITIES if city not in held_out]
            train = select_cities(fine, cities, f"split {self.split} has no training images", self.root)
            self._train = PanopticScenes(with_instances(self.root, train), self.image_size, self.flip)

    def train_dataloader(self) -> CropLoader:
        """Images in random order, mirrored at random; a smaller last batch is dropped, unless it is the only one."""
        return self.training_loader(
            listed(self._train, "the training images", "fit"), collate_fn=self._collate("training")
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """The split's validation images, each once."""
        dataset = listed(self._eval, "the images", "fit", "validate", "test")
        return self.evaluation_loader(dataset, collate_fn=self._collate("inference"))

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> DataLoader[Any]:
        """The readable maps to predict from, each once."""
        maps = listed(self._eval, "the maps", "predict")
        return self.prediction_loader(maps, self._left_out, collate_fn=self._collate("inference"))

    def _collate(self, made_for: Literal["inference", "training"]) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """The collate function; without workers it makes no plans, as they would be made in the same process anyway."""
        task = self.trainer.lightning_module if self.trainer else None
        asked = self.plans and self.num_workers > 0 and getattr(task, "panoptic_plans", False)
        return partial(collate_scenes, plans=made_for if asked else "no")
