"""Lightning's loops of training, with boundaries at which a run may stop, and from which it resumes."""

from __future__ import annotations

from typing import Any, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

__all__ = ["EpochLoop", "FitLoop", "ValidationLoop", "Watcher", "give_boundaries"]


class Watcher(Protocol):
    """What is told of the boundaries, and may raise there."""

    def at_step_end(self) -> None:
        """A step is taken and logged; validation that is due after it has not begun."""

    def at_validation_start(self) -> None:
        """Nothing of the validation, the sanity check included, has begun."""

    def at_validation_end(self) -> None:
        """The batches of a validation loader are done; their metrics are not computed yet."""

    def at_resumption(self) -> None:
        """The run resumes from a state saved by `at_step_end`."""


class FitLoop(_FitLoop):
    """Goes on with what is left of the last step, even where no step follows it."""

    epoch_loop: EpochLoop
    metrics_restored = False

    @property
    def done(self) -> bool:
        """Whether to leave the loop; not before a step's validation."""
        return not self.epoch_loop.resuming_after_step and super().done

    def on_advance_end(self) -> None:
        """End the epoch; of an epoch that was resumed just as of any other."""
        if self.metrics_restored:
            # Lightning leaves a schedule that waits for a metric as it is in a resumed epoch: it kept no metrics.
            self._restarting = False
        super().on_advance_end()


class EpochLoop(_TrainingEpochLoop):
    """Has a boundary after each step of the optimizer, before validation.

    Attributes:
        resuming_after_step: The state loaded is that of such a boundary: the step is taken, what follows it is left.
        watcher: Who is told.
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
        # By its counters alone, Lightning would take the state for one saved after validation.
        self.val_loop.restarting = False
        self.watcher.at_resumption()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Tell of the boundary, then validate where that is due."""
        if not self._should_accumulate():
            self.watcher.at_step_end()
        self.resuming_after_step = False
        super().on_advance_end(data_fetcher)


class ValidationLoop(_EvaluationLoop):
    """Tells when validation begins and when its batches are done."""

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
    """Give a trainer's loops their boundaries.

    Args:
        trainer: Before training.
        watcher: Who is told of them.

    Returns:
        Whether that was possible: False where someone has put loops of their own in place.
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
