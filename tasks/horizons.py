"""Compare the length of a learning-rate schedule with that of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
)

from pcpad.tasks.schedules import LinearDecay

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["Horizon", "complaint", "horizon", "run_length", "warn_of_other_horizons"]

# Those that are meant to end with the run, up to a warm-up or the like.
_LEAST, _MOST = 0.8, 1.25
_TO_THE_END = {CosineAnnealingLR: "T_max", PolynomialLR: "total_iters", OneCycleLR: "total_steps", LinearDecay: "total"}
# A first part of the run.
_WARM_UPS = (LinearLR, ConstantLR)
# The last of the milestones is seldom that early, unless it is meant in epochs and counted in steps.
_EARLIEST = 0.01
_UNITS = {"step": "iteration", "epoch": "epoch"}


@dataclass(frozen=True)
class Horizon:
    """The last time at which a schedule changes the rate as it was meant to.

    Args:
        length: Number of the schedule's steps until then.
        option: The argument that says it.
        least: The smallest share of the run that it is expected to be.
        most: The largest.
    """

    length: int
    option: str
    least: float = 0.0
    most: float = 1.0


def horizon(schedule: Any) -> Horizon | None:
    """Find the length of a schedule.

    Args:
        schedule: A learning-rate schedule.

    Returns:
        The length; None for schedules that may go on forever.
    """
    for kind, option in _TO_THE_END.items():
        if isinstance(schedule, kind):
            return Horizon(int(getattr(schedule, option)), option, _LEAST, _MOST)
    if isinstance(schedule, MultiStepLR):
        return Horizon(max(schedule.milestones), "milestones", _EARLIEST) if schedule.milestones else None
    if isinstance(schedule, _WARM_UPS):
        return Horizon(int(schedule.total_iters), "total_iters")
    if isinstance(schedule, SequentialLR):
        start = int(schedule._milestones[-1])
        last = horizon(schedule._schedulers[-1])
        return Horizon(start, "milestones") if last is None else replace(last, length=start + last.length)
    return None


def run_length(trainer: Trainer, interval: str) -> float:
    """Compute how often a schedule is stepped in a run.

    Args:
        trainer: When training starts.
        interval: `step` or `epoch`.

    Returns:
        Number of iterations or of epochs; infinite if the run is limited by neither.
    """
    per_epoch = math.inf
    if math.isfinite(trainer.num_training_batches):
        per_epoch = max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))
    # Lightning counts the steps of each optimizer.
    steps = math.inf if trainer.max_steps < 0 else trainer.max_steps / max(1, len(trainer.optimizers))
    epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
    if interval == "epoch":
        known = math.isfinite(steps) and math.isfinite(per_epoch)
        return min(epochs, math.ceil(steps / per_epoch)) if known else epochs
    return min(steps, epochs * per_epoch) if epochs else 0.0


def complaint(schedule: Any, interval: str, lengths: dict[str, float]) -> str | None:
    """Describe how a schedule does not fit the length of training.

    Args:
        schedule: A learning-rate schedule.
        interval: When it is stepped, `step` or `epoch`.
        lengths: The run's, by interval.

    Returns:
        A sentence that names the options; None if it fits, or nothing is known.
    """
    found, length = horizon(schedule), lengths[interval]
    if found is None or not math.isfinite(length) or length < 1 or _fits(found, length):
        return None
    other = "epoch" if interval == "step" else "step"
    advice = f"--model.scheduler.{found.option} sets its length, --model.scheduler_interval {other} steps it once per"
    fits = math.isfinite(lengths[other]) and lengths[other] >= 1 and _fits(found, lengths[other])
    return (
        f"{type(schedule).__name__} is stepped once per {_UNITS[interval]} and made for {found.length} of them "
        f"(`{found.option}`), but this run has {length:.0f}, so the learning rate will not be what it is meant to be: "
        f"{advice} {_UNITS[other]}{', which would fit' if fits else ''}"
    )


def _fits(found: Horizon, length: float) -> bool:
    close = abs(found.length - length) <= 1
    return close or found.least * length <= found.length <= found.most * length


def warn_of_other_horizons(trainer: Trainer) -> None:
    """Warn, when training starts, of each schedule that is not made for the length of the run.

    Args:
        trainer: With its optimizers and schedules.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    lengths = {interval: run_length(trainer, interval) for interval in _UNITS}
    found = (complaint(config.scheduler, config.interval, lengths) for config in trainer.lr_scheduler_configs)
    for text in dict.fromkeys(one for one in found if one is not None):
        rank_zero_warn(text)
