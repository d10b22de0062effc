"""Resuming a run with another learning rate than the checkpoint's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pcpad.errors import UserValueError
from pcpad.tasks.callbacks.restoring import refuse_odd, restoring


class OptimizerOnResume(Callback):
    """Lets the requested optimizer and schedule override those that a checkpoint restores.

    Lightning restores the optimizer's options and the schedule's together with their state: a learning rate typed at
    `fit --ckpt_path` would be silently replaced. When the requested hyper-parameters differ from the checkpoint's, the
    new options are used, momentum is kept, and the new schedule is advanced to the run's position.
    """

    def __init__(self) -> None:
        self._steps: int | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the requested options in place of those in the checkpoint, before Lightning restores them."""
        self._steps = None
        stored, used = checkpoint.get("hyper_parameters", {}), pl_module.hparams
        names = [name for name in ("optimizer", "scheduler") if name in stored and name in used]
        changed = [name for name in names if stored[name] != used[name]]
        if trainer.state.fn != "fit" or not changed or "optimizer_states" not in checkpoint:
            return
        configured = _configured(pl_module)
        with restoring(trainer, "optimizer_states"):
            self._replace(configured, stored, used, checkpoint)

    def _replace(
        self, configured: dict[str, Any], stored: Mapping[str, Any], used: Mapping[str, Any], checkpoint: dict[str, Any]
    ) -> None:
        (state,) = checkpoint["optimizer_states"]
        if _kind(stored.get("optimizer")) != _kind(used.get("optimizer")):
            state["state"] = {}  # one optimizer's averages are meaningless to another
        for fresh, group in zip(configured["optimizer"].param_groups, state["param_groups"], strict=True):
            kept = group["params"]
            group.clear()
            group.update({key: value for key, value in fresh.items() if key != "params"}, params=kept)
        # Not restored, but advanced in `on_train_start`. Its own counter says how far it had come.
        by_step = configured.get("lr_scheduler", {}).get("interval") == "step"
        reached = checkpoint["global_step"] if by_step else checkpoint["epoch"]
        schedules = checkpoint["lr_schedulers"]
        steps = schedules[0].get("last_epoch", reached) if schedules else reached
        refuse_odd(0, steps, "last_epoch")
        self._steps = int(steps)
        checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Advance the new schedule to the epoch, or step, at which the run resumes."""
        if self._steps is None:
            return
        with warnings.catch_warnings():
            # Advancing means stepping before the optimizer's first step.
            warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)`")
            for config in trainer.lr_scheduler_configs:
                if not isinstance(config.scheduler, ReduceLROnPlateau):
                    for _ in range(self._steps):
                        config.scheduler.step()
        self._steps = None


def _configured(pl_module: LightningModule) -> dict[str, Any]:
    configured: Any = pl_module.configure_optimizers()
    if not isinstance(configured, dict):
        name = type(pl_module).__name__
        message = f"{name} has several optimizers: resuming with options other than the checkpoint's is not supported"
        raise UserValueError(message)
    return configured


def _kind(hyperparameters: Any) -> Any:
    return hyperparameters.get("class_path") if isinstance(hyperparameters, dict) else hyperparameters
