"""Validate the last state of a training run before it is kept."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["LastState"]


class LastState(Callback):
    """Validates, and so saves, the state in which training ends by its steps, epochs or time, or by a callback.

    Lightning only validates at its interval. A run of 31000 steps that validates every ten epochs of 186 steps would
    end without validating its last 1240 steps, in which the learning rate has reached 0, and without a checkpoint of
    them.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wrap Lightning's decision whether to validate after a step."""
        loop = trainer.fit_loop.epoch_loop
        decide = loop._should_check_val_fx

        def decide_or_last(fetcher: Any) -> bool:
            return decide(fetcher) or (trainer.enable_validation and _is_last(trainer))

        loop._should_check_val_fx = decide_or_last  # type: ignore[method-assign, assignment]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the trainer."""
        trainer.fit_loop.epoch_loop.__dict__.pop("_should_check_val_fx", None)


def _is_last(trainer: Trainer) -> bool:
    """Whether the step just taken is the last one."""
    loop = trainer.fit_loop
    if 0 <= trainer.max_steps <= trainer.global_step or (trainer.should_stop and loop._can_stop_early):
        return True
    ends_with_epochs = loop.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= loop.max_epochs
    return ends_with_epochs and loop.epoch_loop.batch_progress.is_last_batch
