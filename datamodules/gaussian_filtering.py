"""Pairs of a photograph's crop and its Gaussian-filtered version, filtered with the pixels outside of the crop."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, listed, require
from pcpad.datamodules.datasets.augmentations import Augment
from pcpad.datamodules.datasets.epochs import CropDataset, CropLoader
from pcpad.datamodules.datasets.filtered_crops import FixedCrops, TrainingCrops, gaussian_kernel
from pcpad.datamodules.datasets.photos import Split, find_photos, large_enough
from pcpad.datamodules.reading.folders import FileTable
from pcpad.files import PathName


class GaussianFilteringDataModule(DataModule):
    r"""Learning a Gaussian filter, from any folder of photographs (2022 paper, §4.1.1).

    ```
    root/train/**      photographs at any depth, in any format that `read_image` knows
    root/val/**        held-out ones; if one of the two is missing, the other serves as both
    root/test/**
    root/**            or, without any of these folders, all photographs: a share `held_out` of them, chosen by name,
                       serves as val and test, the others as train
    ```

    The paper used ImageNet (https://image-net.org), whose folders work unchanged. `pcpad sample photos DIR` writes 21
    real photographs.

    Batches: `image` `(N, 3, crop_size, crop_size)` uint8 RGB in [0, 255] and `target` of the same shape, float in
    [0, 1]. The filter is applied to a patch of (crop_size + kernel_size - 1)² pixels, (128 + 12)² in the paper, which
    gives the target of crop_size² pixels; the patch's center is the image. Photographs are used at their original
    resolution, without mirroring or other augmentation, since the paper mentions none.

    An epoch has `crops_per_image` crops of each training photograph, at random positions that depend only on the seed
    of `seed_everything` (0 without one) and the epoch's number, not on the number of processes or workers. A run
    resumed from a checkpoint made within an epoch continues with the next crop. In evaluation, positions depend only on
    the photographs' names, so that runs with any seed are scored on the same pixels.

    Photographs smaller than the patch are skipped in training, with a warning that counts them, and in evaluation
    likewise by their headers. A broken photograph raises an error that names the file.

    Args:
        root: The folder of photographs.
        batch_size: Crops per step, **per device**.
        num_workers: Processes that read photographs, per device; 0 reads in the training process.
        crop_size: Height and width of the crops.
        kernel_size: Height and width of the filter, odd.
        sigma: Standard deviation of the Gaussian, in pixels. The paper gives none: with 2, 99.8 % of it is inside a
            13×13 kernel.
        crops_per_image: Crops of each training photograph per epoch; 1 for large sets.
        eval_crops: Crops of each held-out photograph.
        keep_in_memory: Whether each worker keeps decoded photographs in memory, for small sets.
        held_out: For a folder without splits, the share that is not for training, in (0, 1).
        split_seed: For a folder without splits, the seed of the division; independent of other seeds, so that runs can
            be compared.
        effective_batch: Crops per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.
        augment: Further transforms of training images, applied before filtering, see `DataModule`.

    Raises:
        ValueError: A value is out of range; in `setup`, no held-out photograph is large enough.
        FileNotFoundError: In `setup`, there are no photographs; says what was expected.
        BrokenImageError: A file cannot be read; in `setup` for headers of held-out ones, else on reading.
    """

    def __init__(
        self,
        root: PathName = "data/photos",
        batch_size: int = 32,
        num_workers: int = 4,
        crop_size: int = 128,
        kernel_size: int = 13,
        sigma: float = 2.0,
        crops_per_image: int = 1,
        eval_crops: int = 1,
        keep_in_memory: bool = False,
        held_out: float = 0.1,
        split_seed: int = 0,
        effective_batch: int | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(
            root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch, augment=augment
        )
        require(crop_size >= 1, "crop_size", "at least 1", crop_size)
        require(kernel_size >= 1 and kernel_size % 2 == 1, "kernel_size", "odd, at least 1", kernel_size)
        require(sigma > 0, "sigma", "above 0", sigma)
        require(crops_per_image >= 1, "crops_per_image", "at least 1", crops_per_image)
        require(eval_crops >= 1, "eval_crops", "at least 1", eval_crops)
        require(0 < held_out < 1, "held_out", "in (0, 1)", held_out)
        self.crop_size = crop_size
        self.kernel = gaussian_kernel(kernel_size, sigma)
        self.crops_per_image = crops_per_image
        self.eval_crops = eval_crops
        self.keep_in_memory = keep_in_memory
        self.held_out = held_out
        self.split_seed = split_seed
        self._files: dict[str, FileTable] = {}

    def setup(self, stage: str) -> None:
        """List the photographs that a stage needs, so that a run with missing files fails early.

        Args:
            stage: "fit", "validate" or "test".
        """
        super().setup(stage)
        splits: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for split in splits.get(stage, ()):
            if split not in self._files:
                files = find_photos(self.root, split, self.held_out, self.split_seed)
                # A million headers take minutes on a network drive: small training pictures are found on reading.
                fitting = files if split == "train" else large_enough(files, self.crop_size + len(self.kernel) - 1)
                self._files[split] = fitting

    def train_dataloader(self) -> CropLoader:
        """Random crops; a smaller last batch is dropped, unless it is the only one."""
        dataset = TrainingCrops(self._listed("train"), *self._form(), self.crops_per_image)
        dataset.augment = self.augmentations
        return self.training_loader(dataset)

    def augmented(self, dataset: CropDataset[Any]) -> CropDataset[Any]:
        """Unchanged: crops are augmented before filtering, or the target would be that of another filter."""
        if self.augmentations is not None:
            dataset[0]
        return dataset

    def val_dataloader(self) -> DataLoader[Any]:
        """Fixed crops of the photographs of val/, each once."""
        return self._fixed_crops("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Fixed crops of the photographs of test/, each once."""
        return self._fixed_crops("test")

    def _fixed_crops(self, split: str) -> DataLoader[Any]:
        return self.evaluation_loader(FixedCrops(self._listed(split), *self._form(), self.eval_crops))

    def _form(self) -> tuple[int, torch.Tensor, bool]:
        return self.crop_size, self.kernel, self.keep_in_memory

    def _listed(self, split: str) -> FileTable:
        stages = {"train": ("fit",), "val": ("fit", "validate"), "test": ("test",)}[split]
        return listed(self._files.get(split), f"the photographs of {split}", *stages)
