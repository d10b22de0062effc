"""The return value of every task's `configure_optimizers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn import Parameter
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, PolynomialLR, ReduceLROnPlateau

from pcpad.errors import UserValueError

Interval = Literal["step", "epoch"]

_BY_STEP = (CyclicLR, OneCycleLR, PolynomialLR)


def optimizer_and_scheduler(
    parameters: Iterable[Parameter] | Sequence[dict[str, Any]],
    optimizer: OptimizerCallable | None,
    scheduler: LRSchedulerCallable | None,
    factors: Sequence[float] = (),
    interval: Interval | None = None,
) -> dict[str, Any]:
    """Build one optimizer and, if requested, its schedule.

    Args:
        parameters: What to optimize: parameters, or groups of them.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer. A plateau's schedule must be Lightning's own class, which
            knows its metric, and is stepped once per epoch.
        factors: The factor of each group's learning rate; empty for one rate.
        interval: Whether the schedule is stepped once per `step` of the optimizer or per `epoch`. If None, once per
            step for the schedules of PyTorch that are counted in steps (`OneCycleLR`, `CyclicLR`, and `PolynomialLR` as
            segmentation uses it), and once per epoch for all others.

    Returns:
        Lightning's dictionary.

    Raises:
        ValueError: There is no optimizer, a plateau's schedule does not know its metric or is to be stepped once per
            step, or a schedule would give all groups one rate.
    """
    if optimizer is None:
        message = (
            "Training needs an optimizer: pass optimizer=lambda p: torch.optim.SGD(p, lr=0.1), or on the command line "
            "--model.optimizer SGD --model.optimizer.lr 0.1 (the packaged recipes have one: `pcpad configs`)"
        )
        raise UserValueError(message)
    built = optimizer(parameters)
    for group, factor in zip(built.param_groups, factors, strict=bool(factors)):
        group["lr"] *= factor
    if scheduler is None:
        return {"optimizer": built}
    schedule = scheduler(built)
    if factors and isinstance(schedule, (CyclicLR, OneCycleLR)):
        message = (
            f"{type(schedule).__name__} gives all parts one learning rate, so `rates` would be lost: choose another "
            "schedule (CosineAnnealingLR, PolynomialLR, MultiStepLR, …) or leave `rates` out"
        )
        raise UserValueError(message)
    if isinstance(schedule, ReduceLROnPlateau) and interval == "step":
        message = (
            "ReduceLROnPlateau waits for a metric of a whole validation: leave `scheduler_interval` out, or 'epoch'"
        )
        raise UserValueError(message)
    usual = "step" if isinstance(schedule, _BY_STEP) else "epoch"
    config = {"scheduler": schedule, "interval": interval or usual}
    if hasattr(schedule, "monitor"):  # Lightning's ReduceLROnPlateau
        config["monitor"] = schedule.monitor
    elif isinstance(schedule, ReduceLROnPlateau):
        message = (
            "PyTorch's own ReduceLROnPlateau does not name its metric: pass lightning.pytorch.cli.ReduceLROnPlateau"
            '(optimizer, monitor="val/loss"), or on the command line --model.scheduler '
            "lightning.pytorch.cli.ReduceLROnPlateau --model.scheduler.monitor val/loss"
        )
        raise UserValueError(message)
    return {"optimizer": built, "lr_scheduler": config}
