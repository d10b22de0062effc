"""Refuse, before training starts, to watch a metric that no validation will log."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["known_names", "refuse_unlogged"]

# Callbacks from elsewhere may log metrics of their own.
_OURS = ("pcpad.", "lightning.")
_OF_ONE_LOADER = re.compile(r"/dataloader_idx_\d+$")


def refuse_unlogged(task: Any, trainer: Trainer, schedules: Iterable[Any] = ()) -> None:
    """Check that what callbacks and schedules watch is among the metrics that the task logs in validation.

    Lightning finds out at the first validation, which may be hours away.

    Args:
        task: A `Task`, which logs `val/…`; one that does not say its names is not checked.
        trainer: Whose callbacks have a `monitor`.
        schedules: Lightning's configurations of learning-rate schedules.

    Raises:
        UserValueError: A name that starts with `val/` is none of these.
    """
    names = known_names(task, trainer)
    if names is None:
        return
    watching = [(callback, getattr(callback, "monitor", None)) for callback in _callbacks(trainer)]
    watching += [(config.scheduler, config.monitor) for config in schedules if config.reduce_on_plateau]
    for watcher, monitor in watching:
        name = _OF_ONE_LOADER.sub("", monitor) if isinstance(monitor, str) else ""
        if name.startswith("val/") and name not in names:
            message = (
                f"{type(watcher).__name__} would wait for {monitor}, which {type(task).__name__} does not log with "
                f"these options: it logs {', '.join(sorted(names))}. Name one of these instead (--checkpoint.monitor "
                "NAME --checkpoint.mode min or max; a schedule's is --model.scheduler.monitor)"
            )
            raise UserValueError(message)


def known_names(task: Any, trainer: Trainer) -> set[str] | None:
    """All metrics that a validation of the task may log.

    Args:
        task: A `Task`.
        trainer: Whose callbacks may log, too.

    Returns:
        The names; None if not all are known: the task's class does not say them itself (a subclass may log more than
        its base says), or there are callbacks from elsewhere.
    """
    if "validation_names" not in vars(type(task)):
        return None
    if not all(type(callback).__module__.startswith(_OURS) for callback in _callbacks(trainer)):
        return None
    names: set[str] | None = task.validation_names()
    return None if names is None else {f"val/{name}" for name in names}


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]
