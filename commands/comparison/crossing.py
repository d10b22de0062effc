"""Cross testing: every trained padding under every padding, with the difference to its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pcpad.commands.comparison.grid import PADDING, short_name
from pcpad.commands.comparison.metrics import Measure, Numbers
from pcpad.commands.comparison.sections import paired_cells, summary_cells, title
from pcpad.commands.comparison.statistics import Paired, Summary, paired, summarise
from pcpad.commands.comparison.study import Study, finite
from pcpad.commands.comparison.tables import Table


@dataclass(frozen=True)
class Crossing:
    """Weights trained under one padding, tested under one.

    Args:
        trained: The padding trained with.
        tested: The padding tested with.
        by_seed: Seed to number.
        summary: Of the finite ones.
        paired: Against the same weights under their own padding; None for that itself.
    """

    trained: str
    tested: str
    by_seed: dict[str, float]
    summary: Summary
    paired: Paired | None


def crossings(study: Study, setting: tuple[str, ...], measure: Measure) -> list[Crossing]:
    """All pairs of paddings, in the grid's order.

    Args:
        study: The runs.
        setting: Which of its settings.
        measure: A test metric's.

    Returns:
        As many as paddings squared; empty where no run was tested under another padding than its own.
    """
    if study.grid.compared != PADDING or not any(len(run.tests) > 1 for run in study.runs):
        return []
    found = []
    for trained in study.values:
        runs = study.group(setting, trained)
        own = _by_seed(runs, measure, trained)
        for tested in study.values:
            numbers = _by_seed(runs, measure, tested)
            summary = summarise(list(finite(numbers).values()))
            pair = None if tested == trained else paired(finite(numbers), finite(own))
            found.append(Crossing(trained, tested, numbers, summary, pair))
    return found


def _by_seed(runs: list[Any], measure: Measure, tested: str) -> dict[str, float]:
    found = {run.cell.seed: run.value(measure, tested) for run in runs}
    return {seed: number for seed, number in found.items() if number is not None}


def cross_tables(study: Study) -> Iterator[Table]:
    """A matrix as the 2022 paper's Table 8, then its entries run by run as the 2018 paper's Table 4."""
    for setting in study.settings:
        for measure in study.measures:
            found = crossings(study, setting, measure) if measure.kind == "test" else []
            if found:
                numbers = Numbers(measure.metric.name, [n for crossing in found for n in crossing.by_seed.values()])
                yield _matrix(study, setting, measure, found, numbers)
                yield _list(study, setting, measure, found, numbers)


def _matrix(study: Study, setting: tuple[str, ...], measure: Measure, found: list[Crossing], numbers: Numbers) -> Table:
    rows = {value: [value] for value in study.values}
    for crossing in found:
        cell = numbers.plain(crossing.summary.mean) if crossing.summary.count else "missing"
        if crossing.paired is not None and crossing.paired.pairs:
            cell += f" / {numbers.signed(crossing.paired.difference)}"
        rows[crossing.trained].append(cell)
    text = title(study, f"Cross testing: {measure.metric.name}, mean / diff", setting, numbers.unit)
    return Table(text, ["trained with", *(f"tested with {value}" for value in study.values)], list(rows.values()))


def _list(study: Study, setting: tuple[str, ...], measure: Measure, found: list[Crossing], numbers: Numbers) -> Table:
    rows = []
    for crossing in found:
        cells = [
            numbers.plain(crossing.by_seed[seed]) if seed in crossing.by_seed else "missing" for seed in study.seeds
        ]
        statistics = [*summary_cells(numbers, crossing.summary), *paired_cells(numbers, crossing.paired)]
        rows.append([crossing.trained, crossing.tested, *cells, *statistics])
    remarks = {crossing.paired.note for crossing in found if crossing.paired is not None and crossing.paired.note}
    notes = [f"{remark[0].upper()}{remark[1:]}." for remark in sorted(remarks)]
    odd = [
        f"{crossing.trained} under {crossing.tested}, seed {seed}"
        for crossing in found
        for seed in crossing.by_seed
        if seed not in finite(crossing.by_seed)
    ]
    if odd:
        notes.append(f"Left out of average, stdev and diff, because not finite: {'; '.join(odd)}.")
    text = title(study, f"Cross testing, run by run: {measure.metric.name}", setting, numbers.unit)
    seeds = [f"seed {seed}" for seed in study.seeds]
    return Table(
        text,
        ["trained", "tested", *seeds, "n", "average", "stdev", "diff", "95 % interval", "p"],
        rows,
        notes,
        details=(2, 2 + len(seeds)),
    )


def cross_rows(study: Study) -> Iterator[dict[str, Any]]:
    """The rows of `cross.csv`."""
    for setting in study.settings:
        named = {short_name(option): value for option, value in zip(study.grid.settings, setting, strict=True)}
        for measure in study.measures:
            for crossing in crossings(study, setting, measure) if measure.kind == "test" else []:
                pair = crossing.paired
                yield {
                    "trained": crossing.trained,
                    "tested": crossing.tested,
                    **named,
                    "metric": measure.metric.name,
                    "n": crossing.summary.count,
                    "mean": crossing.summary.mean,
                    "stdev": crossing.summary.stdev,
                    "pairs": pair and pair.pairs,
                    "diff": pair and pair.difference,
                    "ci_low": pair and pair.low,
                    "ci_high": pair and pair.high,
                    "p": pair and pair.p,
                    "note": pair and pair.note,
                    **{f"seed_{seed}": crossing.by_seed.get(seed) for seed in study.seeds},
                }
