"""A training epoch: its plan, the sampler of each process, the loader, and resuming an interrupted epoch."""

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

from pcpad.deprecation import renamed_attributes, renamed_keywords
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from pcpad.datamodules.datasets.centroids import Centroids

Item = TypeVar("Item", covariant=True)


@renamed_keywords(removed="0.3.0", centre="center")
@renamed_attributes(removed="0.3.0", centre="center")
class Crop(NamedTuple):
    """One crop to read.

    Attributes:
        file: Position of the image in the list of images.
        center: Row and column of a pixel that the crop has to contain; None: anywhere.
        seed: Determines everything else that is random.
    """

    file: int
    center: tuple[int, int] | None
    seed: int


class CropDataset(Dataset[Item]):
    """A training set that is indexed with a `Crop`, whose seed determines everything random about an item.

    It must also accept a plain position, as from standard samplers (Lightning's with `overfit_batches`).
    """


class SeededItems(CropDataset[Any]):
    """Any data set as a training set, with an item's random numbers determined by the seed of its `Crop`.

    Args:
        dataset: Has a length and is indexed by position. Its random numbers from the global generators of torch (the
            CPU's), NumPy and Python do not depend on process, worker or order.
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
    """Seed torch's global generator, which transforms use, and restore its state afterwards."""
    if seed is None:
        yield
        return
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # the CPU's only: torch.manual_seed would also reset the GPU's
    try:
        yield
    finally:
        torch.set_rng_state(state)


