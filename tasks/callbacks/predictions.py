"""Predicted classes as a table, of images and of videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer

from pcpad.distributed import gathered
from pcpad.files import PathName, at_home, refuse_dear, refuse_replacing
from pcpad.tables import safe_path, write_csv
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks.prediction_writer import PredictionWriter, input_files
from pcpad.terminal import say

Classes = list[tuple[str | int, float]]  # the most likely first, with their probabilities


class PredictionTable(PredictionWriter):
    """Writes a classifier's predictions to one CSV file: `path, class_1, probability_1, class_2, …`.

    Rows are sorted by path, one per image, whichever process predicted it; the file appears once it is complete.

    Args:
        output: The CSV file, or a folder to put `predictions.csv` in; the run's log folder when not given.
    """

    def __init__(self, output: PathName | None = None) -> None:
        super().__init__(output)
        self.written: Path | None = None
        self._rows: dict[Any, Classes] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an empty table, where it would overwrite no input.

        Raises:
            ValueError: It would.
        """
        self._rows = {}
        path = _table_path(self.output, trainer.log_dir)  # broadcast: every process must ask
        inputs = (path for each in input_files(trainer) for path in each)
        refuse_dear(path)
        refuse_replacing([path], (*self.protected, *inputs))

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Keep one batch's rows; a row is small, so a million images fit."""
        labels, probabilities = prediction["label"].tolist(), prediction["probability"].tolist()
        for path, classes, values in zip(prediction["path"], labels, probabilities, strict=True):
            self._rows[path] = _named(classes, values, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write them."""
        folder = trainer.log_dir  # broadcast: every process must ask
        parts = gathered(self._rows)
        if trainer.is_global_zero:
            rows = {path: row for part in parts for path, row in part.items()}
            self.written = _table_path(self.output, folder)
            _write(self.written, ["path"], (((safe_path(path),), row) for path, row in sorted(rows.items())))
            say(f"Predictions for {len(rows)} images: {self.written}")


class VideoPredictionTable(PredictionTable):
    """Writes predictions for videos to one CSV file: `path, part, start, end, class_1, probability_1, …`.

    For each video first a row with `part` = `video`, the mean of its windows' probabilities, then a row `window` for
    each of them; `start` and `end` are in seconds. Five classes per row, or all if fewer. Windows of one video may come
    from several processes; the file appears once it is complete.

    Args:
        output: The CSV file, or a folder to put `predictions.csv` in; the run's log folder when not given.
    """

    ranks = 5

    def __init__(self, output: PathName | None = None) -> None:
        super().__init__(output)
        self._sums: dict[str, np.ndarray] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an empty table."""
        super().on_predict_start(trainer, pl_module)
        self._sums = {}

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Keep the five classes of each window, and one sum per video for its mean."""
        times = zip(prediction["start"], prediction["end"], strict=True)
        probabilities = prediction["probability"].double().cpu().numpy()
        for path, (start, end), values in zip(prediction["path"], times, probabilities, strict=True):
            if (path, start, end) not in self._rows:
                self._rows[path, start, end] = self._likeliest(values, pl_module)
                self._sums[path] = self._sums.get(path, 0) + values

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write them."""
        folder = trainer.log_dir  # broadcast: every process must ask
        parts = gathered((self._rows, self._sums))
        if not trainer.is_global_zero:
            return
        windows: dict[str, list[tuple[tuple[float, float], Classes]]] = {}
        sums: dict[str, np.ndarray] = {}
        for rows, part in parts:
            for (path, start, end), classes in rows.items():
                windows.setdefault(path, []).append(((start, end), classes))
            for path, values in part.items():
                sums[path] = sums.get(path, 0) + values
        table: list[tuple[tuple[Any, ...], Classes]] = []
        for path, found in sorted(windows.items()):
            found.sort(key=lambda window: window[0])
            whole = (found[0][0][0], max(end for (_, end), _ in found))
            mean = self._likeliest(sums[path] / len(found), pl_module)
            path = safe_path(path)
            table.append(((path, "video", *whole), mean))
            table += [((path, "window", *times), classes) for times, classes in found]
        self.written = _table_path(self.output, folder)
        _write(self.written, ["path", "part", "start", "end"], table)
        say(f"Predictions for {len(windows)} videos in {len(table) - len(windows)} windows: {self.written}")

    def _likeliest(self, probability: np.ndarray, task: LightningModule) -> Classes:
        classes = np.argsort(-probability, kind="stable")[: self.ranks]
        return _named(classes.tolist(), probability[classes].tolist(), task)


def _named(classes: Sequence[int], probabilities: Sequence[float], task: LightningModule) -> Classes:
    names = task.class_names if isinstance(task, Task) else None
    return [(names[index] if names else index, value) for index, value in zip(classes, probabilities, strict=True)]


def _table_path(output: PathName | None, folder: str | None) -> Path:
    path = at_home(output or folder or ".")
    return path if path.suffix and not path.is_dir() else path / "predictions.csv"


def _write(path: Path, columns: Sequence[str], rows: Iterable[tuple[Sequence[Any], Classes]]) -> None:
    lines = [[*what, *(item for pair in classes for item in pair)] for what, classes in rows]
    ranks = max((len(line) - len(columns) for line in lines), default=0) // 2
    named = (f"{column}_{k}" for k in range(1, ranks + 1) for column in ("class", "probability"))
    cells = ([f"{item:.6g}" if isinstance(item, float) else item for item in line] for line in lines)
    write_csv(path, [*columns, *named], cells)
