"""Lightning's training loops, with boundaries at which a run may stop and from which it resumes."""

from __future__ import annotations

from typing import Any, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

__all__ = ["EpochLoop", "FitLoop", "ValidationLoop", "Watcher", "give_boundaries"]


class Watcher(Protocol):
    """The object that is notified at the boundaries, and may raise there."""

    def at_step_end(self) -> None:
        """A step is taken and logged; the validation due after it has not started."""

    def at_validation_start(self) -> None:
        """No part of the validation, the sanity check included, has started."""

    def at_validation_end(self) -> None:
        """The batches of a validation loader are done; their metrics are not computed yet."""

    def at_resumption(self) -> None:
        """The run resumes from a state saved by `at_step_end`."""


class FitLoop(_FitLoop):
    """Continues with the rest of the last step, even if no step follows it."""

    epoch_loop: EpochLoop
    metrics_restored = False

    @property
    def done(self) -> bool:
        """Whether to leave the loop; not before a step's validation."""
        return not self.epoch_loop.resuming_after_step and super().done

    def on_advance_end(self) -> None:
        """End the epoch; a resumed one like any other."""
        if self.metrics_restored:
            # In a resumed epoch, Lightning does not step a schedule that waits for a metric: it kept no metrics.
            self._restarting = False
        super().on_advance_end()


class EpochLoop(_TrainingEpochLoop):
    """Has a boundary after each step of the optimizer, before validation.

    Attributes:
        resuming_after_step: The loaded state is that of such a boundary: the step is taken, what follows it remains.
        watcher: The object to notify.
    """

    resuming_after_step = False
    watcher: Watcher

    @property
    def done(self) -> bool:
        """Whether to leave the loop; not before a step's validation."""
        return not self.resuming_after_step and super().done

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Take a step, unless it is taken already."""
        if not self.resuming_after_step:
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
