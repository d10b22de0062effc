"""A study's tables, and what they look like on the terminal; `written` puts them into files.

A column of statistics is one entry in `COLUMNS`, from where all of them have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pcpad._renamed import moved
from pcpad.commands.comparison.choosing import tuned_table
from pcpad.commands.comparison.grid import short_name
from pcpad.commands.comparison.items import NOTE, item_cells, item_results
from pcpad.commands.comparison.metrics import Metric, Numbers
from pcpad.commands.comparison.results import Result, Study
from pcpad.commands.comparison.runs import problems
from pcpad.commands.comparison.statistics import MOST_NEEDED, epochs_to_reach, first_to_reach
from pcpad.tables import Table
from pcpad.terminal import for_terminal

_MOST_SCORES = 6


def _average(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    return numbers.plain(row.summary.mean) if row.summary.count else "–", {"mean": row.summary.mean}


def _stdev(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    stdev = row.summary.stdev
    return "–" if stdev is None else numbers.plain(stdev), {"stdev": stdev}


def _difference(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    found = row.summary
    named = {} if row.baseline is None else {"baseline": row.baseline}
    text = numbers.signed(found.difference) if found.pairs and found.difference is not None else "–"
    return text, {**named, "pairs": found.pairs, "diff": found.difference}


def _interval(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    low, high = row.summary.low, row.summary.high
    text = "–" if low is None or high is None else f"{numbers.signed(low)} … {numbers.signed(high)}"
    return text, {"ci_low": low, "ci_high": high}


def _p_value(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    p, pairs = row.summary.p, row.summary.pairs
    text = "too few seeds" if pairs is not None and pairs < 2 else _p_text(p)
    return text, {"p": p, "note": row.summary.note}


def _p_text(p: float | None) -> str:
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _effect(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    found = row.summary
    text = "–" if found.effect is None else f"{found.effect:+.2f}"
    return text, {"dz": found.effect, "dz_low": found.effect_low, "dz_high": found.effect_high}


def _needed(row: Result, numbers: Numbers) -> tuple[str, dict[str, Any]]:
    found = row.summary
    text = "–" if found.effect is None else f"> {MOST_NEEDED}" if found.needed is None else str(found.needed)
    return text, {"seeds_needed": found.needed}


# By heading: what a row has there in tables, and what under which names in CSV files, all digits of it.
COLUMNS: dict[str, Callable[[Result, Numbers], tuple[str, dict[str, Any]]]] = {
    "n": lambda row, numbers: (str(row.summary.count), {"n": row.summary.count}),
    "average": _average,
    "stdev": _stdev,
    "diff": _difference,
    "95 % interval": _interval,
    "p": _p_value,
    "p flips": lambda row, numbers: (_p_text(row.summary.p_flips), {"p_flips": row.summary.p_flips}),
    "p Holm": lambda row, numbers: (
        _p_text(row.summary.p_holm),
        {"p_holm": row.summary.p_holm, "p_flips_holm": row.summary.p_flips_holm},
    ),
    "dz": _effect,
    "seeds needed": _needed,
}


def csv_row(study: Study, row: Result) -> dict[str, Any]:
    """A row of `summary.csv`, or of cross testing's `cross.csv`."""
    found: dict[str, Any] = {short_name(study.grid.compared): row.value}
    if row.tested is not None:
        found = {"trained": row.value, "tested": row.tested}
    found |= study.named(row.setting)
    found["metric"] = row.metric.name
    if row.tested is None:
        found["measure"] = row.when
    for column in COLUMNS.values():
        found |= column(row, _numbers([row]))[1]
    if row.tested is not None:
        found |= {f"seed_{seed}": row.by_seed.get(seed) for seed in study.seeds}
    return found


def all_tables(study: Study) -> Iterator[Table]:
    """Every table, in the order they are printed."""
    for setting in study.settings:
        for metric, when in study.measures:
            yield _table(study, study.results(setting, metric, when))
    overview = [metric for metric, when in study.measures if when == "test"]
    if len(overview) > 1:
        for setting in study.settings:
            yield _overview(study, setting, overview)
    for level in study.reach:
        yield from _reach_tables(study, level)
    # A matrix as the 2022 paper's Table 8, then its entries run by run as the 2018 paper's Table 4.
    for setting in study.settings:
        for metric, when in study.measures:
            found = study.crossed(setting, metric, when)
            if found:
                yield _matrix(study, found)
                yield _cross_table(study, found)
    yield from _item_tables(study)
    tuned = tuned_table(study.root, study.grid)
    if tuned is not None:
        yield tuned


