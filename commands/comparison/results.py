"""Results: one number of each run, sorted by what the runs have in common, for tables, CSV files and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pcpad.commands.comparison.grid import PADDING, Cell, Grid, short_name
from pcpad.commands.comparison.metrics import Metric, select_metrics
from pcpad.commands.comparison.runs import Run, read_run
from pcpad.commands.comparison.statistics import Summary, corrected, paired, summarize
from pcpad.errors import UserValueError


@dataclass(frozen=True)
class Result:
    """One number of each run that differs from the others by its seed alone.

    Args:
        setting: Values of the grid's options that are neither compared nor the seed.
        value: What is compared; in cross testing the padding trained with.
        tested: The padding tested with, where that is not the one trained with.
        metric: Which metric.
        when: Of the `best` epoch, the mean of the `last` epochs, or of the `test`.
        by_seed: Seed to number, of all runs that have one, finite or not.
        against: The same of what they are compared with; None for that itself.
        baseline: The compared value that `against` is of; None in cross testing, where it is the same weights under
            the padding they were trained with.
        summary: Of the finite numbers, and of their differences to `against`; corrected for the other comparisons by
            the same measure, in all settings.
    """

    setting: tuple[str, ...]
    value: str
    tested: str | None
    metric: Metric
    when: str
    by_seed: Mapping[str, float]
    against: Mapping[str, float] | None
    baseline: str | None
    summary: Summary

    @property
    def finite(self) -> dict[str, float]:
        """Seed to number, without NaN and infinities."""
        return _finite(self.by_seed)


def _compared(
    setting: tuple[str, ...],
    value: str,
    tested: str | None,
    measure: tuple[Metric, str],
    by_seed: Mapping[str, float],
    against: Mapping[str, float] | None,
    baseline: str | None,
) -> Result:
    numbers = _finite(by_seed)
    summary = summarize(list(numbers.values())) if against is None else paired(numbers, _finite(against))
    return Result(setting, value, tested, *measure, by_seed, against, baseline, summary)


def _as_family(rows: Sequence[Result]) -> dict[tuple[str, ...], list[Result]]:
    """Results of one measure by their setting, with p-values that hold for all of them at once."""
    found: dict[tuple[str, ...], list[Result]] = {}
    for row, summary in zip(rows, corrected([row.summary for row in rows]), strict=True):
        found.setdefault(row.setting, []).append(replace(row, summary=summary))
    return found


def _finite(by_seed: Mapping[str, float]) -> dict[str, float]:
    return {seed: number for seed, number in by_seed.items() if math.isfinite(number)}


class Study:
    """A grid's runs and their results.

    Args:
        root: The grid's folder.
        grid: What it remembers.
        metrics: As given with `--metric`; the grid's when empty.
        baseline: The value that others are compared with; the grid's when not given, else `zeros`, else the first.
        reach: Levels of the monitored metric to count epochs to; the grid's when empty.

    Raises:
        ValueError: The baseline is none of what is compared; there is no metric to report, or none whose levels could
            be reached.
    """

    def __init__(
        self,
        root: Path,
        grid: Grid,
        metrics: Sequence[str] = (),
        baseline: str | None = None,
        reach: Sequence[float] = (),
    ) -> None:
        self.root = root
        self.grid = grid
        self.reach = reach or grid.reach
        self.runs = [read_run(root, grid, cell) for cell in grid.cells]
        self.values = grid.values(grid.compared)
        self.seeds = grid.values(grid.axes[-1])
        grid.check_baseline(baseline)
        self.baseline = baseline or grid.baseline or ("zeros" if "zeros" in self.values else self.values[0])
        self.logged = {name for run in self.runs for name in run.logs}
        self.logged |= {name for run in self.runs for metrics in run.tests.values() for name in metrics}
        self.metrics = select_metrics(metrics or grid.metrics, grid.monitor, grid.mode, self.logged)
        self._results: dict[tuple[Metric, str], dict[tuple[str, ...], list[Result]]] = {}
        self._crossed: dict[tuple[Metric, str], dict[tuple[str, ...], list[Result]]] = {}
        self.settings = list(dict.fromkeys(self._setting(run.cell) for run in self.runs))
        if self.reach and self.reaching and self.reaching.mode is None:
            message = f"--reach cannot be counted: of {self.reaching.name}, {self.reaching.direction}"
            raise UserValueError(message)

    def _setting(self, cell: Cell) -> tuple[str, ...]:
        return tuple(cell.values[option] for option in self.grid.settings)

    def named(self, setting: tuple[str, ...]) -> dict[str, str]:
        """A setting's values by their options' short names."""
        return {short_name(option): value for option, value in zip(self.grid.settings, setting, strict=True)}

    def words(self, setting: tuple[str, ...]) -> str:
        """`data.split=cv0`, for titles; nothing without a setting."""
        return ", ".join(f"{option}={value}" for option, value in self.named(setting).items())

    @property
    def measures(self) -> list[tuple[Metric, str]]:
        """What is taken of each run, and when: two numbers of a validation metric, one of a test metric.

        No best epoch where it is not known which way is better.
        """
        whens = {True: ("test",), False: ("best", "last")}
        found = [(metric, when) for metric in self.metrics for when in whens[metric.is_test]]
        return [(metric, when) for metric, when in found if when != "best" or metric.mode is not None]

    @property
    def reaching(self) -> Metric | None:
        """The metric whose levels epochs are counted to: the monitored one, else the first that is no test's."""
        if self.grid.monitor:
            return Metric(self.grid.monitor, self.grid.mode)
        return next((metric for metric in self.metrics if not metric.is_test), None)

    def by(self, metric: Metric) -> str:
        """What a metric is counted by: `epoch`, or `step` if any run validated several times in an epoch."""
        return "step" if any(run.by(metric) == "step" for run in self.runs) else "epoch"

    def group(self, setting: tuple[str, ...], value: str) -> list[Run]:
        """The runs of one setting and one compared value, by seed."""
        found = [run for run in self.runs if run.cell.values[self.grid.compared] == value]
        return [run for run in found if self._setting(run.cell) == setting]

    def absent(self, setting: tuple[str, ...], value: str, seed: str) -> str:
        """What stands for a number that is not there: `missing`; a dash where no such run was asked for."""
        return "missing" if any(run.cell.seed == seed for run in self.group(setting, value)) else "–"

    def results(self, setting: tuple[str, ...], metric: Metric, when: str) -> list[Result]:
        """Of each compared value that has runs, against the baseline's."""
        if (metric, when) not in self._results:
            rows = [row for each in self.settings for row in self._of_setting(each, metric, when)]
            self._results[metric, when] = _as_family(rows)
        return self._results[metric, when].get(setting, [])

    def _of_setting(self, setting: tuple[str, ...], metric: Metric, when: str) -> list[Result]:
        found = {value: self._by_seed(setting, value, metric, when) for value in self.values}
        others = {value: None if value == self.baseline else found[self.baseline] for value in self.values}
        return [
            _compared(setting, value, None, (metric, when), found[value], others[value], self.baseline)
            for value in self.values
            if self.group(setting, value)
        ]

    def crossed(self, setting: tuple[str, ...], metric: Metric, when: str) -> list[Result]:
        """Of each padding trained with under each, against the same weights under their own.

        Nothing where no run was tested under another padding than its own.
        """
        if when != "test" or self.grid.compared != PADDING or not any(len(run.tests) > 1 for run in self.runs):
            return []
        if (metric, when) not in self._crossed:
            rows = [row for each in self.settings for row in self._crossed_in(each, metric, when)]
            self._crossed[metric, when] = _as_family(rows)
        return self._crossed[metric, when].get(setting, [])

    def _crossed_in(self, setting: tuple[str, ...], metric: Metric, when: str) -> list[Result]:
        found = []
        for value in self.values:
            own = self._by_seed(setting, value, metric, when, value)
            for tested in self.values:
                numbers = self._by_seed(setting, value, metric, when, tested)
                against = None if tested == value else own
                found.append(_compared(setting, value, tested, (metric, when), numbers, against, None))
        return found

    def _by_seed(
        self, setting: tuple[str, ...], value: str, metric: Metric, when: str, tested: str | None = None
    ) -> dict[str, float]:
        found = {run.cell.seed: run.value(metric, when, tested) for run in self.group(setting, value)}
        return {seed: number for seed, number in found.items() if number is not None}

    def label(self, metric: Metric, when: str) -> str:
        """When a metric is taken, for titles: `best epoch of each run`."""
        logged = max((len(run.epochs(metric)) for run in self.runs), default=0)
        count = min(logged, self.grid.last_epochs) or self.grid.last_epochs
        one = "validation" if self.by(metric) == "step" else "epoch"
        return {
            "best": f"best {one} of each run",
            "last": f"mean of the last {one}" if count == 1 else f"mean of the last {count} {one}s",
            "test": f"{self.grid.checkpoint} checkpoint of each run",
        }[when]
