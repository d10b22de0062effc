"""The papers' tables of a study: per metric, side by side, and how soon a level is reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pcpad.commands.comparison.grid import short_name
from pcpad.commands.comparison.metrics import Measure, Metric, Numbers
from pcpad.commands.comparison.statistics import Paired, Summary, epochs_to_reach
from pcpad.commands.comparison.study import Study, finite
from pcpad.commands.comparison.tables import Table


def tables(study: Study) -> Iterator[Table]:
    """Every table of a study but those of cross testing, in the order they are printed."""
    for setting in study.settings:
        for measure in study.measures:
            yield _table(study, setting, measure)
    overview = [measure for measure in study.measures if measure.kind == "test"]
    if len(overview) > 1:
        for setting in study.settings:
            yield _overview(study, setting, overview)
    for level in study.options.reach:
        yield from _reach_tables(study, level)


def title(study: Study, text: str, setting: tuple[str, ...], unit: str = "") -> str:
    """What a table shows, its unit and its setting."""
    words = study.named(setting)
    return text + unit + (f"; {words}" if words else "")


def _table(study: Study, setting: tuple[str, ...], measure: Measure) -> Table:
    lines = study.lines(setting, measure)
    numbers = Numbers(measure.metric.name, [number for line in lines for number in line.by_seed.values()])
    rows = []
    remarks: dict[str, list[str]] = {}
    for line in lines:
        cells = [numbers.plain(line.by_seed[seed]) if seed in line.by_seed else "missing" for seed in study.seeds]
        rows.append([line.value, *cells, *summary_cells(numbers, line.summary), *paired_cells(numbers, line.paired)])
        odd = [f"seed {seed}" for seed in line.by_seed if seed not in finite(line.by_seed)]
        if odd:
            text = f"{', '.join(odd)} left out of average, stdev and diff: not finite"
            remarks.setdefault(text, []).append(line.value)
        if line.paired is not None and line.paired.note:
            remarks.setdefault(line.paired.note, []).append(line.value)
    notes = [f"{', '.join(values)}: {text}." for text, values in remarks.items()]
    if not any(line.by_seed for line in lines):
        there = ", ".join(sorted(name for name in study.logged if name.startswith(measure.metric.name[:4])))
        notes = [f"No finished run logged {measure.metric.name}." + (f" There are: {there}." if there else "")]
    heading = title(study, f"{study.label(measure)}; {measure.metric.direction}", setting, numbers.unit)
    seeds = [f"seed {seed}" for seed in study.seeds]
    columns = [short_name(study.grid.compared), *seeds, "n", "average", "stdev", "diff", "95 % interval", "p"]
    return Table(heading, columns, rows, notes, details=(1, 1 + len(seeds)))


def summary_cells(numbers: Numbers, summary: Summary) -> list[str]:
    """The columns `n`, `average` and `stdev`."""
    mean = numbers.plain(summary.mean) if summary.count else "–"
    return [str(summary.count), mean, "–" if summary.stdev is None else numbers.plain(summary.stdev)]


def paired_cells(numbers: Numbers, pair: Paired | None) -> list[str]:
    """The columns `diff`, `95 % interval` and `p`."""
    if pair is None:
        return ["–", "–", "–"]
    if not pair.pairs:
        return ["–", "–", "too few seeds"]
    difference = numbers.signed(pair.difference)
    if pair.p is None or pair.low is None or pair.high is None:
        return [difference, "–", "too few seeds" if pair.pairs < 2 else "–"]
    return [difference, f"{numbers.signed(pair.low)} … {numbers.signed(pair.high)}", p_text(pair.p)]


def p_text(p: float) -> str:
    """A p-value to two digits that say something."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _overview(study: Study, setting: tuple[str, ...], measures: Sequence[Measure]) -> Table:
    """Several test metrics side by side, as the papers' tables of evaluations are."""
    rows = {value: [value] for value in study.values if study.group(setting, value)}
    columns = [short_name(study.grid.compared)]
    for measure in measures:
        lines = study.lines(setting, measure)
        numbers = Numbers(measure.metric.name, [number for line in lines for number in line.by_seed.values()])
        columns.append(measure.metric.name.removeprefix("test/") + numbers.unit)
        for line in lines:
            spread = "" if line.summary.stdev is None else f" ± {numbers.plain(line.summary.stdev)}"
            rows[line.value].append(numbers.plain(line.summary.mean) + spread if line.summary.count else "–")
    heading = title(study, "Test metrics, mean ± stdev (n − 1) over seeds", setting)
    return Table(heading, columns, list(rows.values()))


def _reach_tables(study: Study, level: float) -> Iterator[Table]:
    metrics = [metric for metric in study.metrics if not metric.is_test]
    if study.grid.monitor:
        metrics.insert(0, Metric(study.grid.monitor, study.grid.mode))
    for setting in study.settings if metrics else ():
        rows = [[value, *_reach_cells(study, setting, value, metrics[0], level)] for value in study.values]
        sign = "≥" if metrics[0].mode == "max" else "≤"
        heading = title(study, f"Epochs trained until {metrics[0].name} {sign} {level:g}", setting)
        seeds = [f"seed {seed}" for seed in study.seeds]
        columns = [short_name(study.grid.compared), *seeds, "mean of those that did", "never did"]
        yield Table(heading, columns, rows, ["Counted at validations; the first epoch is 1."])


def _reach_cells(study: Study, setting: tuple[str, ...], value: str, metric: Metric, level: float) -> list[str]:
    epochs = {}
    for run in study.group(setting, value):
        history = run.epochs(metric)
        if history:
            epochs[run.cell.seed] = epochs_to_reach(history, level, metric.mode)
    reached = [count for count in epochs.values() if count is not None]
    cells = ["missing" if seed not in epochs else str(epochs[seed] or "never") for seed in study.seeds]
    mean = f"{math.fsum(reached) / len(reached):.1f}" if reached else "–"
    return [*cells, mean, f"{len(epochs) - len(reached)} of {len(epochs)}"]
