"""What a test found, in the terminal and as files."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table as RichTable

from pcpad.tasks.base import Task
from pcpad.terminal import tell

__all__ = ["EvaluationFiles"]


class EvaluationFiles(Callback):
    """Prints a test's tables, and writes its report: `evaluation.csv`, `inpainting.csv`, and what it draws.

    Reads the task's `report` once a test is over; without one there is nothing to write. Pictures need matplotlib
    (`pip install 'pcpad[figures]'`) and are left out without it, since the CSV file holds their numbers.
    """

    def __init__(self) -> None:
        self._closing: list[RichTable | str] = []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files into the run's log folder."""
        folder = trainer.log_dir  # broadcast: every process has to ask
        report = pl_module.report if isinstance(pl_module, Task) else None
        if report is None or not trainer.is_global_zero:
            return
        self._closing = [table.rich() for table in report.tables()]
        if folder is None:
            return
        self._closing.append(f"Written to {report.write_csv(Path(folder) / f'{report.file}.csv')}")
        try:
            self._closing += [f"{what}: {picture}" for what, picture in report.draw(Path(folder)).items()]
        except ModuleNotFoundError as error:
            if error.name != "matplotlib":
                raise
            self._closing.append("No pictures of the results: pip install 'pcpad[figures]'")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print last of all, when the progress bar has closed."""
        closing, self._closing = self._closing, []
        for item in closing:
            tell(item)
