"""A training epoch: its plan, the sampler of each process, the loader, and where an interrupted epoch resumes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from pcpad.datamodules.datasets.centroids import Centroids

Item = TypeVar("Item", covariant=True)


class Crop(NamedTuple):
    """One crop to read.

    Attributes:
        file: Position of the image in the list of images.
        centre: Row and column of a pixel that the crop holds; None: anywhere.
        seed: Decides everything else that is random about it.
    """

    file: int
    centre: tuple[int, int] | None
    seed: int


class CropDataset(Dataset[Item]):
    """A training set that is asked for a `Crop`, whose seed decides everything random about an item.

    A bare position, which plain samplers give (Lightning's with `overfit_batches`), has to do as well.
    """


class SeededItems(CropDataset[Any]):
    """Any data set as a training set: whatever an item draws follows from the seed of its `Crop`.

    Args:
        dataset: It has a length and is asked for positions. What it draws from the global generators of torch (the
            CPU's), NumPy and Python is the same in every process, worker and order.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, crop: Crop | int) -> Any:
        index, seed = (crop.file, crop.seed) if isinstance(crop, Crop) else (crop, crop)
        state, numbers = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(np.random.SeedSequence(seed).generate_state(4))
        try:
            with drawing_from(seed):
                return self.dataset[index]
        finally:
            random.setstate(state)
            np.random.set_state(numbers)


@contextmanager
def drawing_from(seed: int | None) -> Iterator[None]:
    """Have torch's global generator, from which transforms draw, start from a seed, and go on afterwards as before."""
    if seed is None:
        yield
        return
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would also restart a GPU's
    try:
        yield
    finally:
        torch.set_rng_state(state)


class Crops(Sequence[Crop]):
    """Crops in a row, kept as arrays: eight million of them would be gigabytes of tuples.

    Args:
        rows: (n, 3) integers: file, and row and column of the center or -1.
        seeds: (n,) integers.
    """

    def __init__(self, rows: np.ndarray, seeds: np.ndarray) -> None:
        self._rows = rows
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return Crops(self._rows[at], self._seeds[at])
        file, y, x = self._rows[at].tolist()
        return Crop(file, None if y < 0 else (y, x), int(self._seeds[at]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


class CropPlan:
    """The crops of each epoch, a pure function of seed and epoch.

    An epoch has as many crops as there are fine images. A part of them, spread evenly over the classes, holds
    class centroids drawn without repetition (as long as there are enough); the others are anywhere in fine images
    drawn without repetition. Where the crops of a part don't divide evenly among the classes, the classes that get
    one more are drawn in each epoch; a class without any centroid leaves its crops to the others anywhere.

    Args:
        images: How many fine images, the first ones in the list of images.
        centroids: Where which class lies, in all images that crops may be drawn for it; None: no such crops.
        share: Part of the crops that holds centroids, in [0, 1].
        classes: How many classes.
        seed: Any non-negative integer.
    """

    def __init__(self, images: int, centroids: Centroids | None, share: float, classes: int, seed: int) -> None:
        self.images = images
        self.seed = seed
        self._centred = round(images * share) if centroids is not None else 0
        self._points = np.zeros((0, 3), np.int64)
        self._of_class = [np.zeros(0, np.int64)] * classes
        if centroids is not None:
            self._points = np.stack([centroids.file, centroids.y, centroids.x], axis=1).astype(np.int64)
            self._of_class = [np.flatnonzero(centroids.train_id == train_id) for train_id in range(classes)]

    def __len__(self) -> int:
        return self.images

    def epoch(self, epoch: int) -> Crops:
        """Draw the crops of an epoch, in the order of training.

        Args:
            epoch: From 0.

        Returns:
            As many crops as there are fine images.
        """
        draws = np.random.default_rng([self.seed, epoch])
        each, rest = divmod(self._centred, len(self._of_class))
        extra = set(draws.permutation(len(self._of_class))[:rest].tolist())
        drawn = [
            self._points[_draw(draws, points, each + (train_id in extra))]
            for train_id, points in enumerate(self._of_class)
            if len(points)
        ]
        centred = np.concatenate([np.zeros((0, 3), np.int64), *drawn])
        anywhere = _draw(draws, np.arange(self.images), self.images - len(centred))
        # A row of -1 marks a crop without a center.
        rows = np.concatenate([centred, np.stack([anywhere, *[np.full_like(anywhere, -1)] * 2], axis=1)])
        seeds = draws.integers(2**63, size=self.images)
        return Crops(draws.permutation(rows), seeds)


def _draw(draws: np.random.Generator, items: np.ndarray, count: int) -> np.ndarray:
    """Draw items so that none comes a further time before all others have come as often."""
    rounds = -(-count // len(items))
    return np.concatenate([items[:0], *(draws.permutation(items) for _ in range(rounds))])[:count]


class CropSampler(DistributedSampler[Crop]):
    """One process's share of a plan: crops r, r + R, r + 2R, … of each epoch for process r of R.

    The steps of R processes with batches of B thus see what one process with batches of R·B sees. All processes get
    equally many crops: up to R - 1 at the end of an epoch are left out. Each pass is another epoch; `set_epoch`,
    which Lightning calls, names it. (The base class makes Lightning leave this sampler in place.)

    Args:
        plan: The crops of all processes.
        num_replicas: How many processes.
        rank: Which one this is, from 0.

    Attributes:
        seen: How many crops of the epoch have been handed out, over all processes; a pass starts after them.

    Raises:
        ValueError: Fewer crops than processes.
    """

    def __init__(self, plan: CropPlan, num_replicas: int = 1, rank: int = 0) -> None:
        if len(plan) < num_replicas:
            message = f"{len(plan)} training images cannot be shared out over {num_replicas} processes: use fewer"
            raise UserValueError(message)
        super().__init__(plan, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.plan = plan
        self.num_samples = len(plan) // num_replicas
        self.total_size = self.num_samples * num_replicas
        self.seen = 0
        self._passed = False

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch of the next pass."""
        # The same one again, before a pass, is what Lightning says after `resume`.
        if epoch != self.epoch or self._passed:
            self.resume(epoch, 0)

    def resume(self, epoch: int, seen: int) -> None:
        """Have the next pass be of an epoch of which some crops, counted over all processes, have been seen."""
        self.epoch, self.seen, self._passed = epoch, seen, False

    def __iter__(self) -> Iterator[Crop]:
        if self._passed:
            self.resume(self.epoch + 1, 0)
        self._passed = True
        return iter(self.plan.epoch(self.epoch)[self.seen + self.rank : self.total_size : self.num_replicas])


class CropLoader(DataLoader[Any]):
    """A DataLoader over a `CropSampler` that knows how far it is.

    Lightning saves and restores `state_dict` of loaders that have one, so that a run resumed from a checkpoint made
    within an epoch continues with the next crop.

    Unlike a DataLoader it starts reading at the first `next()`. Lightning makes the first iterator of a resumed run
    before it names the epoch; workers would then already be reading crops of epoch 0.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Read one epoch."""
        for batch in super().__iter__():
            # Counted before the batch is handed out: a checkpoint is saved while it is in use.
            if isinstance(self.sampler, CropSampler):
                self.sampler.seen += (self.batch_size or 1) * self.sampler.num_replicas
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Say how many crops of which epoch have been handed out, over all processes."""
        # Lightning's overfit_batches puts a plain sampler in place.
        sampler = self.sampler
        return {"epoch": sampler.epoch, "seen": sampler.seen} if isinstance(sampler, CropSampler) else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Have the next pass go on where the state was saved; a pass of another epoch starts at its beginning."""
        if state_dict and isinstance(self.sampler, CropSampler):
            epoch, seen = state_dict["epoch"], state_dict["seen"]
            if not all(type(count) is int and count >= 0 for count in (epoch, seen)):
                message = f"expected a position in the data, two counts, but got {epoch!r} and {seen!r}"
                raise ValueError(message)  # whoever has read it, knows from which file
            self.sampler.resume(epoch, seen)


def run_seed() -> int:
    """The seed of `seed_everything`, 0 without one: the same in all processes, which torch's own need not be."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
