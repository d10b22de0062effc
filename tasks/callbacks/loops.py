"""Lightning's training loops, with boundaries at which a run may stop and from which it resumes."""

from __future__ import annotations

from typing import Any, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from pcpad.errors import UserValueError

__all__ = [
    "EpochLoop",
    "FitLoop",
    "ValidationLoop",
    "Watcher",
    "ends_within_epoch",
    "give_boundaries",
    "is_last_step",
    "save_within_epoch",
    "validates_anyway",
]


class Watcher(Protocol):
    """The object that is notified at the boundaries, and may raise there."""

    def at_step_end(self) -> None:
        """A step is taken and logged; the validation due after it has not started."""

    def at_validation_start(self) -> None:
        """No part of the validation, the sanity check included, has started."""

    def at_validation_end(self) -> None:
        """The batches of a validation loader are done; their metrics are not computed yet."""

    def at_early_end(self) -> None:
        """Training ends within an epoch, whose averages are not computed yet."""

    def at_resumption(self) -> None:
        """The run resumes from a state of `at_step_end` or `at_early_end`."""


class FitLoop(_FitLoop):
    """Continues with the rest of the last step, even if no step follows it, and after a whole epoch with the next."""

    epoch_loop: EpochLoop
    metrics_restored = False

    @property
    def done(self) -> bool:
        """Whether to leave the loop; not before a step's validation."""
        return not self.epoch_loop.resuming_after_step and super().done

    @_FitLoop.restarting.setter  # type: ignore[untyped-decorator]
    def restarting(self, restarting: bool) -> None:
        """Whether the run resumes within an epoch; Lightning also says so after a whole one if steps limit the run.

        It would count that epoch twice, and skip the data of the next.
        """
        epochs = self.epoch_progress.current
        unfinished = (epochs.ready, epochs.started) != (epochs.processed, epochs.processed)  # type: ignore[attr-defined]
        _Loop.restarting.fset(self, restarting and unfinished)  # type: ignore[attr-defined]

    def on_run_start(self) -> None:
        """Start, or resume."""
        super().on_run_start()
        self._count_other_batches()

    def _count_other_batches(self) -> None:
        """Resume an epoch in batches of another size, of which its loader tells how many count as done."""
        loaders = self._combined_loader.flattened if self._combined_loader is not None else []
        done = getattr(loaders[0], "batches_done", None) if len(loaders) == 1 else None
        if done is None or not self.restarting:
            return
        progress, batches = self.epoch_loop.batch_progress, self.max_batches
        if not progress.is_last_batch and done >= batches:
            message = (
                f"{self.trainer.ckpt_path}: what is left of its epoch does not fill a step of this run. Resume with "
                "the checkpoint's batch size (data.batch_size x processes) or a smaller one, or from an epoch's end"
            )
            raise UserValueError(message)
        counts: Any = progress.current
        more = (batches if progress.is_last_batch else done) - counts.processed
        for name in ("ready", "started", "processed", "completed"):
            setattr(counts, name, getattr(counts, name) + more)
        # No validation is due after none of the batches, as Lightning would have it.
        self.epoch_loop._skip_next_val = self.epoch_loop.resuming_after_step and counts.ready == 0

    def on_advance_end(self) -> None:
        """End the epoch; a resumed one like any other."""
        if ends_within_epoch(self.trainer):
            self.epoch_loop.watcher.at_early_end()
        if self.metrics_restored:
            # In a resumed epoch, Lightning does not step a schedule that waits for a metric: it kept no metrics.
            self._restarting = False
        super().on_advance_end()


