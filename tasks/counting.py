"""Make the numbers of an evaluation independent of the number of processes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from pcpad.errors import UserValueError

__all__ = ["count_each_once", "over_all_samples"]

_EVALUATIONS = (RunningStage.VALIDATING, RunningStage.SANITY_CHECKING, RunningStage.TESTING)
_HOOKS = {f"{stage}_step" for stage in ("validation", "test")} | {
    f"on_{stage}_batch_{place}" for stage in ("validation", "test") for place in ("start", "end")
}
_ARGUMENTS = list(inspect.signature(LightningModule.log).parameters)[3:]  # after self, name and value
_MEANS = ("mean", "avg", torch.mean)


def count_each_once(trainer: Trainer) -> None:
    """Make a trainer's evaluations process each sample once, whoever made the loader.

    Lightning distributes a plain loader by repeating samples until all processes have equally many: of five images on
    two processes one counts twice. Here its samplers are told not to repeat.

    Args:
        trainer: The trainer; with one process it is left as it is. Repeated calls change nothing.
    """
    connector: Any = trainer._data_connector
    if trainer.world_size == 1 or isinstance(connector._prepare_dataloader, _PreparesOnce):
        return
    connector._prepare_dataloader = _PreparesOnce(connector._prepare_dataloader, trainer)


class _PreparesOnce:
    """Lightning's preparation of a loader, and then no repeated samples."""

    def __init__(self, prepare: Any, trainer: Trainer) -> None:
        self.prepare = prepare
        self.trainer = trainer

    def __call__(self, dataloader: object, shuffle: bool, mode: RunningStage) -> object:
        with warnings.catch_warnings():
            if mode in _EVALUATIONS:  # its warning would no longer be true
                warnings.filterwarnings("ignore", message="Using `DistributedSampler` with the dataloaders")
            prepared = self.prepare(dataloader, shuffle=shuffle, mode=mode)
        if mode in _EVALUATIONS and isinstance(prepared, DataLoader):
            for sampler in (prepared.sampler, getattr(prepared.batch_sampler, "sampler", None)):
                self._repeat_nothing(sampler)
        return prepared

    def _repeat_nothing(self, sampler: Any) -> None:
        kinds = (DistributedSampler.__iter__, DistributedSamplerWrapper.__iter__)
        # A sampler that picks samples in its own way is left alone.
        if not isinstance(sampler, DistributedSampler) or type(sampler).__iter__ not in kinds:
            return
        size, processes = len(sampler.dataset), sampler.num_replicas  # type: ignore[arg-type]
        if size == sampler.total_size:
            return
        even = size - size % processes
        if not isinstance(self.trainer.strategy, DDPStrategy):
            message = (
                f"{size} samples cannot be shared out evenly over {processes} processes, as "
                f"{type(self.trainer.strategy).__name__} needs it: evaluate with --trainer.strategy ddp, on one device "
                f"(--trainer.devices 1), or {even} samples"
            )
            raise UserValueError(message)
        if not even:
            message = (
                f"{size} samples cannot be shared out over {processes} processes, since each needs at least one: "
                f"run with at most {size} (--trainer.devices {size} --trainer.num_nodes 1)"
            )
            raise UserValueError(message)
        sampler.total_size = size
        sampler.num_samples = len(range(sampler.rank, size, processes))


def over_all_samples(task: LightningModule, value: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Arguments of `log` that gather a value of an evaluation's step over all samples of all processes.

    Lightning's `sync_dist` gathers batch means, too, but it counts samples in whole numbers and halves them: the mean
    of five samples on two processes became 5/4 of itself.

    Args:
        task: The task that logs.
        value: What it logs.
        args: Of `log`, after the value.
        options: Of `log`, by name.

    Returns:
        The value, and all arguments by name: unchanged where the value is a metric of torchmetrics, which gathers
        by itself, or is logged outside of an evaluation's step, for each step, or by the first process only.
    """
    given = {**dict(zip(_ARGUMENTS, args, strict=False)), **options}
    gathers = task._current_fx_name in _HOOKS and isinstance(value, (int, float, Tensor))
    if not gathers or given.get("on_step") or given.get("rank_zero_only"):
        return value, given
    if given.get("reduce_fx", "mean") in _MEANS:
        batch_size = given.get("batch_size")
        results = task._trainer._results if task._trainer is not None else None
        if batch_size is None and results is not None:
            batch_size = extract_batch_size(results.batch)  # type: ignore[arg-type]  # there is one in these hooks
        given["batch_size"] = None if batch_size is None else float(batch_size)
        # Sums of many batches in float32 would depend on how they are distributed.
        if not isinstance(value, Tensor) or value.device.type != "mps":
            value = torch.as_tensor(value, dtype=torch.float64)
    return value, {**given, "sync_dist": True}
