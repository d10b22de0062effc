"""Predicted classes as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from pcpad.tasks.callbacks.files import atomic_writer


class PredictionTable(BasePredictionWriter):
    """Writes a classifier's predictions to one CSV file: `path, class_1, probability_1, class_2, …`.

    Rows are sorted by path, one an image, whichever process predicted it; the file appears once it is complete.

    Args:
        output: The CSV file, or a folder to put `predictions.csv` in; the run's log folder when not given.
    """

    def __init__(self, output: str | Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.written: Path | None = None
        self._rows: dict[str, list[Any]] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an empty table."""
        self._rows = {}

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Any],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep one batch's rows; a row is small, so a million images fit."""
        names = getattr(pl_module, "class_names", None)
        labels, probabilities = prediction["label"].tolist(), prediction["probability"].tolist()
        for path, classes, values in zip(prediction["path"], labels, probabilities, strict=True):
            named = [names[index] if names else index for index in classes]
            self._rows[path] = [item for pair in zip(named, values, strict=True) for item in pair]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write them."""
        folder = trainer.log_dir  # broadcast: every process has to ask
        parts: list[Any] = [self._rows]
        if dist.is_available() and dist.is_initialized():
            parts = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self._rows)
        if not trainer.is_global_zero:
            return
        rows = {path: row for part in parts for path, row in part.items()}
        ranks = max((len(row) // 2 for row in rows.values()), default=0)
        path = self._path(folder)
        with atomic_writer(path) as file:
            table = csv.writer(file)
            table.writerow(
                ["path", *(f"{column}_{k}" for k in range(1, ranks + 1) for column in ("class", "probability"))]
            )
            table.writerows(
                [name, *(f"{x:.6g}" if isinstance(x, float) else x for x in row)] for name, row in sorted(rows.items())
            )
        self.written = path
        print(f"Predictions for {len(rows)} images: {path}")

    def _path(self, folder: str | None) -> Path:
        path = Path(self.output or folder or ".").expanduser()
        return path if path.suffix else path / "predictions.csv"
