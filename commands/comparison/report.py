"""Writing and printing a study: Markdown, CSV, the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pcpad.commands.comparison.crossing import cross_rows, cross_tables, crossings
from pcpad.commands.comparison.files import write_whole
from pcpad.commands.comparison.grid import short_name
from pcpad.commands.comparison.results import problems
from pcpad.commands.comparison.sections import tables
from pcpad.commands.comparison.study import Study
from pcpad.commands.comparison.tables import Table, write_csv


def footnotes(study: Study) -> list[str]:
    """What holds for all tables."""
    notes = [
        "stdev divides by n − 1; the 2018 paper's Tables 2 and 3 mix this estimator with the one that divides by n.",
        f"diff is to {study.baseline}, seed by seed: paired runs began with the same weights and saw the same data; "
        "p is of the paired two-sided t-test, and the interval the differences' mean lies in with 95 % confidence. "
        "Neither is corrected for the number of rows.",
    ]
    if any(crossings(study, setting, measure) for setting in study.settings for measure in study.measures):
        notes.append("In cross testing diff is to the same weights under the padding they were trained with.")
    return notes


def all_tables(study: Study) -> Iterator[Table]:
    """Every table, in the order they are printed."""
    yield from tables(study)
    yield from cross_tables(study)


def write_report(study: Study, figures: Sequence[Path] = ()) -> list[Path]:
    """Write `report.md`, `runs.csv`, `summary.csv` and, after cross testing, `cross.csv`.

    Args:
        study: The runs.
        figures: Pictures that the report shows.

    Returns:
        The files.
    """
    root, grid = study.root, study.grid
    options = [*grid.axes[:-1], grid.axes[-1]]
    runs, summary = list(_run_rows(study)), list(_summary_rows(study))
    names = [short_name(option) for option in options]
    kept = [write_csv(root / "runs.csv", runs, [*names, "metric", "measure", "value", "state"])]
    head = [short_name(option) for option in grid.axes[:-1]]
    stats = ["metric", "measure", "n", "mean", "stdev", "baseline", "pairs", "diff", "ci_low", "ci_high", "p", "note"]
    kept.append(write_csv(root / "summary.csv", summary, [*head, *stats]))
    crossed = list(cross_rows(study))
    if crossed:
        kept.append(write_csv(root / "cross.csv", crossed, list(crossed[0])))
    else:
        (root / "cross.csv").unlink(missing_ok=True)
    kept.append(write_whole(root / "report.md", _markdown(study, figures)))
    return kept


def _run_rows(study: Study) -> Iterator[dict[str, Any]]:
    for run in study.runs:
        head = {short_name(option): value for option, value in run.cell.values.items()}
        state = "; ".join(f"crashed: {step}: {error}" for step, error in run.failed)
        state = state or ("finished" if run.finished else "not finished")
        for measure in study.measures:
            value = run.value(measure)
            number = None if value is None else repr(value)
            yield {**head, "metric": measure.metric.name, "measure": measure.kind, "value": number, "state": state}


def _summary_rows(study: Study) -> Iterator[dict[str, Any]]:
    for setting in study.settings:
        named = {short_name(option): value for option, value in zip(study.grid.settings, setting, strict=True)}
        for measure in study.measures:
            for line in study.lines(setting, measure):
                pair = line.paired
                yield {
                    short_name(study.grid.compared): line.value,
                    **named,
                    "metric": measure.metric.name,
                    "measure": measure.kind,
                    "n": line.summary.count,
                    "mean": line.summary.mean,
                    "stdev": line.summary.stdev,
                    "baseline": study.baseline,
                    "pairs": pair and pair.pairs,
                    "diff": pair and pair.difference,
                    "ci_low": pair and pair.low,
                    "ci_high": pair and pair.high,
                    "p": pair and pair.p,
                    "note": pair and pair.note,
                }


def _markdown(study: Study, figures: Sequence[Path]) -> str:
    grid = study.grid
    axes = "; ".join(f"{short_name(option)}: {', '.join(grid.values(option))}" for option in grid.axes)
    text = [f"# Comparison of {short_name(grid.compared)}: {', '.join(grid.config)}", "", f"{axes}.", ""]
    if grid.arguments:
        text += [f"All runs with `{' '.join(grid.arguments)}`.", ""]
    if grid.tests.arguments:
        text += [f"Tested with `{' '.join(grid.tests.arguments)}`.", ""]
    wrong = problems(study.runs, grid)
    if wrong:
        text += ["**Not complete.** What is missing is in no average.", "", *(f"- {line}" for line in wrong), ""]
    text += [table.markdown() for table in all_tables(study)]
    text += ["## Notes", "", *(f"- {note}" for note in footnotes(study)), ""]
    text += [f"![{path.stem}]({path.name})\n" for path in figures]
    return "\n".join(text)


def show(study: Study, console: Console) -> None:
    """Print the tables, then what is missing.

    Args:
        study: The runs.
        console: Where to.
    """
    for table in all_tables(study):
        console.print(table.rich(console))
        console.print()
    for note in footnotes(study):
        console.print(note, markup=False)
    for line in problems(study.runs, study.grid):
        console.print(line, style="bold", markup=False)
