"""Evaluation on several processes: each sample is assigned to one process, and counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Trainer
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pcpad.errors import UserTypeError, UserValueError

__all__ = ["UnrepeatedSampler", "evaluation_sampler", "need_length"]


class UnrepeatedSampler(DistributedSampler[int]):
    """Assigns each sample to exactly one process, in order: process r of R takes r, r + R, r + 2R, ….

    Lightning's default for validation and test repeats samples until all processes have the same number, which biases
    the metrics. Lightning does not replace this sampler, because it is a `DistributedSampler`. Processes may differ by
    one sample, and so by one batch: a step must not communicate (metrics synchronize when they are computed, at the end
    of the epoch).

    Args:
        dataset: A data set with a length.
        num_replicas: The number of processes.
        rank: The index of this process, from 0.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.total_size = len(dataset)  # type: ignore[arg-type]
        self.num_samples = len(range(rank, self.total_size, num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.total_size, self.num_replicas))


def need_length(dataset: Dataset[Any]) -> None:
    """Refuse a data set without a length, which can be neither shuffled nor distributed.

    Args:
        dataset: Any data set.

    Raises:
        UserTypeError: It has no length, such as PyTorch's `IterableDataset`.
    """
    if not hasattr(dataset, "__len__"):
        message = (
            f"Expected a data set with a length and indexed items, but got {type(dataset).__name__}, which has none: "
            "implement `__len__` and `__getitem__`, or return your own DataLoader"
        )
        raise UserTypeError(message)


def evaluation_sampler(dataset: Dataset[Any], trainer: Trainer | None) -> UnrepeatedSampler | None:
    """Choose the sampler of a validation, test or prediction loader.

    Args:
        dataset: A data set with a length.
        trainer: The loader's trainer; None without one.

    Returns:
        None (all samples in order) for one process, else this process's share.

    Raises:
        ValueError: There are fewer samples than processes. A process without a batch would leave Lightning's evaluation
            loop at once, and the others would wait forever for it when metrics are synchronized.
    """
    if trainer is None or trainer.world_size == 1:
        return None
    need_length(dataset)
    size = len(dataset)  # type: ignore[arg-type]
    if size < trainer.world_size:
        message = (
            f"{size} images cannot be distributed over {trainer.world_size} processes, which need at least one each: "
            f"run with at most {size} (--trainer.devices {size} --trainer.num_nodes 1)"
        )
        raise UserValueError(message)
    return UnrepeatedSampler(dataset, num_replicas=trainer.world_size, rank=trainer.global_rank)
