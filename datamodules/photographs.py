"""Any folder of photographs, without labels."""

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
    root/val/**        held-out ones; where one of the two is missing the other serves both
    root/test/**
    root/**            or, without any of these folders, all photographs: `held_out` of them, chosen by name, serve
                       val and test, the others train
    ```

    Any photographs that are like what the network will see. `pcpad sample photos DIR` writes 21 real ones.

    Batches: `image` `(N, 3, size, size)` uint8 RGB in [0, 255]. Training takes squares at random places, half of them
    mirrored, evaluation the middle ones; both at the photographs' own resolution, or after `resize`. The task cuts
    what the student sees out of them. An epoch depends on nothing but the seed of `seed_everything` and its number, and
    a run resumed from a checkpoint made within an epoch continues with the next square.

    Photographs smaller than `size` are skipped in training, with a warning that counts them, and left out when
    evaluating; with `resize` none is. A broken one raises, naming the file.

    Args:
        root: The folder of photographs.
        batch_size: Squares per step, **per device**.
        num_workers: Processes that read photographs, per device; 0 reads in the training process.
        size: Height and width of the squares: for maps the crop and twice the margin.
        resize: What the shorter side is resized to first, at least `size`: for classifiers. None: as they are.
        flip: Probability of mirroring a training square.
        crops_per_image: Squares of each training photograph per epoch.
        held_out: Of a folder without splits, the part that is not for training, in (0, 1).
        split_seed: Of a folder without splits, decides which.
        effective_batch: Squares per step over all devices and accumulated batches that the recipe assumes; another
            one warns. None: no check.

    Raises:
        ValueError: A value out of range, here; in `setup` fewer than 16 photographs, or none that is large enough.
        FileNotFoundError: No photographs, in `setup`; says what was looked for.
        BrokenImageError: A file that cannot be read.
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
        """List the photographs that a stage needs, so that what is missing stops the run before it starts.

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
                f"{self.root.absolute()} has {count} photographs: at least {_FEWEST} are needed to adapt a network and "
                "to see whether it helps, and a few hundred are better"
            )
            raise UserValueError(message)

    def train_dataloader(self) -> CropLoader:
        """Random squares; the last, smaller batch is left out where there is a full one."""
        files = listed(self._files.get("train"), "the photographs of train", "fit")
        return self.training_loader(RandomSquares(files, self.size, self.resize, self.flip, self.crops_per_image))

    def val_dataloader(self) -> DataLoader[Any]:
        """The middle squares of val/, each once."""
        return self._middle("val", "fit", "validate")

    def test_dataloader(self) -> DataLoader[Any]:
        """The middle squares of test/, each once."""
        return self._middle("test", "test")

    def _middle(self, split: str, *stages: str) -> DataLoader[Any]:
        files = listed(self._files.get(split), f"the photographs of {split}", *stages)
        return self.evaluation_loader(MiddleSquares(files, self.size, self.resize))