class EpochLoop(_TrainingEpochLoop):
    """Has a boundary after each step of the optimizer, before validation.

    Attributes:
        resuming_after_step: The loaded state is that of such a boundary: the step is taken, what follows it remains.
        resuming_within_epoch: The loaded state is that of a run that ended within an epoch: the next step follows.
        watcher: The object to notify.
    """

    resuming_after_step = False
    resuming_within_epoch = False
    watcher: Watcher

    @property
    def done(self) -> bool:
        """Whether to leave the loop; not before a step's validation."""
        return not self.resuming_after_step and super().done

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Take a step, unless it is taken already."""
        if not self.resuming_after_step:
            if self.resuming_within_epoch:
                # Lightning would return to a validation that was due after the step before.
                self.resuming_within_epoch = self._restarting = False
                self.val_loop.restarting = False
                self.watcher.at_resumption()
            super().advance(data_fetcher)
            return
        # From its counters alone, Lightning would take the state for one saved after validation.
        self.val_loop.restarting = False
        self.watcher.at_resumption()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Notify of the boundary, then validate if that is due."""
        if not self._should_accumulate():
            self.watcher.at_step_end()
        self.resuming_after_step = False
        super().on_advance_end(data_fetcher)


class ValidationLoop(_EvaluationLoop):
    """Notifies when validation starts and when its batches are done."""

    watcher: Watcher

    def run(self) -> list[Any]:
        """Validate."""
        self.watcher.at_validation_start()
        outputs: list[Any] = super().run()
        return outputs

    def _store_dataloader_outputs(self) -> None:
        self.watcher.at_validation_end()
        super()._store_dataloader_outputs()


def give_boundaries(trainer: Trainer, watcher: Watcher) -> bool:
    """Install boundaries in a trainer's loops.

    Args:
        trainer: Before training.
        watcher: The object to notify.

    Returns:
        Whether that was possible: False if the trainer has custom loops.
    """
    fit: Any = trainer.fit_loop
    epoch: Any = fit.epoch_loop
    validation: Any = epoch.val_loop
    # In place: by now the trainer has tied limits and data to these very objects.
    kinds = (
        (fit, _FitLoop, FitLoop),
        (epoch, _TrainingEpochLoop, EpochLoop),
        (validation, _EvaluationLoop, ValidationLoop),
    )
    if any(type(loop) not in (base, kind) for loop, base, kind in kinds):
        return False
    for loop, _, kind in kinds:
        loop.__class__ = kind
    epoch.watcher = validation.watcher = watcher
    return True


def is_last_step(trainer: Trainer) -> bool:
    """Whether training ends with the step just taken, by its steps, epochs or time, or by a callback."""
    loop = trainer.fit_loop
    if 0 <= trainer.max_steps <= trainer.global_step or (trainer.should_stop and loop._can_stop_early):
        return True
    ends_with_epochs = loop.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= loop.max_epochs
    return ends_with_epochs and loop.epoch_loop.batch_progress.is_last_batch


def ends_within_epoch(trainer: Trainer) -> bool:
    """Whether training ends with the step just taken, but batches of its epoch are left."""
    loop = trainer.fit_loop.epoch_loop
    return loop.batch_progress.current.ready > 0 and not loop._num_ready_batches_reached() and is_last_step(trainer)


def validates_anyway(trainer: Trainer) -> bool:
    """Whether validation follows the step just taken even if training does not end with it."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    stops, trainer.should_stop = trainer.should_stop, False
    try:
        return _TrainingEpochLoop._should_check_val_fx(loop, fetcher)
    finally:
        trainer.should_stop = stops


def save_within_epoch(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Let a run resume with the rest of the epoch in which it ended, which Lightning counts as a whole one.

    Args:
        trainer: In training.
        checkpoint: Its counters of epochs are changed.

    Returns:
        Whether training has ended within an epoch.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    counted = epochs.processed == epochs.ready  # type: ignore[attr-defined]
    if "loops" not in checkpoint or not counted or not ends_within_epoch(trainer):
        return False
    for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        count["processed"] = count["ready"] - 1
        count["completed"] = min(count["completed"], count["processed"])
        checkpoint["epoch"] = count["completed"]
    return True
