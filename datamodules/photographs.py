"""Folders of photographs without labels."""

from typing import Any

from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule, listed, require
from pcpad.datamodules.datasets.epochs import CropLoader
from pcpad.datamodules.datasets.photos import Split, find_photos, large_enough
from pcpad.datamodules.datasets.squares import MiddleSquares, RandomSquares
from pcpad.datamodules.reading.folders import FileTable
from pcpad.errors import UserValueError
from pcpad.files import PathName

_FEWEST = 16


class PhotographsDataModule(DataModule):
    r"""Squares of unlabeled photographs, for adapting a trained network to another padding.

    ```
    root/train/**      photographs at any depth, in any format that `read_image` knows
    root/val/**        held-out ones; if one of the two is missing, the other serves as both
    root/test/**
    root/**            or, without any of these folders, all photographs: a share `held_out` of them, chosen by name,
                       serves as val and test, the others as train
    ```

    Use photographs that are similar to the network's later input. `pcpad sample photos DIR` writes 21 real ones.

    Batches: `image` `(N, 3, size, size)` uint8 RGB in [0, 255]. Training uses squares at random positions, half of them
    mirrored, evaluation those at the center; both at the original resolution, or after `resize`. The task cuts the
    student's input out of them. An epoch depends only on the seed of `seed_everything` and its number, and a run
    resumed from a checkpoint made within an epoch continues with the next square.

    Photographs smaller than `size` are skipped in training and evaluation, with a warning that counts them; with
    `resize`, none is. A broken photograph raises an error that names the file.

    Args:
        root: The folder of photographs.
        batch_size: Squares per step, **per device**.
        num_workers: Processes that read photographs, per device; 0 reads in the training process.
        size: Height and width of the squares; for networks with maps as output, the crop and twice the margin.
        resize: For classifiers, length of the shorter side after resizing, at least `size`. None: not resized.
        flip: Probability of mirroring a training square.
        crops_per_image: Squares of each training photograph per epoch.
        held_out: For a folder without splits, the share that is not for training, in (0, 1).
        split_seed: For a folder without splits, the seed of the division.
        effective_batch: Squares per step, over all devices and accumulated batches, that the recipe assumes; warns if
            the run's differs. None: no check.

    Raises:
        ValueError: A value is out of range; in `setup`, fewer than 16 photographs, or none that is large enough.
        FileNotFoundError: In `setup`, there are no photographs; says what was expected.
        BrokenImageError: A file cannot be read.
    """

    def __init__(
        self,
        root: PathName = "data/photos",
        batch_size: int = 16,
        num_workers: int = 4,
        size: int = 192,
        resize: int | None = None,
        flip: float = 0.5,
        crops_per_image: int = 1,
        held_out: float = 0.2,
        split_seed: int = 0,
        effective_batch: int | None = None,
    ) -> None:
        super().__init__(root, batch_size=batch_size, num_workers=num_workers, effective_batch=effective_batch)
        require(size >= 1, "size", "at least 1", size)
        require(resize is None or resize >= size, "resize", f"None or at least `size` ({size})", resize)
        require(0 <= flip <= 1, "flip", "in [0, 1]", flip)
        require(crops_per_image >= 1, "crops_per_image", "at least 1", crops_per_image)
        require(0 < held_out < 1, "held_out", "in (0, 1)", held_out)
        self.size = size
        self.resize = resize
        self.flip = flip
        self.crops_per_image = crops_per_image
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
                small = split != "train" and self.resize is None
                self._files[split] = large_enough(files, self.size) if small else files
        if stage == "fit":
            self._refuse_few()

    def _refuse_few(self) -> None:
        count = len(self._files["train"]) + len(self._files["val"])
        if count < _FEWEST:
            message = (
                f"{self.root.absolute()} has {count} photographs: adapting a network and measuring whether it helps "
                f"needs at least {_FEWEST}, and a few hundred are better"
            )
            raise UserValueError(message)

    def train_dataloader(self) -> CropLoader:
        """Random squares; a smaller last batch is dropped, unless it is the only one."""
        files = listed(self._files.get("train"), "the photographs of train", "fit")
        return self.training_loader(RandomSquares(files, self.size, self.resize, self.flip, self.crops_per_image))

    def val_dataloader(self) -> DataLoader[Any]:
        """The center squares of val/, each once."""
        return self._middle("val", "fit", "validate")

    def test_dataloader(self) -> DataLoader[Any]:
        """The center squares of test/, each once."""
        return self._middle("test", "test")

    def _middle(self, split: str, *stages: str) -> DataLoader[Any]:
        files = listed(self._files.get(split), f"the photographs of {split}", *stages)
        return self.evaluation_loader(MiddleSquares(files, self.size, self.resize))
