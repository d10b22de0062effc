"""Writing and printing a study: Markdown, CSV, the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pcpad.commands.comparison.grid import short_name
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.runs import problems
from pcpad.commands.comparison.tables import all_tables, csv_row
from pcpad.files import write_text
from pcpad.tables import write_csv


def footnotes(study: Study) -> list[str]:
    """What holds for all tables."""
    notes = [
        "stdev divides by n − 1; the 2018 paper's Tables 2 and 3 mix this estimator with the one that divides by n.",
        f"diff is to {study.baseline}, seed by seed: paired runs began with the same weights and saw the same data; "
        "p is of the paired two-sided t-test, and the interval the differences' mean lies in with 95 % confidence. "
        "Neither is corrected for the number of rows.",
    ]
    if any(study.crossed(setting, *measure) for setting in study.settings for measure in study.measures):
        notes.append("In cross testing diff is to the same weights under the padding they were trained with.")
    return notes


def write_report(study: Study, figures: Sequence[Path] = ()) -> list[Path]:
    """Write `report.md`, `runs.csv`, `summary.csv` and, after cross testing, `cross.csv`.

    Args:
        study: The runs.
        figures: Pictures that the report shows.

    Returns:
        The files.
    """
    measures = [(setting, *measure) for setting in study.settings for measure in study.measures]
    contents = {
        "runs.csv": list(_run_rows(study)),
        "summary.csv": [csv_row(study, row) for measure in measures for row in study.results(*measure)],
        "cross.csv": [csv_row(study, row) for measure in measures for row in study.crossed(*measure)],
    }
    kept = []
    for name, rows in contents.items():
        if rows:
            kept.append(write_csv(study.root / name, list(rows[0]), rows))
        else:
            (study.root / name).unlink(missing_ok=True)
    return [*kept, write_text(study.root / "report.md", _markdown(study, figures))]


def _run_rows(study: Study) -> Iterator[dict[str, Any]]:
    for run in study.runs:
        head = {short_name(option): value for option, value in run.cell.values.items()}
        state = "; ".join(f"crashed: {step}: {error}" for step, error in run.failed)
        state = state or ("finished" if run.finished else "not finished")
        for metric, when in study.measures:
            yield {**head, "metric": metric.name, "measure": when, "value": run.value(metric, when), "state": state}


def _markdown(study: Study, figures: Sequence[Path]) -> str:
    grid = study.grid
    axes = "; ".join(f"{short_name(option)}: {', '.join(grid.values(option))}" for option in grid.axes)
    text = [f"# Comparison of {short_name(grid.compared)}: {', '.join(grid.config)}", "", f"{axes}.", ""]
    if grid.arguments:
        text += [f"All runs with `{' '.join(grid.arguments)}`.", ""]
    if grid.test_arguments:
        text += [f"Tested with `{' '.join(grid.test_arguments)}`.", ""]
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
