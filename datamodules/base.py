"""What every data module is: its arguments, its loaders, and what tasks, callbacks and verbs may ask it, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, overload

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, default_collate

from pcpad.datamodules.datasets.augmentations import Augment, Augmentations, AugmentedItems
from pcpad.datamodules.datasets.epochs import (
    CropDataset,
    CropLoader,
    CropPlan,
    CropSampler,
    SeededItems,
    run_seed,
)
from pcpad.datamodules.reading.failures import UsableItems, UsableLoader, WhatCanBeRead, raise_failures
from pcpad.datamodules.unrepeated import UnrepeatedSampler, evaluation_sampler, need_length
from pcpad.datamodules.worker_processes import start_opencv_worker, start_worker
from pcpad.deprecation import renamed_attributes
from pcpad.errors import UserRuntimeError, UserValueError
from pcpad.files import PathName, at_home
from pcpad.trust import loading

__all__ = ["DataModule", "UnrepeatedSampler", "evaluation_sampler", "expanded", "listed", "require"]

T = TypeVar("T")


def require(fine: bool, name: str, expected: str, value: object) -> None:
    """Refuse an argument.

    Args:
        fine: Whether the value is valid.
        name: The argument.
        expected: What would be valid, in words.
        value: The argument's value.

    Raises:
        ValueError: The value is not valid.
    """
    if not fine:
        message = f"Expected argument `{name}` to be {expected}, but got {value}"
        raise UserValueError(message)


@overload
def expanded(path: str | Path) -> Path: ...
@overload
def expanded(path: str | Path | None) -> Path | None: ...
def expanded(path: str | Path | None) -> Path | None:
    """A path whose `~` is the home folder; None stays None."""
    return None if path is None else at_home(path)


def listed(found: T | None, what: str, *stages: str) -> T:
    """What `setup` has listed.

    Args:
        found: The list or data set; None before `setup`.
        what: Its name: "the training images".
        stages: The stages whose `setup` lists it.

    Returns:
        The list or data set.

    Raises:
        RuntimeError: `setup` has not been called for any of the stages.
    """
    if found is None:
        message = f"{what} are not listed yet: call {' or '.join(f'setup({stage!r})' for stage in stages)} first"
        raise UserRuntimeError(message)
    return found


@renamed_attributes(removed="0.3.0", classes="class_names", class_colours="class_colors")
class DataModule(LightningDataModule):
    """What every data module is; make your own a subclass of it, and little is left to write.

    ```python
    class Shapes(DataModule):
        class_names = ("disc", "square")

        def __init__(self, root: str = "data/shapes", batch_size: int = 32, num_workers: int = 4) -> None:
            super().__init__(root, batch_size=batch_size, num_workers=num_workers)

        def setup(self, stage: str) -> None:
            super().setup(stage)
            self.train, self.val = Pictures(self.root / "train"), Pictures(self.root / "val")

        def train_dataloader(self) -> DataLoader:
            return self.training_loader(self.train)

        def val_dataloader(self) -> DataLoader:
            return self.evaluation_loader(self.val)

        test_dataloader = val_dataloader
    ```

    `Pictures` is any `torch.utils.data.Dataset` with a length whose items are dicts. They become batches by PyTorch's
    own rules: dicts of tensors with the number of the sample first, N; strings become lists. What a task expects:

    | task | batch |
    |---|---|
    | classification | `image` (N, 3, H, W), `label` (N,) int64; to predict `image` and `path` |
    | segmentation | `image` (N, 3, H, W), `label` (N, H, W) int64 classes, 255 = ignore; to predict `image`, `path` |
    | action recognition | `clip` (N, 3, T, H, W), `label` (N,), `video` (N,) position of the clip's video |
    | inpainting | `image` (N, 3, H, W), `mask` (N, 1, H, W), 1 = valid |
    | synthesis | `image` (N, 3, H, W), `label` (N, 1, H, W) label ids, `instance` (N, 1, H, W) ids |
    | Gaussian filtering | `image`, `target` (N, 3, H, W) |
    | adaptation | `image` (N, 3, H, W), which the task crops itself |

    Images are uint8 in [0, 255] or float in [0, 1]; the task normalizes them. Which samples an epoch consists of, in
    which order and with which random draws, depends on nothing but the seed of `seed_everything` (0 without one) and
    the epoch's number: not on the number of processes or workers. Only the last ones, which do not fill a batch of all
    processes, are left out. A run resumed from a checkpoint made within an epoch continues with the next sample.
    Evaluations count each sample once, on any number of processes that each get one.

    A data set to predict from that has `input_files()`, which yields of each sample the paths of its files, the one it
    is named after first, has them protected: no result is written over one of them, or over another result, which is
    found out before any work.

    Whatever tasks, callbacks and verbs ask a data module beside its loaders is declared here; all of it may stay None.
    It may be set on the class, in `__init__` or in `setup`. A LightningDataModule that is no `DataModule` does as well
    and may have the same attributes.

    Args:
        root: The folder with the data; `~` is the home folder.
        batch_size: Samples per training step, **per device**.
        eval_batch_size: Samples per step when evaluating, per device; None: as `batch_size`.
        num_workers: Processes that read samples, per device; 0 reads in the training process.
        effective_batch: Samples per step over all devices and accumulated batches that the recipe assumes; another
            one warns. None: no check.
        augment: Transforms of albumentations or torchvision v2 that training items go through at the end, each
            `{class_path: albumentations.RandomGamma, init_args: {p: 0.5}}`: images and, with them, `label`, `mask` and
            `instance` maps. They keep size and type. See `pcpad.datamodules.datasets.augmentations`.

    Attributes:
        class_names: Name of each class, by number; None where there are no classes or they are not known yet.
        class_colors: RGB in [0, 255] of each class, in which label maps are painted; None: evenly spread hues.
        channels: Of its images; None where nothing is said of them, which mostly are RGB.
        train_ids: For each label of the data, the class 0, 1, … that segmentation is scored by, or 255: what judges of
            synthesized pictures translate label ids with.

    Raises:
        ValueError: A value out of range.
    """

    class_names: Sequence[str] | None = None
    class_colors: Sequence[tuple[int, int, int]] | None = None
    train_ids: Sequence[int] | None = None
    channels: int | None = None

    # What label maps, masks and instance maps hold where nothing is known, see `Augmentations`.
    unknown: ClassVar[int] = 255

    # Whether workers read by OpenCV, which would start a thread for each core in every one of them.
    reads_by_opencv: ClassVar[bool] = False

    _num_classes: int | None = None
    _batch_compared = False
    _predicting: WhatCanBeRead | None = None

    def __init__(
        self,
        root: PathName = ".",
        *,
        batch_size: int = 1,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        effective_batch: int | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        require(batch_size >= 1, "batch_size", "at least 1", batch_size)
        require(eval_batch_size is None or eval_batch_size >= 1, "eval_batch_size", "at least 1", eval_batch_size)
        require(num_workers >= 0, "num_workers", "at least 0", num_workers)
        fine = effective_batch is None or effective_batch >= 1
        require(fine, "effective_batch", "None or at least 1", effective_batch)
        self.root = expanded(root)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.effective_batch = effective_batch
        self.augmentations = Augmentations(augment, self.unknown) if augment else None

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Lightning's, which runs no code of the file's; see `pcpad.trust` for what a checkpoint may name."""
        with loading(checkpoint_path, cls):
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, weights_only is not False, **kwargs
            )

    @property
    def num_classes(self) -> int | None:
        """How many classes: as many as `class_names`, or what it was set to; None where that is not known."""
        if self._num_classes is None and self.class_names is not None:
            return len(self.class_names)
        return self._num_classes

    @num_classes.setter
    def num_classes(self, count: int | None) -> None:
        self._num_classes = count

    def look_for_classes(self) -> None:
        """Learn `class_names` or `num_classes`, where a short look at the data tells them before `setup`.

        The command calls it on a data module that it throws away, to build a network of as many classes where nobody
        has said how many. What is missing is left for `setup` to say.
        """

    def setup(self, stage: str) -> None:
        """List what a stage needs, so that what is missing stops the run before it starts; call this one first.

        Args:
            stage: "fit", "validate", "test" or "predict".
        """
        if stage == "fit":
            self._warn_of_other_batch()

    def training_loader(self, dataset: Dataset[Any], plan: CropPlan | None = None, **options: Any) -> CropLoader:
        """Make the loader of a training set; the last, smaller batch is left out where there is a full one.

        Args:
            dataset: A data set with a length. A `CropDataset` is asked for `Crop`s; any other for positions, while
                the generators of torch, NumPy and Python start from the sample's own seed.
            plan: What an epoch consists of; by default each sample once, in random order.
            options: Arguments of the loader, such as `collate_fn`.

        Returns:
            The loader.

        Raises:
            ValueError: Fewer samples than processes.
            TypeError: A data set without a length.
        """
        if not self._batch_compared:
            self._warn_of_other_batch()
        need_length(dataset)
        if not isinstance(dataset, CropDataset):
            dataset = SeededItems(dataset)
        dataset = self.augmented(dataset)
        sampler = CropSampler(plan or CropPlan(len(dataset), None, 0, 1, run_seed()), *self.ranks)  # type: ignore[arg-type]
        # Batch statistics of a nearly empty last batch are noise.
        full = len(sampler) >= self.batch_size
        options = {**self.worker_options(), **options}
        return CropLoader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=full, **options)

    def augmented(self, dataset: CropDataset[Any]) -> CropDataset[Any]:
        """A training set with what `augment` adds, looked at once so that what fails fails before training.

        Args:
            dataset: Its items hold `image`.

        Returns:
            It, or the same without `augment`.
        """
        if self.augmentations is None:
            return dataset
        changed = AugmentedItems(dataset, self.augmentations, ("label", "mask", "instance"))
        changed[0]
        return changed

    def evaluation_loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        """Make the loader of a validation, test or prediction set: each sample once, in order.

        Args:
            dataset: A data set with a length.
            options: Arguments of the loader; `batch_size` is `eval_batch_size` where it is not among them.

        Returns:
            The loader.

        Raises:
            ValueError: Fewer samples than processes.
            TypeError: A data set without a length.
        """
        return DataLoader(dataset, **(self._evaluation_options(dataset) | options))

    def prediction_loader(self, dataset: Dataset[Any], left_out: Sequence[str] = (), **options: Any) -> DataLoader[Any]:
        """Make the loader of what is to be predicted: like an evaluation's, but what cannot be read is left out.

        When all else is done, `teardown` stops the run with an error that names what was left out, and why.

        Args:
            dataset: A data set with a length, whose items are dicts; one that raises a `pcpad.errors.UserError` is left
                out.
            left_out: What else was handed over and is left out, a line each; named at the end likewise.
            options: Arguments of the loader; `batch_size` is `eval_batch_size` where it is not among them.

        Returns:
            The loader.

        Raises:
            ValueError: Fewer samples than processes.
            TypeError: A data set without a length.
        """
        need_length(dataset)
        self._predicting = WhatCanBeRead(dataset)
        if self.ranks[1] == 0:
            self._predicting.failures += left_out
        options = self._evaluation_options(dataset) | options
        options["collate_fn"] = UsableItems(options.get("collate_fn", default_collate))
        return UsableLoader(self._predicting, **options)

    def _evaluation_options(self, dataset: Dataset[Any]) -> dict[str, Any]:
        sampler = evaluation_sampler(dataset, self.trainer)
        return {"batch_size": self.eval_batch_size or self.batch_size, "sampler": sampler, **self.worker_options()}

    def teardown(self, stage: str) -> None:
        """Stop with an error where something to predict could not be read, when all else is done.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            UserValueError: Something could not be read, by this process or another; names it.
        """
        if stage == "predict" and self._predicting is not None:
            raise_failures(self._predicting.failures, "files could not be read", UserValueError)

    def worker_options(self) -> dict[str, Any]:
        """Arguments of a DataLoader for the processes that read for it."""
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": start_opencv_worker if self.reads_by_opencv else start_worker,
            # Drawn from for the workers' seeds: from the global generator, a resumed run would draw more often.
            "generator": torch.Generator().manual_seed(run_seed()),
        }

    @property
    def ranks(self) -> tuple[int, int]:
        """How many processes the run has, and which one this is, from 0; (1, 0) outside of a trainer."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _warn_of_other_batch(self) -> None:
        """Warn where a training step takes another number of samples than its recipe was written for."""
        self._batch_compared = True
        if self.effective_batch is None or self.trainer is None:
            return
        devices, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        actual = self.batch_size * devices * accumulated
        if actual != self.effective_batch:
            rank_zero_warn(
                f"the recipe assumes {self.effective_batch} images per step, this run takes {actual} (batch_size "
                f"{self.batch_size} x {devices} devices x {accumulated} accumulated batches): set data.batch_size, or "
                "scale the learning rate and set data.effective_batch"
            )
