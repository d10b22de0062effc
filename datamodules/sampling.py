"""Batches over several processes: each evaluated sample counted once, the batch the recipe was written for."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pcpad.errors import UserValueError


class UnrepeatedSampler(DistributedSampler[int]):
    """Every sample to exactly one process, in order: process r of R takes r, r + R, r + 2R, ….

    Lightning's default for validation and test repeats samples until all processes have equally many, which
    biases the metrics. Being a `DistributedSampler`, this one is left in place by Lightning.
    Processes may differ by one sample, and so by one batch: a step must not communicate by itself (metrics
    synchronise when they are computed, at the end of the epoch).

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


def evaluation_sampler(dataset: Dataset[Any], trainer: Trainer | None) -> UnrepeatedSampler | None:
    """Choose the sampler of a validation, test or prediction loader.

    Args:
        dataset: A data set with a length.
        trainer: The trainer the loader is for; None outside of one.

    Returns:
        None (all samples in order) for one process, else this process's share.

    Raises:
        ValueError: Fewer samples than processes. A process without a batch leaves Lightning's evaluation loop at
            once and the others would wait for it forever where metrics are synchronised; so all of them stop.
    """
    if trainer is None or trainer.world_size == 1:
        return None
    size = len(dataset)  # type: ignore[arg-type]
    if size < trainer.world_size:
        message = (
            f"{size} images cannot be shared out over {trainer.world_size} processes, each needs at least one: "
            f"run with at most {size} (--trainer.devices {size} --trainer.num_nodes 1)"
        )
        raise UserValueError(message)
    return UnrepeatedSampler(dataset, num_replicas=trainer.world_size, rank=trainer.global_rank)


def warn_of_other_batch(trainer: Trainer | None, batch_size: int, effective_batch: int | None) -> None:
    """Warn where a training step takes another number of images than its recipe was written for.

    Args:
        trainer: The trainer; None outside of one, where nothing can be said.
        batch_size: Images a step per device.
        effective_batch: Images a step over all devices and accumulated batches that the recipe assumes; None if
            it assumes none.
    """
    if effective_batch is None or trainer is None:
        return
    accumulated = trainer.accumulate_grad_batches
    actual = batch_size * trainer.world_size * accumulated
    if actual != effective_batch:
        rank_zero_warn(
            f"the recipe assumes {effective_batch} images a step, this run takes {actual} (batch_size {batch_size} x "
            f"{trainer.world_size} devices x {accumulated} accumulated batches): set data.batch_size, or scale the "
            "learning rate and set data.effective_batch"
        )