def _numbers(rows: Sequence[Result]) -> Numbers:
    return Numbers(rows[0].metric.name, [number for row in rows for number in row.by_seed.values()])


def _titled(study: Study, text: str, setting: tuple[str, ...], unit: str = "") -> str:
    return text + unit + (f"; {study.words(setting)}" if setting else "")


def _by_run(study: Study, title: str, rows: Sequence[Result], heads: dict[str, list[str]], notes: list[str]) -> Table:
    """A table of every run and the statistics; `heads` are the columns in front."""
    numbers = _numbers(rows)
    cells = []
    for place, row in enumerate(rows):
        runs = [
            numbers.plain(row.by_seed[seed]) if seed in row.by_seed else study.absent(row.setting, row.value, seed)
            for seed in study.seeds
        ]
        statistics = [column(row, numbers)[0] for column in COLUMNS.values()]
        cells.append([*(texts[place] for texts in heads.values()), *runs, *statistics])
    return Table(
        _titled(study, title, rows[0].setting, numbers.unit),
        [*heads, *_seeds(study), *COLUMNS],
        cells,
        notes,
        details=(len(heads), len(heads) + len(study.seeds)),
        details_are="Single runs are in report.md.",
    )


def _seeds(study: Study) -> list[str]:
    return [f"seed {seed}" for seed in study.seeds]


def _odd(row: Result) -> list[str]:
    return [f"seed {seed}" for seed in row.by_seed if seed not in row.finite]


def _table(study: Study, rows: Sequence[Result]) -> Table:
    metric, when = rows[0].metric, rows[0].when
    remarks: dict[str, list[str]] = {}
    for row in rows:
        if _odd(row):
            text = f"{', '.join(_odd(row))} left out of average, stdev and diff: not finite"
            remarks.setdefault(text, []).append(row.value)
        if row.summary.note:
            remarks.setdefault(row.summary.note, []).append(row.value)
    notes = [f"{', '.join(values)}: {text}." for text, values in remarks.items()]
    if not any(row.by_seed for row in rows):
        there = ", ".join(sorted(name for name in study.logged if name.startswith(metric.name[:4])))
        notes = [f"No finished run logged {metric.name}." + (f" There are: {there}." if there else "")]
    title = f"{metric.name}, {study.label(metric, when)}; {metric.direction}"
    return _by_run(study, title, rows, {short_name(study.grid.compared): [row.value for row in rows]}, notes)


def _cross_table(study: Study, rows: Sequence[Result]) -> Table:
    notes = [f"{note[0].upper()}{note[1:]}." for note in sorted({row.summary.note for row in rows} - {""})]
    odd = [f"{row.value} under {row.tested}, {seed}" for row in rows for seed in _odd(row)]
    if odd:
        notes.append(f"Left out of average, stdev and diff, because not finite: {'; '.join(odd)}.")
    heads = {"trained": [row.value for row in rows], "tested": [str(row.tested) for row in rows]}
    return _by_run(study, f"Cross testing, run by run: {rows[0].metric.name}", rows, heads, notes)


def _matrix(study: Study, rows: Sequence[Result]) -> Table:
    numbers = _numbers(rows)
    lines = {value: [value] for value in study.values}
    for row in rows:
        cell = numbers.plain(row.summary.mean) if row.summary.count else "missing"
        if row.summary.pairs and row.summary.difference is not None:
            cell += f" / {numbers.signed(row.summary.difference)}"
        lines[row.value].append(cell)
    title = _titled(study, f"Cross testing: {rows[0].metric.name}, mean / diff", rows[0].setting, numbers.unit)
    return Table(title, ["trained with", *(f"tested with {value}" for value in study.values)], list(lines.values()))


def _item_tables(study: Study) -> Iterator[Table]:
    """A table a score and setting, of the first scores: `items.csv` has them all."""
    found = item_results(study)
    for name in list(dict.fromkeys(row.metric.name for row in found))[:_MOST_SCORES]:
        for setting in study.settings:
            rows = [row for row in found if (row.metric.name, row.setting) == (name, setting)]
            if len(rows) < 2:
                continue
            cells = [
                {
                    short_name(study.grid.compared): row.value,
                    **item_cells(row),
                    "p": _p_text(row.summary.p),
                    "p flips": _p_text(row.summary.p_flips),
                    "p Holm": _p_text(row.summary.p_holm),
                }
                for row in rows
            ]
            unit = Numbers(name, [row.summary.mean for row in rows]).unit
            title = _titled(study, f"Item by item: {name}; {rows[0].metric.direction}", setting, unit)
            yield Table(title, list(cells[0]), [list(each.values()) for each in cells])


