"""The checkpoints that a run keeps."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from pcpad.files import FileName
from pcpad.tasks.callbacks.loops import ends_within_epoch, save_within_epoch
from pcpad.tasks.callbacks.restoring import refuse_odd


class BestAndLast(ModelCheckpoint):
    """Keeps `best.ckpt` and `last.ckpt` in the run's folder, and saves `last.ckpt` when the run is told to stop.

    Lightning 2.6 leaves `last.ckpt` unchanged after an epoch that is not among the best; here it is from every epoch.
    Lightning's own saving on an exception would also write under the best one's name, and would save the weights of a
    run that fails because they are no longer finite. So only a stop saves here, and only `last.ckpt`: by
    `pcpad.tasks.callbacks.Interruption`, or without it at SIGTERM, which Lightning answers between two steps. At Ctrl-C
    Lightning stops within a step, whose batch a resumed run would skip.

    A run that ends within an epoch, by its steps or time or by a callback, resumes with the rest of that epoch.

    Args:
        monitor: The metric that decides which is best; without one, the newest.
        mode: Whether the best is the metric's `max` or `min`.
        dirpath: The folder; `checkpoints` in the run's log folder when not given.
        save_top_k: How many of the best to keep: `best.ckpt`, and with more than one `best-epoch=N.ckpt`.
        every_n_epochs: Epochs between two checks.
        every_n_train_steps: Save after this many steps instead.
        save_weights_only: Leave the optimizer's state out; such a run cannot be resumed.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        dirpath: FileName | None = None,
        save_top_k: int = 1,
        every_n_epochs: int | None = None,
        every_n_train_steps: int | None = None,
        save_weights_only: bool = False,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best" if save_top_k == 1 else "best-{epoch}-{step}",
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_top_k=save_top_k,
            save_on_exception=True,
            save_weights_only=save_weights_only,
            every_n_epochs=every_n_epochs,
            every_n_train_steps=every_n_train_steps,
            # One name, replaced in place (Lightning writes the complete file, then renames), so that it can be typed.
            enable_version_counter=False,
        )
        self._ends_within_epoch = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, and always the last, where saving waits for the end of the training epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        self._keep_last(trainer, at_epoch_end=True)
        self._ends_within_epoch = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, and always the last, where saving follows validation."""
        # If the run ends within an epoch, saving waits until Lightning has counted the step in all of its counters.
        self._ends_within_epoch = ends_within_epoch(trainer) and not self._defer_save_until_validation
        super().on_validation_end(trainer, pl_module)
        self._keep_last(trainer, at_epoch_end=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the end of a run within an epoch as such."""
        save_within_epoch(trainer, checkpoint)

    def _should_save_on_train_epoch_end(self, trainer: Trainer) -> bool:
        return self._ends_within_epoch or super()._should_save_on_train_epoch_end(trainer)

    def _keep_last(self, trainer: Trainer, at_epoch_end: bool) -> None:
        # Also skipped when this very step has just been saved.
        skip = self._should_skip_saving_checkpoint(trainer)
        if not skip and self._should_save_on_train_epoch_end(trainer) == at_epoch_end:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save `last.ckpt` at SIGTERM, unless it already is from this step."""
        if (
            isinstance(exception, SIGTERMException)
            and self.dirpath is not None
            and trainer.state.fn == "fit"
            and self._should_save_on_exception(trainer)
        ):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score of the resumed run, even if its files are in another folder.

        Without it the resumed run's first epoch would always count as best.
        """
        refuse_odd(self.state_dict(), state_dict, type(self).__name__)
        for path, score in state_dict.get("best_k_models", {}).items():
            refuse_odd(0.0, score, f"best_k_models.{path}")
        if state_dict.get("best_model_score") is not None:
            refuse_odd(0.0, state_dict["best_model_score"], "best_model_score")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The dirpath has changed")
            super().load_state_dict(state_dict)
        if self.monitor is None or self.monitor != state_dict.get("monitor"):
            return
        self.best_model_score = state_dict["best_model_score"]
        self.best_k_models = dict(state_dict["best_k_models"])
        self.kth_best_model_path = state_dict["kth_best_model_path"]
        self.kth_value = state_dict["kth_value"]
