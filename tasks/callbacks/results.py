"""The results of a run: best validation, mean of the last ones, test metrics, as a table and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from rich.table import Table as RichTable

from pcpad.errors import UserValueError
from pcpad.files import read_text, whole_file
from pcpad.tables import Table
from pcpad.tasks.base import Task
from pcpad.tasks.evaluation.metric_names import meaning_of
from pcpad.tasks.evaluation.report import shown
from pcpad.terminal import tell


class RunResults(Callback):
    """Keeps the numbers that the papers report of a training run, and writes all results to the run's `results.json`.

    For the monitored validation metric, the best epoch's value and the mean of the last five epochs'. A run that
    validates several times in an epoch has them of all validations instead, by step: `history_by` is then `step`. The
    values are part of the checkpoint, so an interrupted run reports all of its validations, each counted once. The file
    has one entry for each of `fit`, `validate` and `test`, with the paddings trained and tested with, and under
    `meanings` the unit of each number, and whether `higher` or `lower` is better, null if unknown.

    Args:
        monitor: The validation metric, such as `val/top1`; without one, only final metrics are kept.
        mode: Whether its best is the `max` or the `min`.
        last_epochs: Number of epochs, or of validations by step, that the mean is taken over.
    """

    def __init__(self, monitor: str | None = None, mode: Literal["max", "min"] = "max", last_epochs: int = 5) -> None:
        if last_epochs < 1:
            message = f"Expected argument `last_epochs` to be a positive integer, but got {last_epochs}"
            raise UserValueError(message)
        self.monitor = monitor
        self.mode = mode
        self.last_epochs = last_epochs
        self.history: dict[int, float] = {}
        # None in a run resumed from a checkpoint of an earlier version, which kept only the last in each epoch.
        self.steps: dict[int, float] | None = {}
        self._closing: list[RichTable | str] = []

    def state_dict(self) -> dict[str, Any]:
        """The metric of every epoch and of every validation so far."""
        kept: dict[str, Any] = {"monitor": self.monitor, "history": dict(self.history)}
        return kept if self.steps is None else kept | {"steps": dict(self.steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting from the checkpoint, if it counted the same metric."""
        self.history, self.steps = {}, {}
        if state_dict["monitor"] == self.monitor:
            self.history = dict(state_dict["history"])
            self.steps = dict(state_dict["steps"]) if "steps" in state_dict else None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the value, by epoch and by step; a repeated validation counts once."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            self._report(trainer, pl_module, "validate", "val/")
            return
        if self.monitor is not None and self.monitor in trainer.callback_metrics:
            value = float(trainer.callback_metrics[self.monitor])
            self.history[trainer.current_epoch] = value
            if self.steps is not None:
                self.steps[trainer.global_step] = value
        self._write(trainer, "fit", {**self._summary(trainer, pl_module, "val/"), **self.summary(), "finished": False})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the summary of training."""
        summary = self.summary()
        best = getattr(trainer.checkpoint_callback, "best_model_path", None) or None
        entry = {**self._summary(trainer, pl_module, "val/"), **summary, "best_checkpoint": best, "finished": True}
        path = self._write(trainer, "fit", entry)
        if summary:
            by, many = ("step", "validations") if "best_step" in summary else ("epoch", "epochs")
            count = len(summary[f"last_{by}s"])
            self._closing.append(
                f"{self.monitor}: best {shown(summary['best'])} ({by} {summary[f'best_{by}']}), "
                f"mean of the last {count} {many} {shown(summary[f'mean_last_{many}'])}"
            )
        self._closing += [f"Written to {path}"] if path else []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the test metrics."""
        self._report(trainer, pl_module, "test", "test/")

    def summary(self) -> dict[str, Any]:
        """The best validation and the mean of the last ones.

        Returns:
            `monitor`, `best`, `best_epoch`, `mean_last_epochs`, `last_epochs` (their numbers) and `history`; empty
            before the first epoch. If any epoch had several validations, `history_by` "step", `best_step`,
            `mean_last_validations`, `last_steps` and `history` by the number of steps taken.
        """
        if not self.history:
            return {}
        steps = self.steps or {}
        by_step = len(steps) > len(self.history)
        history = steps if by_step else self.history
        by, many = ("step", "validations") if by_step else ("epoch", "epochs")
        order = sorted(history)
        pick = max if self.mode == "max" else min
        best = pick(order, key=lambda when: history[when])  # the first of equals
        last = order[-self.last_epochs :]
        return {
            "monitor": self.monitor,
            **({"history_by": "step"} if by_step else {}),
            "best": history[best],
            f"best_{by}": best,
            f"mean_last_{many}": math.fsum(history[when] for when in last) / len(last),
            f"last_{by}s": last,
            "history": {when: history[when] for when in order},
        }

    def _summary(self, trainer: Trainer, pl_module: LightningModule, prefix: str) -> dict[str, Any]:
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
        metrics = {name: value if math.isfinite(value) else None for name, value in found.items()}  # JSON has no NaN
        task = pl_module if isinstance(pl_module, Task) else None
        return {
            "task": type(pl_module).__name__,
            "network": task and task.network_name,
            "trained_with": task and task.trained_with,
            "tested_with": task and task.padding,
            "checkpoint": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "metrics": metrics,
            "meanings": {name: meaning_of(name, task.units if task else None) for name in metrics},
        }

    def _report(self, trainer: Trainer, pl_module: LightningModule, command: str, prefix: str) -> None:
        entry = self._summary(trainer, pl_module, prefix)
        path = self._write(trainer, command, entry)
        title = command
        if entry["tested_with"] is not None:
            title += (
                f": trained with {entry['trained_with'] or 'an unknown'} padding, tested with {entry['tested_with']}"
            )
        if isinstance(pl_module, Task) and pl_module.report is not None:  # its own tables say more
            self._closing += [title, f"Written to {path}"] if path else [title]
            return
        rows = [[name, "–" if value is None else shown(value)] for name, value in sorted(entry["metrics"].items())]
        table = Table(title, ["metric", "value"], rows).rich()
        self._closing += [table, f"Written to {path}"] if path else [table]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print last, when a progress bar named before this callback has closed."""
        closing, self._closing = self._closing, []
        for item in closing if trainer.is_global_zero else []:
            tell(item)

    @staticmethod
    def _write(trainer: Trainer, command: str, entry: dict[str, Any]) -> Path | None:
        folder = trainer.log_dir  # broadcast: every process must ask
        if folder is None or not trainer.is_global_zero:
            return None
        path = Path(folder) / "results.json"
        results = _entries(path)
        with whole_file(path) as file:
            json.dump({**results, command: entry}, file, indent=2)
        return path


def _entries(path: Path) -> dict[str, Any]:
    """The entries of earlier commands; a damaged file is kept under another name."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(read_text(path)))
    except (ValueError, TypeError, RecursionError) as error:
        kept = path.replace(path.with_name(f"{path.name}.damaged"))
        rank_zero_warn(f"{path} is damaged ({error}); it is kept as {kept}, and written again")
        return {}
