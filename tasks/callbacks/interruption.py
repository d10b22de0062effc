"""Stop a run so that the resumed run equals one that never stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.types import _Stateful
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pcpad.distributed import gathered, rank
from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.loops import FitLoop, give_boundaries, save_within_epoch, validates_anyway
from pcpad.tasks.callbacks.randomness import check_random_state, random_state, set_random_state
from pcpad.tasks.callbacks.restoring import is_number, refuse_odd, restoring
from pcpad.tasks.callbacks.running_metrics import running_metrics, set_running_metrics
from pcpad.tasks.callbacks.signals import StopSignals

__all__ = ["Interrupted", "Interruption"]

_KEY = "pcpad_interruption"
_FIRST, _AFTER_STEP, _WITHIN_EPOCH = "before the first step", "after a step", "within an epoch"


class Interrupted(SystemExit):
    """A run was told to stop, and has stopped.

    Args:
        signum: The signal.
        where: How far it had come.
        file: The checkpoint to resume from; None where nothing was saved.
        notes: Further remarks for the user.
        speaks: Whether this process informs the user, and exits with the signal's exit code; the processes that it has
            started exit with 0, since other codes would be taken for a crash.

    Attributes:
        code: The exit code, 128 + `signum` as a shell has it.
    """

    def __init__(self, signum: int, where: str, file: Path | None, notes: list[str], speaks: bool = True) -> None:
        super().__init__(128 + signum if speaks else 0)
        self.signal = signal.Signals(signum).name
        self.where = where
        self.file = file
        self.notes = notes
        self.speaks = speaks


class Interruption(Callback):
    """Ends a stopped run where its state is complete, and lets the resumed run continue exactly there.

    At SIGINT (Ctrl-C) or SIGTERM the step of the optimizer is finished, accumulated batches included; then `last.ckpt`
    is saved and the run ends with exit code 130 or 143. Validation and the sanity check are interrupted after a batch:
    what is saved is the state before them, and the resumed run begins with them. SLURM's signal to requeue
    is answered at the same places. A second Ctrl-C ends the run at once; then, and after SIGKILL, only the last
    checkpoint saved before exists.

    A run that ends within an epoch by its steps, time or a callback can be extended likewise.

    Resumed with the same processes and workers, weights, optimizers and logged values equal those of an uninterrupted
    run, on the CPU bit for bit. That takes a training loader that keeps its position (`state_dict`), as those of
    `pcpad.datamodules` do; the closing message names a loader without one.
    """

    def __init__(self) -> None:
        self.signals: StopSignals | None = None
        self._trainer: Trainer | None = None
        self._position: str | None = None
        self._before_validation: dict[str, Any] | None = None
        self._early_end: dict[str, Any] | None = None
        self._kept: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}

    # Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Install the loops' boundaries, before a checkpoint is loaded into them."""
        self._trainer = trainer
        self._position, self._kept, self._loaded, self._early_end = None, {}, {}, None
        if stage == "fit" and not give_boundaries(trainer, self):
            rank_zero_warn("The trainer has loops of its own: Ctrl-C and SIGTERM end it as Lightning does")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start noting signals."""
        if isinstance(trainer.fit_loop, FitLoop):
            self.signals = StopSignals(trainer, self._at_once)
            self.signals.take()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals again: Lightning has taken them since `on_fit_start`."""
        if self.signals is not None:
            self.signals.take()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the metrics of the resumed run: schedules and checkpoints may wait for one of them."""
        if self.signals is not None:
            self.signals.take()
        metrics = self._loaded.get("callback_metrics")
        if metrics is not None and isinstance(trainer.fit_loop, FitLoop):
            device = trainer.strategy.root_device
            known = {name: value.to(device) for name, value in metrics.items() if isinstance(value, Tensor)}
            trainer._logger_connector._callback_metrics.update(known)
            trainer.fit_loop.metrics_restored = True

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Stop validation, if requested."""
        if trainer.state.fn == "fit" and self._asked():
            self.at_validation_end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._give_back()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        self._give_back()

    def _give_back(self) -> None:
        if self.signals is not None:
            self.signals.give_back()
            self.signals = None

    # Checkpoints

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record where in the run the state was saved, and add what Lightning leaves out."""
        metrics = self._kept.get("callback_metrics", trainer.callback_metrics)
        entry: dict[str, Any] = {
            "position": self._position,
            "callback_metrics": {name: metrics[name].cpu() for name in metrics},
        }
        if self._position == _FIRST:
            del checkpoint["loops"]  # their counters would make Lightning count a step as done
        if self._position == _AFTER_STEP:
            parts = {"random": random_state(), "running": self._kept["running"]}
            entry["processes"] = gathered(parts)
        if save_within_epoch(trainer, checkpoint) and self._early_end is not None:
            entry |= {"position": _WITHIN_EPOCH, "processes": gathered(self._early_end)}
        checkpoint[_KEY] = entry

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read where in the run the state was saved."""
        entry = checkpoint.get(_KEY)
        self._loaded = {}
        if entry is None or trainer.state.fn != "fit":
            return
        with restoring(trainer, _KEY):
            _check(entry)
        self._loaded = dict(entry)
        if isinstance(trainer.fit_loop, FitLoop):
            position, loop = self._loaded.get("position"), trainer.fit_loop.epoch_loop
            loop.resuming_after_step = position == _AFTER_STEP
            loop.resuming_within_epoch = position == _WITHIN_EPOCH

    # Boundaries

    def at_step_end(self) -> None:
        """Stop here if requested."""
        if self._all_asked():
            self._kept = self._present()
            self._stop(_AFTER_STEP)

    def at_validation_start(self) -> None:
        """Save what validation changes and Lightning's checkpoints don't restore."""
        loop = self._training.fit_loop.epoch_loop
        progress, batch = loop.val_loop.batch_progress.state_dict(), loop.total_batch_idx
        self._before_validation = {**self._present(), "random": random_state(), "progress": progress, "batch": batch}

    def at_validation_end(self) -> None:
        """Stop here if requested, with the state before validation."""
        trainer = self._training
        # Processes may have different numbers of batches: each is asked here once, whether it stopped early or not.
        if not self._all_asked() or self._before_validation is None:
            return
        self._kept = self._before_validation
        set_random_state(self._kept["random"])
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.load_state_dict(self._kept["progress"])
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):  # puts the trained weights back in place
                callback.on_validation_epoch_end(trainer, trainer.lightning_module)
        self._stop(_FIRST if trainer.sanity_checking else _AFTER_STEP)

    def at_early_end(self) -> None:
        """Keep this process's state as a longer run has it here: as if not validated, unless it validates as well."""
        trainer, before = self._training, self._before_validation
        random = random_state()
        if before is not None and before["batch"] == trainer.fit_loop.total_batch_idx and not validates_anyway(trainer):
            random = before["random"]
        self._early_end = {"random": random, "running": running_metrics(trainer, trainer.lightning_module)}

    def at_resumption(self) -> None:
        """Continue from the state of each process."""
        trainer, processes = self._training, self._loaded["processes"]
        if len(processes) != trainer.world_size:
            rank_zero_warn(
                f"The run was stopped with {len(processes)} processes and resumes with {trainer.world_size}: what it "
                "draws at random, and the epoch's averages, differ from those of an uninterrupted run"
            )
            return
        part = processes[rank()]
        with restoring(trainer, _KEY):
            set_running_metrics(trainer, trainer.lightning_module, part["running"])
        trainer._logger_connector._first_loop_iter = False  # or the next step would reset them
        set_random_state(part["random"])

    @property
    def _training(self) -> Trainer:
        assert self._trainer is not None
        return self._trainer

    def _asked(self) -> bool:
        # By Lightning's handler, where another handler was kept.
        return self._training.received_sigterm or (self.signals is not None and self.signals.received is not None)

    def _all_asked(self) -> bool:
        """Whether any process was told to stop; all processes must call this together."""
        trainer = self._training
        if trainer.world_size == 1:
            return self._asked()
        return trainer.strategy.reduce_boolean_decision(self._asked(), all=False)

    def _present(self) -> dict[str, Any]:
        trainer = self._training
        metrics = dict(trainer._logger_connector._callback_metrics)
        return {"running": running_metrics(trainer, trainer.lightning_module), "callback_metrics": metrics}

    def _stop(self, position: str) -> None:
        """Save the state and exit; all processes at the same place."""
        trainer = self._training
        received = gathered(self.signals.received if self.signals is not None else None)
        signum = next((number for number in received if number is not None), signal.SIGTERM)
        trainer.training = True  # no longer validating
        self._position = position
        notes = []
        if self.signals is not None and signum == self.signals.requeuing:
            trainer._signal_connector._slurm_sigusr_handler_fn(signum, None)  # type: ignore[arg-type]
            notes.append("SLURM was asked to requeue the job, which resumes by itself.")
        file = self._save()
        notes += self._reservations(file)
        speaks = self.signals is None or not self.signals.started_by_another
        raise Interrupted(signum, self._where(), file, notes, speaks)

    def _where(self) -> str:
        trainer = self._training
        if not trainer.global_step:
            return "before the first step"
        return f"in epoch {trainer.current_epoch}, after step {trainer.global_step}"

    def _saver(self) -> ModelCheckpoint | None:
        savers = self._training.checkpoint_callbacks
        usable = [saver for saver in savers if isinstance(saver, ModelCheckpoint) and saver.dirpath is not None]
        return next((saver for saver in usable if isinstance(saver, BestAndLast)), usable[0] if usable else None)

    def _save(self) -> Path | None:
        trainer, saver = self._training, self._saver()
        if saver is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return None
        if isinstance(saver, BestAndLast):
            saver._save_last_checkpoint(trainer, saver._monitor_candidates(trainer))
            return Path(saver.last_model_path)
        path = Path(str(saver.dirpath)) / "last.ckpt"
        saver._save_checkpoint(trainer, str(path))
        return path

    def _reservations(self, file: Path | None) -> list[str]:
        """Reasons why the resumed run will not equal one that never stopped."""
        trainer, saver = self._training, self._saver()
        if file is None:
            return ["Nothing was saved: this run keeps no checkpoints."]
        notes = []
        if saver is not None and saver.save_weights_only:
            notes.append("It holds weights alone (save_weights_only): no run can resume from it.")
        combined = trainer.fit_loop._combined_loader
        loaders = combined.flattened if combined is not None else []
        others = [type(one).__name__ for one in loaders if not (isinstance(one, _Stateful) and one.state_dict())]
        if others and trainer.fit_loop.epoch_loop.batch_progress.current.ready < trainer.num_training_batches:
            notes.append(
                f"The training loader ({others[0]}) keeps no position here (`state_dict`): the rest of this epoch will "
                "not be what it would have been. pcpad.datamodules.base.DataModule's and torchdata's loaders keep it."
            )
        return notes

    def _at_once(self) -> None:
        saver = self._saver()
        last = saver.last_model_path if saver is not None else ""
        file = Path(last) if last and Path(last).exists() else None
        note = "So the file is the last one saved before." if file else "So nothing is saved."
        raise Interrupted(signal.SIGINT, "at once, within a step", file, [note])


def _check(entry: Any) -> None:
    """Refuse a state that `Interruption.on_save_checkpoint` has not written; for metrics see `set_running_metrics`."""
    refuse_odd({"position": None, "callback_metrics": {}}, entry, "it")
    for name, value in entry.get("callback_metrics", {}).items():
        refuse_odd(0.0 if is_number(value) else Tensor(), value, f"callback_metrics.{name}")
    if entry.get("position") in (_AFTER_STEP, _WITHIN_EPOCH):
        refuse_odd([{"running": {}}] * len(entry["processes"]), entry["processes"], "processes")
        for part in entry["processes"]:
            check_random_state(part["random"])
