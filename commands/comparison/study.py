"""A grid's runs, sorted and summarised for tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pcpad.commands.comparison.grid import Cell, Grid, short_name
from pcpad.commands.comparison.metrics import Measure, select_metrics
from pcpad.commands.comparison.results import Run, logged_metrics, read_runs
from pcpad.commands.comparison.statistics import Paired, Summary, paired, summarise
from pcpad.errors import UserValueError


@dataclass(frozen=True)
class Options:
    """How a folder is reported.

    Args:
        metrics: As given with `--metric`; the grid's when empty.
        baseline: The value that others are compared with; `zeros`, else the first, when not given.
        reach: Levels of the monitored metric to count epochs to.
    """

    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    reach: tuple[float, ...] = ()


@dataclass(frozen=True)
class Line:
    """One row of a table: a value of what is compared, under one setting, in one measure.

    Args:
        setting: Values of the grid's other options.
        value: What is compared.
        measure: Which number of each run.
        by_seed: Seed to number, of all runs that have one, finite or not.
        summary: Of the finite ones.
        paired: Against the baseline; None for the baseline itself.
    """

    setting: tuple[str, ...]
    value: str
    measure: Measure
    by_seed: Mapping[str, float]
    summary: Summary
    paired: Paired | None


class Study:
    """A grid's runs, sorted for tables and figures.

    Args:
        root: The grid's folder.
        grid: What it remembers.
        options: How to report it.

    Raises:
        ValueError: The baseline is none of what is compared; there is no metric to report.
    """

    def __init__(self, root: Path, grid: Grid, options: Options) -> None:
        self.root = root
        self.grid = grid
        self.options = options
        self.runs = read_runs(root, grid)
        self.values = grid.values(grid.compared)
        self.seeds = grid.values(grid.axes[-1])
        self.baseline = options.baseline or ("zeros" if "zeros" in self.values else self.values[0])
        if self.baseline not in self.values:
            message = f"--baseline {self.baseline!r} is none of what is compared: {', '.join(self.values)}"
            raise UserValueError(message)
        self.logged = logged_metrics(self.runs)
        asked = options.metrics or grid.metrics
        self.metrics = select_metrics(asked, grid.monitor, grid.mode, self.logged)
        self.settings = list(dict.fromkeys(self.setting(run.cell) for run in self.runs))

    def setting(self, cell: Cell) -> tuple[str, ...]:
        """A cell's values of the options that are neither compared nor the seed."""
        return tuple(cell.values[option] for option in self.grid.settings)

    def named(self, setting: tuple[str, ...]) -> str:
        """`data.split=cv0`, for titles."""
        return ", ".join(
            f"{short_name(option)}={value}" for option, value in zip(self.grid.settings, setting, strict=True)
        )

    @property
    def measures(self) -> list[Measure]:
        """What is taken of each run: two numbers of a validation metric, one of a test metric."""
        return [
            Measure(metric, kind)
            for metric in self.metrics
            for kind in (("test",) if metric.is_test else ("best", "last"))
        ]

    def group(self, setting: tuple[str, ...], value: str) -> list[Run]:
        """The runs of one setting and one compared value, by seed."""
        found = [run for run in self.runs if run.cell.values[self.grid.compared] == value]
        return [run for run in found if self.setting(run.cell) == setting]

    def lines(self, setting: tuple[str, ...], measure: Measure) -> list[Line]:
        """A table's rows."""
        numbers = {}
        for value in self.values:
            found = {run.cell.seed: run.value(measure) for run in self.group(setting, value)}
            numbers[value] = {seed: number for seed, number in found.items() if number is not None}
        usable = {value: finite(by_seed) for value, by_seed in numbers.items()}
        return [
            Line(
                setting,
                value,
                measure,
                by_seed,
                summarise(list(usable[value].values())),
                None if value == self.baseline else paired(usable[value], usable[self.baseline]),
            )
            for value, by_seed in numbers.items()
            if self.group(setting, value)
        ]

    def label(self, measure: Measure) -> str:
        """For titles: `val/top1, best epoch of each run`."""
        epochs = max((len(run.epochs(measure.metric)) for run in self.runs), default=0)
        return measure.label(min(epochs, self.grid.last_epochs) or self.grid.last_epochs, self.grid.tests.checkpoint)


def finite(by_seed: Mapping[str, float]) -> dict[str, float]:
    """Without NaN and infinities."""
    return {seed: number for seed, number in by_seed.items() if math.isfinite(number)}
