"""Validate the last state of a training run before it is kept."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pcpad.tasks.callbacks.loops import is_last_step

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
            return decide(fetcher) or (trainer.enable_validation and is_last_step(trainer))

        loop._should_check_val_fx = decide_or_last  # type: ignore[method-assign, assignment]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the trainer."""
        trainer.fit_loop.epoch_loop.__dict__.pop("_should_check_val_fx", None)