def _overview(study: Study, setting: tuple[str, ...], metrics: Iterable[Metric]) -> Table:
    """Several test metrics side by side, as the papers' tables of evaluations are."""
    lines = {value: [value] for value in study.values if study.group(setting, value)}
    columns = [short_name(study.grid.compared)]
    for metric in metrics:
        rows = study.results(setting, metric, "test")
        numbers = _numbers(rows)
        columns.append(metric.name.removeprefix("test/") + numbers.unit)
        for row in rows:
            spread = "" if row.summary.stdev is None else f" ± {numbers.plain(row.summary.stdev)}"
            lines[row.value].append(numbers.plain(row.summary.mean) + spread if row.summary.count else "–")
    title = _titled(study, "Test metrics, mean ± stdev (n − 1) over seeds", setting)
    return Table(title, columns, list(lines.values()))


def _reach_tables(study: Study, level: float) -> Iterator[Table]:
    metric = study.reaching
    for setting in study.settings if metric else ():
        assert metric is not None
        rows = [[value, *_reach_cells(study, setting, value, metric, level)] for value in study.values]
        sign = "≥" if metric.mode == "max" else "≤"
        by_step = study.by(metric) == "step"
        counted = "Steps" if by_step else "Epochs"
        title = _titled(study, f"{counted} trained until {metric.name} {sign} {level:g}", setting)
        columns = [short_name(study.grid.compared), *_seeds(study), "mean of those that did", "never did"]
        yield Table(title, columns, rows, [f"Counted at validations{'' if by_step else '; the first epoch is 1'}."])


def _reach_cells(study: Study, setting: tuple[str, ...], value: str, metric: Metric, level: float) -> list[str]:
    epochs = {}
    for run in study.group(setting, value):
        history = run.epochs(metric) if run.by(metric) == study.by(metric) else {}
        if history:
            assert metric.mode is not None  # see Study
            count = first_to_reach if run.by(metric) == "step" else epochs_to_reach
            epochs[run.cell.seed] = count(history, level, metric.mode)
    reached = [count for count in epochs.values() if count is not None]
    cells = [
        study.absent(setting, value, seed) if seed not in epochs else str(epochs[seed] or "never")
        for seed in study.seeds
    ]
    mean = f"{math.fsum(reached) / len(reached):.1f}" if reached else "–"
    return [*cells, mean, f"{len(epochs) - len(reached)} of {len(epochs)}"]


def footnotes(study: Study) -> list[str]:
    """What holds for all tables."""
    notes = [
        "stdev divides by n − 1, as the 2018 paper's Tables 2 and 3 do for reflect and replicate. For zeros and "
        "partial these have the population's standard deviation of the five runs and their average, which is √(2/3) of "
        "this one.",
        f"diff is to {study.baseline}, seed by seed: paired runs began with the same weights and saw the same data; "
        "p is of the paired two-sided t-test, and the interval the differences' mean lies in with 95 % confidence. "
        "Neither is corrected for the number of rows.",
        "p flips is of the two-sided test by flips of the differences' signs, which takes them for no distribution: "
        "all flips up to 13 pairs, else 9999; with n pairs it is never below 2 / 2ⁿ, 0.0625 for five. p Holm is p, "
        "corrected by Holm's method for all comparisons by the same measure in this report (summary.csv has it of "
        "the flips too).",
        "dz is Cohen's: the mean difference in standard deviations of the differences (its 95 % interval is in "
        "summary.csv). seeds needed is how many a paired t-test at 5 % takes to find an effect of that size four times "
        "in five; as far as dz can be trusted.",
    ]
    if any(study.crossed(setting, *measure) for setting in study.settings for measure in study.measures):
        notes.append("In cross testing diff is to the same weights under the padding they were trained with.")
    old = sorted(run.cell.name for run in study.runs if run.finished and run.history and run.history_by == "epoch")
    if old and any(run.history_by == "step" for run in study.runs):
        notes.append(
            f"Only one validation in each epoch is known of {', '.join(old)}, which an earlier version trained; of the "
            "other runs all count. Numbers of best and last validations are comparable once these are run again."
        )
    if item_results(study):
        notes.append(NOTE)
    return notes


def show(study: Study, console: Console) -> None:
    """Print the tables, then what is missing."""
    for table in all_tables(study):
        console.print(table.rich(console))
        console.print()
    for note in footnotes(study):
        console.print(for_terminal(note), markup=False)
    for line in problems(study.runs, study.grid):
        console.print(for_terminal(line), style="bold", markup=False)


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
