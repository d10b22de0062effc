"""Print test results and write them to files."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table as RichTable

from pcpad.tasks.base import Task
from pcpad.terminal import tell

__all__ = ["EvaluationFiles"]


class EvaluationFiles(Callback):
    """Prints a test's tables, and writes its report: `evaluation.csv`, `inpainting.csv`, and pictures.

    Reads the task's `report` at the end of a test; without a report, nothing is written. Pictures need matplotlib
    (`pip install 'pcpad[figures]'`) and are skipped without it, since the CSV file holds their numbers.
    """

    def __init__(self) -> None:
        self._closing: list[RichTable | str] = []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files into the run's log folder."""
        folder = trainer.log_dir  # broadcasts, so every process has to call it
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
        """Print at the very end, after the progress bar is closed."""
        closing, self._closing = self._closing, []
        for item in closing:
            tell(item)
