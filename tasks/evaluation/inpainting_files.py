"""A test's scores by hole ratio, in the terminal and as a file."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, RenderableType


class InpaintingTable(Callback):
    """Prints the table of a test and writes `inpainting.csv`; reads the task's `report` once the test is over."""

    def __init__(self) -> None:
        self._closing: list[RenderableType] = []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file into the run's log folder."""
        folder = trainer.log_dir  # broadcast: every process has to ask
        report = getattr(pl_module, "report", None)
        if report is None or not trainer.is_global_zero:
            return
        self._closing = [report.table("the composite against the truth, by the hole's share of the image")]
        if folder is not None:
            self._closing.append(f"Written to {report.write_csv(Path(folder) / 'inpainting.csv')}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print last of all, when the progress bar has closed."""
        closing, self._closing = self._closing, []
        for item in closing:
            Console(soft_wrap=True, highlight=False).print(item)
