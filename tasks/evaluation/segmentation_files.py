"""What `--eval` found, in the terminal and as files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, RenderableType

from pcpad.tasks.evaluation.segmentation_report import plot_leave_out


class EvaluationFiles(Callback):
    """Prints a test's tables and writes `evaluation.csv` and, with border regions, `leave_out.png`.

    Reads the task's `report` once a test is over; without one there is nothing to write. The picture needs matplotlib
    (`pip install 'pcpad[figures]'`) and is left out without it, since the CSV file holds its numbers.
    """

    def __init__(self) -> None:
        self._closing: list[RenderableType] = []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files into the run's log folder."""
        folder = trainer.log_dir  # broadcast: every process has to ask
        report = getattr(pl_module, "report", None)
        if report is None or not trainer.is_global_zero:
            return
        self._closing = [report.table("evaluation"), report.class_table("IoU by class, in percent")]
        if folder is None:
            return
        self._closing.append(f"Written to {report.write_csv(Path(folder) / 'evaluation.csv')}")
        if report.curves():
            if find_spec("matplotlib") is None:
                self._closing.append("No plot of mIoU against leave-out: pip install 'pcpad[figures]'")
            else:
                picture = plot_leave_out(report.curves(), Path(folder) / "leave_out.png")
                self._closing.append(f"mIoU against the fraction left out: {picture}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print last of all, when the progress bar has closed."""
        closing, self._closing = self._closing, []
        for item in closing:
            Console(soft_wrap=True, highlight=False).print(item)
