"""Evaluation on several processes: each sample goes to one of them, and is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Trainer
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pcpad.errors import UserTypeError, UserValueError

__all__ = ["UnrepeatedSampler", "evaluation_sampler", "need_length"]


class UnrepeatedSampler(DistributedSampler[int]):
    """Every sample to exactly one process, in order: process r of R takes r, r + R, r + 2R, ….

    Lightning's default for validation and test repeats samples until all processes have equally many, which
    biases the metrics. Being a `DistributedSampler`, this one is left in place by Lightning.
    Processes may differ by one sample, and so by one batch: a step must not communicate by itself (metrics
    synchronize when they are computed, at the end of the epoch).

    Args:
        dataset: A data set with a length.
        num_replicas: How many processes.
        rank: Which one this is, from 0.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.total_size = len(dataset)  # type: ignore[arg-type]
        self.num_samples = len(range(rank, self.total_size, num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.total_size, self.num_replicas))


def need_length(dataset: Dataset[Any]) -> None:
    """Refuse a data set whose items cannot be numbered, and so neither shuffled nor shared out.

    Args:
        dataset: Any data set.

    Raises:
        UserTypeError: It has no length, as PyTorch's `IterableDataset` has none.
    """
    if not hasattr(dataset, "__len__"):
        message = (
            f"Expected a data set with a length, whose items have numbers, but got {type(dataset).__name__}, which has "
            "none: give it `__len__` and `__getitem__`, or return a DataLoader of your own"
        )
        raise UserTypeError(message)


def evaluation_sampler(dataset: Dataset[Any], trainer: Trainer | None) -> UnrepeatedSampler | None:
    """Choose the sampler of a validation, test or prediction loader.

    Args:
        dataset: A data set with a length.
        trainer: The trainer the loader is for; None outside of one.

    Returns:
        None (all samples in order) for one process, else this process's share.

    Raises:
        ValueError: Fewer samples than processes. A process without a batch leaves Lightning's evaluation loop at
            once and the others would wait for it forever where metrics are synchronized; so all of them stop.
    """
    if trainer is None or trainer.world_size == 1:
        return None
    need_length(dataset)
    size = len(dataset)  # type: ignore[arg-type]
    if size < trainer.world_size:
        message = (
            f"{size} images cannot be shared out over {trainer.world_size} processes, each needs at least one: "
            f"run with at most {size} (--trainer.devices {size} --trainer.num_nodes 1)"
        )
        raise UserValueError(message)
    return UnrepeatedSampler(dataset, num_replicas=trainer.world_size, rank=trainer.global_rank)