class Crops(Sequence[Crop]):
    """A sequence of crops, stored as arrays: eight million tuples would take gigabytes.

    Args:
        rows: (n, 3) integers: file, and row and column of the center, or -1.
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
    """The crops of each epoch, as a pure function of seed and epoch.

    An epoch has as many crops as there are fine images. A share of them, spread evenly over the classes, contains
    class centroids drawn without repetition (as long as there are enough); the others are anywhere in fine images
    drawn without repetition. If that share is not divisible by the number of classes, the classes that get one more
    crop are drawn in each epoch; crops of classes without centroids become crops anywhere.

    Args:
        images: The number of fine images, which come first in the list of images.
        centroids: The centroids of all images that such crops may be taken from; None: no such crops.
        share: Share of the crops that contain centroids, in [0, 1].
        classes: The number of classes.
        seed: Any non-negative integer.
    """

    def __init__(self, images: int, centroids: Centroids | None, share: float, classes: int, seed: int) -> None:
        self.images = images
        self.seed = seed
        self._centered = round(images * share) if centroids is not None else 0
        self._points = np.zeros((0, 3), np.int64)
        self._of_class = [np.zeros(0, np.int64)] * classes
        if centroids is not None:
            self._points = np.stack([centroids.file, centroids.y, centroids.x], axis=1).astype(np.int64)
            self._of_class = [np.flatnonzero(centroids.train_id == train_id) for train_id in range(classes)]

    def __len__(self) -> int:
        return self.images

    def epoch(self, epoch: int) -> Crops:
        """Draw the crops of an epoch, in training order.

        Args:
            epoch: From 0.

        Returns:
            As many crops as there are fine images.
        """
        draws = np.random.default_rng([self.seed, epoch])
        each, rest = divmod(self._centered, len(self._of_class))
        extra = set(draws.permutation(len(self._of_class))[:rest].tolist())
        drawn = [
            self._points[_draw(draws, points, each + (train_id in extra))]
            for train_id, points in enumerate(self._of_class)
            if len(points)
        ]
        centered = np.concatenate([np.zeros((0, 3), np.int64), *drawn])
        anywhere = _draw(draws, np.arange(self.images), self.images - len(centered))
        # Row -1 marks a crop without a center.
        rows = np.concatenate([centered, np.stack([anywhere, *[np.full_like(anywhere, -1)] * 2], axis=1)])
        seeds = draws.integers(2**63, size=self.images)
        return Crops(draws.permutation(rows), seeds)


def _draw(draws: np.random.Generator, items: np.ndarray, count: int) -> np.ndarray:
    """Draw items such that none is repeated before all others have been drawn as often."""
    rounds = -(-count // len(items))
    return np.concatenate([items[:0], *(draws.permutation(items) for _ in range(rounds))])[:count]


class CropSampler(DistributedSampler[Crop]):
    """The crops of one process: r, r + R, r + 2R, … of each epoch for process r of R.

    So a step of R processes with batches of B sees the same crops as one process with batches of R·B. All processes
    get the same number of crops: up to R - 1 at the end of an epoch are dropped. Each pass is another epoch, set by
    `set_epoch`, which Lightning calls. (Because of the base class, Lightning does not replace this sampler.)

    Args:
        plan: The crops of all processes.
        num_replicas: The number of processes.
        rank: The index of this process, from 0.

    Attributes:
        seen: How many crops of the epoch have been yielded, over all processes; a pass starts after them.

    Raises:
        ValueError: There are fewer crops than processes.
    """

    def __init__(self, plan: CropPlan, num_replicas: int = 1, rank: int = 0) -> None:
        if len(plan) < num_replicas:
            message = f"{len(plan)} training images cannot be distributed over {num_replicas} processes: use fewer"
            raise UserValueError(message)
        super().__init__(plan, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.plan = plan
        self.num_samples = len(plan) // num_replicas
        self.total_size = self.num_samples * num_replicas
        self.seen = 0
        self._passed = False

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        # After `resume`, Lightning sets the same epoch again before a pass.
        if epoch != self.epoch or self._passed:
            self.resume(epoch, 0)

    def resume(self, epoch: int, seen: int) -> None:
        """Continue an epoch in the next pass after the crops that were seen, counted over all processes."""
        self.epoch, self.seen, self._passed = epoch, seen, False

    def __iter__(self) -> Iterator[Crop]:
        if self._passed:
            self.resume(self.epoch + 1, 0)
        self._passed = True
        end = self.seen + self.left * self.num_replicas
        return iter(self.plan.epoch(self.epoch)[self.seen + self.rank : end : self.num_replicas])

    @property
    def left(self) -> int:
        """How many crops of the epoch are left, for each process: as many for one as for another."""
        return max(0, self.total_size - self.seen) // self.num_replicas


class CropLoader(DataLoader[Any]):
    """A DataLoader over a `CropSampler` that tracks its position.

    Lightning saves and restores the `state_dict` of such loaders, so that a run resumed from a checkpoint made within
    an epoch continues with the next crop.

    Unlike a DataLoader, it starts reading at the first `next()`. Lightning creates the first iterator of a resumed run
    before it sets the epoch; workers would already be reading crops of epoch 0.

    Attributes:
        batches_done: After a state of another batch size or number of processes was loaded, which number of batches
            counts as done, such that those that are left complete an epoch; otherwise None.
    """

    batches_done: int | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of one epoch."""
        for batch in super().__iter__():
            # Counted before the batch is yielded: a checkpoint is saved while it is in use.
            if isinstance(self.sampler, CropSampler):
                self.sampler.seen += self._step(self.sampler)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and over all processes, how many of its crops have been yielded and how many are at once."""
        # Lightning's overfit_batches replaces the sampler by a standard one.
        sampler = self.sampler
        if not isinstance(sampler, CropSampler):
            return {}
        return {"epoch": sampler.epoch, "seen": sampler.seen, "batch": self._step(sampler)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue in the next pass where the state was saved; a pass of another epoch starts at its beginning."""
        if state_dict and isinstance(self.sampler, CropSampler):
            step = self._step(self.sampler)
            epoch, seen, batch = state_dict["epoch"], state_dict["seen"], state_dict.get("batch", step)
            if not all(type(count) is int and count >= 0 for count in (epoch, seen, batch)):
                message = f"expected epoch and numbers of crops as integers, but got {epoch!r}, {seen!r}, {batch!r}"
                raise ValueError(message)  # the caller knows the file
            self.sampler.resume(epoch, seen)
            size = self.batch_size or 1
            left = self.sampler.left // size if self.drop_last else -(-self.sampler.left // size)
            self.batches_done = len(self) - left if batch != step else None

    def _step(self, sampler: CropSampler) -> int:
        return (self.batch_size or 1) * sampler.num_replicas


def run_seed() -> int:
    """The seed of `seed_everything`, 0 without one: the same in all processes, unlike torch's own."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
