"""A study's report in files: Markdown, CSV, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import short_name
from pcpad.commands.comparison.items import item_results, item_row
from pcpad.commands.comparison.report import all_tables, csv_row, footnotes
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.runs import problems
from pcpad.commands.comparison.tuning import read_choices
from pcpad.files import write_text
from pcpad.tables import as_markdown, write_csv
from pcpad.terminal import for_terminal

# With what `plots` draws.
REPORT_FILES = (
    "report.md",
    "runs.csv",
    "summary.csv",
    "cross.csv",
    "items.csv",
    "summary.json",
    "bars.png",
    "convergence.png",
)


def write_report(study: Study, figures: Sequence[Path] = ()) -> list[Path]:
    """Write `report.md`, `runs.csv`, `summary.csv`, and `summary.json` with all rows.

    After cross testing there is `cross.csv`, after tests with `--per-image` `items.csv`.

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
        "items.csv": [item_row(study, row) for row in item_results(study)],
    }
    kept = []
    for name, rows in contents.items():
        if rows:
            kept.append(write_csv(study.root / name, list(rows[0]), rows))
        else:
            (study.root / name).unlink(missing_ok=True)
    kept.append(write_text(study.root / "summary.json", json.dumps(_as_json(study, contents), indent=2)))
    return [*kept, write_text(study.root / "report.md", _markdown(study, figures))]


def _as_json(study: Study, contents: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The CSV files' rows and what they are of; what JSON has no number for, NaN and infinities, is null."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = {
        Path(name).stem: [{key: plain(value) for key, value in row.items()} for row in found]
        for name, found in contents.items()
    }
    grid = study.grid
    head: dict[str, Any] = {"compared": short_name(grid.compared), "baseline": study.baseline, "monitor": grid.monitor}
    tuned = read_choices(study.root, grid)
    head |= {"tuned": tuned} if tuned else {}
    return {**head, "axes": {short_name(option): grid.values(option) for option in grid.axes}, **rows}


def _run_rows(study: Study) -> Iterator[dict[str, Any]]:
    for run in study.runs:
        head = {short_name(option): value for option, value in run.cell.values.items()}
        state = "; ".join([*(f"crashed: {step}: {error}" for step, error in run.failed), *run.damaged])
        state = state or ("finished" if run.finished else "not finished")
        for metric, when in study.measures:
            yield {**head, "metric": metric.name, "measure": when, "value": run.value(metric, when), "state": state}


def _markdown(study: Study, figures: Sequence[Path]) -> str:
    grid = study.grid
    axes = "; ".join(f"{short_name(option)}: {', '.join(grid.values(option))}" for option in grid.axes)
    title = as_markdown(f"Comparison of {short_name(grid.compared)}: {', '.join(grid.config)}")
    text = [f"# {title}", "", f"{as_markdown(axes)}.", ""]
    if grid.arguments:
        text += [f"All runs with {_code(' '.join(grid.arguments))}.", ""]
    if grid.templates:
        text += [f"Set run by run: {_code(' '.join(f'--{name}={each}' for name, each in grid.templates.items()))}.", ""]
    if grid.after:
        text += [f"Each run starts from one in {_code(grid.after)}.", ""]
    if grid.test_arguments:
        text += [f"Tested with {_code(' '.join(grid.test_arguments))}.", ""]
    wrong = problems(study.runs, grid)
    if wrong:
        text += [
            "**Not complete.** What is missing is in no average.",
            "",
            *(f"- {as_markdown(line)}" for line in wrong),
            "",
        ]
    text += [table.markdown() for table in all_tables(study)]
    text += ["## Notes", "", *(f"- {as_markdown(note)}" for note in footnotes(study)), ""]
    text += [f"![{path.stem}]({path.name})\n" for path in figures]
    return "\n".join(text)


def _code(text: str) -> str:
    """A text as Markdown's code, between more backticks than it has in a row."""
    text = for_terminal(text, lines=False)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    gap = " " if len(fence) > 1 else ""
    return f"{fence}{gap}{text}{gap}{fence}"
