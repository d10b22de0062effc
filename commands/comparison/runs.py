"""What a grid's folder holds: each run's results, and which are missing and why."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pcpad.commands.comparison.cells import (
    LOG_FILE,
    damaged_results,
    failures,
    finished_entry,
    folder_of_test,
    read_results,
    run_folders,
    steps,
    tested_with,
)
from pcpad.commands.comparison.grid import PADDING, Cell, Grid
from pcpad.commands.comparison.metrics import Metric
from pcpad.errors import UserValueError
from pcpad.files import read_text

VALIDATION = "val/"
"""How names of metrics begin that are logged in validation."""


@dataclass(frozen=True)
class Run:
    """What there is of one cell.

    Args:
        cell: The cell.
        monitor: What its recipe monitors.
        history: Epoch, or step, to the monitored metric's value; empty unless training came to its end.
        finished: Whether it did.
        logs: Metrics of finished training by name, epoch (or step, see `by`) to value.
        tests: What it was tested with to the test's metrics; None is as trained.
        failed: `(step, error)` of each step that failed in the last attempt.
        damaged: Which of its files cannot be used, and why.
        log: What the cell printed.
        last_epochs: Over how many of its last epochs, or validations by step, a run is averaged.
        history_by: `step` for a run with several validations in an epoch, each of which counts; else `epoch`.
    """

    cell: Cell
    monitor: str | None
    history: dict[int, float]
    finished: bool
    logs: dict[str, dict[int, float]]
    tests: dict[str | None, dict[str, float]]
    failed: list[tuple[str, str]]
    log: Path
    damaged: tuple[str, ...] = ()
    last_epochs: int = 5
    history_by: str = "epoch"

    def by(self, metric: Metric) -> str:
        """What `epochs` counts: `epoch`, or `step` for a metric of several validations in an epoch."""
        return self.history_by if metric.name == self.monitor or metric.name.startswith(VALIDATION) else "epoch"

    def epochs(self, metric: Metric) -> dict[int, float]:
        """A validation or training metric's value at the end of each epoch, or at each validation; see `by`."""
        if not self.finished:
            return {}
        return self.history if metric.name == self.monitor else self.logs.get(metric.name, {})

    def value(self, metric: Metric, when: str, tested: str | None = None) -> float | None:
        """The run's number.

        Args:
            metric: Which metric.
            when: Of its `best` epoch or validation, the mean of its `last` ones, or of its `test`.
            tested: Under which padding, where that is not the one trained with.

        Returns:
            The number, NaN and infinities as they are; None where the run has none.
        """
        if when == "test":
            own = self.cell.values.get(PADDING)
            return self.tests.get(own if tested is None else tested, {}).get(metric.name)
        history = self.epochs(metric)
        if not history:
            return None
        epochs = sorted(history)[-self.last_epochs :] if when == "last" else sorted(history)
        values = [history[epoch] for epoch in epochs]
        if not all(map(math.isfinite, values)):
            return math.nan  # reported as such: the best of the other epochs would hide it
        if when == "last":
            return math.fsum(values) / len(values)
        if metric.mode is None:
            message = f"Which epoch is the best by {metric.name} is not known"
            raise ValueError(message)
        return max(values) if metric.mode == "max" else min(values)


def read_run(root: Path, grid: Grid, cell: Cell) -> Run:
    """Read what a cell's folder holds."""
    folder = root / cell.name
    fit = finished_entry(folder / "fit", "fit")
    tests = {}
    # Under every padding, asked for now or not: what an earlier --cross measured is shown.
    own = cell.values.get(PADDING)
    for tested in [None] if own is None else dict.fromkeys((own, *grid.values(PADDING))):
        entry = finished_entry(folder_of_test(root, grid, cell, tested), "test")
        if entry is not None and fit is not None:
            tests[tested] = entry["metrics"]
    # What failed may have been done since, by hand.
    todo = steps(root, grid, cell, to_run=False)
    done = [step.name for step in todo if step.done()]
    damaged = [line for step in todo if step.name not in done for line in damaged_results(step.folder)]
    by = (fit or {}).get("history_by", "epoch")
    logs, unread = _read_logs(folder / "fit", by) if fit is not None else ({}, [])
    return Run(
        cell=cell,
        monitor=grid.monitor,
        history=(fit or {}).get("history", {}),
        finished=fit is not None,
        logs=logs,
        tests=tests,
        failed=[(item["step"], item["error"]) for item in failures(folder) if item["step"] not in done],
        log=folder / LOG_FILE,
        damaged=(*(f"{line}: the step is done again by the next `pcpad compare`" for line in damaged), *unread),
        last_epochs=grid.last_epochs,
        history_by=by,
    )


def _read_logs(folder: Path, by: str) -> tuple[dict[str, dict[int, float]], list[str]]:
    """`metrics.csv` of a training run and of what it was resumed from; an epoch done again counts once.

    Args:
        folder: Of the cell's fits.
        by: What validations are counted by, `epoch` or `step`.

    Returns:
        Metric to epoch, or step, to value, and a line for each file that is damaged, of which nothing counts.
    """
    found: dict[str, dict[int, float]] = {}
    damaged = []
    for run in run_folders(folder):
        path = run / "metrics.csv"
        if not path.is_file() or not _has_fit(run):
            continue
        try:
            for name, when, value in logged(path, by):
                found.setdefault(name, {})[when] = value
        except (OSError, ValueError, OverflowError, csv.Error) as error:
            damaged.append(f"{path} is damaged ({error}): remove {run}, and the cell is run again")
    return found, damaged


def logged(path: Path, by: str = "epoch") -> list[tuple[str, int, float]]:
    """Metric, epoch and value of each number in a `metrics.csv`; of validations by `step`, the steps taken instead."""
    with io.StringIO(read_text(path), newline="") as file:
        return [
            (name, _when(row, name, by), float(value))
            for row in csv.DictReader(file)
            if row.get("epoch")
            for name, value in row.items()
            if value and name not in ("epoch", "step")
        ]


def _when(row: dict[str, str], name: str, by: str) -> int:
    # Lightning logs a validation under the number of the last step, counted from 0.
    return int(float(row["step"])) + 1 if by == "step" and name.startswith(VALIDATION) else int(float(row["epoch"]))


def _has_fit(run: Path) -> bool:
    """Whether a run logged training; one whose results are damaged lies among those that did."""
    try:
        return "fit" in read_results(run / "results.json")
    except UserValueError:
        return True


def problems(runs: Iterable[Run], grid: Grid) -> list[str]:
    """Crashed and missing runs and tests, a line each; nothing for a grid that is complete."""
    lines = []
    for run in runs:
        name = run.cell.name
        lines += [f"{name}: {line}" for line in run.damaged]
        lines += [f"{name} crashed: {step}: {error} (log: {run.log})" for step, error in run.failed]
        if run.failed or (run.damaged and not run.finished):
            continue
        if not run.finished:
            lines.append(f"{name} is not finished" if run.log.parent.exists() else f"{name} has not been run")
            continue
        untested = [tested for tested in tested_with(grid, run.cell) if tested not in run.tests]
        lines += [f"{name} is not tested{f' under {tested} yet' if tested else ' yet'}" for tested in untested]
    return lines
