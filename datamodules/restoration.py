"""Photographs and dead-leaves images with drawn damage, for the network that is included in pcpad."""

from typing import Any

from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, listed, require
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.photos import Split, find_photos
from pcpad.datamodules.datasets.restoration_crops import DamagedCrops, DamagedSquares
from pcpad.files import PathName


class RestorationDataModule(DataModule):
    r"""An unlimited number of pictures with scratches, strokes, writing, blocks, dust and missing sides.

    ```
    root/train/**      photographs at any depth, in any format that `read_image` knows
    root/val/**        held-out ones; if one of the two is missing, the other serves as both
    root/test/**
    root/**            or, without any of these folders, all photographs: a share `held_out` of them, chosen by name,
                       serves as val and test, the others as train
    ```

    A few dozen photographs are enough, since they also provide colors and textures for dead-leaves images, which teach
    edges and occlusion (see `pcpad.datamodules.datasets.dead_leaves`). `pcpad sample restoration DIR` gathers the
    installed ones of those that the included weights were trained on; `pcpad/models/restoration.md` lists all.

    Batches: `image` (N, 3, S, S) uint8 RGB in [0, 255], `mask` (N, 1, S, S) uint8, 1 = valid, 0 = hole; S is
    `image_size`. For the kinds of damage see `pcpad.datamodules.datasets.damages`. Evaluation uses the center square
    of each photograph, once with each kind of damage, the same in every run.

    Args:
        root: The folder of photographs.
        image_size: S in training.
        eval_image_size: S in evaluation.
        batch_size: Pictures per step, **per device**.
        effective_batch: Pictures per step, over all devices and accumulated batches, that the recipe assumes; warns
            if the run's differs. None: no check.
        num_workers: Processes that draw pictures, per device; 0 draws in the training process.
        crops: Pictures per epoch.
        leaves: Share of them that are dead-leaves images.
        held_out: For a folder without splits, the share that is not for training, in (0, 1).
        mask_seed: Seed of the damage of evaluated pictures, independent of the run's seed.

    Raises:
        ValueError: A value is out of range.
        FileNotFoundError: In `setup`, there are no photographs; says what was expected.
        BrokenImageError: A file cannot be read.
    """

    reads_by_opencv = True
    unknown = 1

    def __init__(
        self,
        root: PathName = "data/photos",
        image_size: int = 128,
        eval_image_size: int = 256,
        batch_size: int = 8,
        effective_batch: int | None = None,
        num_workers: int = 1,
        crops: int = 4800,
        leaves: float = 0.3,
        held_out: float = 0.2,
        mask_seed: int = 0,
    ) -> None:
        super().__init__(root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch)
        require(image_size >= 32, "image_size", "at least 32", image_size)
        require(eval_image_size >= 32, "eval_image_size", "at least 32", eval_image_size)
        require(crops >= 1, "crops", "at least 1", crops)
        require(0 <= leaves <= 1, "leaves", "in [0, 1]", leaves)
        require(0 < held_out < 1, "held_out", "in (0, 1)", held_out)
        require(mask_seed >= 0, "mask_seed", "at least 0", mask_seed)
        self.image_size, self.eval_image_size = image_size, eval_image_size
        self.crops = crops
        self.leaves = leaves
        self.held_out = held_out
        self.mask_seed = mask_seed
        self._train: DamagedCrops | None = None
        self._evaluated: dict[Split, DamagedSquares] = {}

    def setup(self, stage: str) -> None:
        """List the photographs that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate" or "test".
        """
        super().setup(stage)
        if stage == "fit" and self._train is None:
            files = find_photos(self.root, "train", self.held_out, 0)
            self._train = DamagedCrops(files, self.image_size, self.crops, self.leaves)
        split: Split = "test" if stage == "test" else "val"
        if stage != "predict" and split not in self._evaluated:
            files = find_photos(self.root, split, self.held_out, 0)
            self._evaluated[split] = DamagedSquares(files, self.eval_image_size, self.mask_seed)

    def train_dataloader(self) -> CropLoader:
        """Damaged crops; a smaller last batch is dropped, unless it is the only one."""
        return self.training_loader(listed(self._train, "the photographs", "fit"))

    def val_dataloader(self) -> DataLoader[Any]:
        """The center squares of val/, each with every kind of damage."""
        return self.evaluation_loader(listed(self._evaluated.get("val"), "the photographs", "fit", "validate"))

    def test_dataloader(self) -> DataLoader[Any]:
        """The center squares of test/, each with every kind of damage."""
        return self.evaluation_loader(listed(self._evaluated.get("test"), "the photographs", "test"))
