"""The choice on validation, from the runs that tune; and the table that shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import Cell, Grid, short_name
from pcpad.commands.comparison.metrics import Metric, Numbers
from pcpad.commands.comparison.runs import Run, read_run
from pcpad.commands.comparison.tuning import TUNE_FILE, group_of, read_choices
from pcpad.files import locked, write_text
from pcpad.tables import Table


def tune_cells_for(root: Path, grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
    """The tuning runs of cells for which nothing is chosen yet; a candidate that failed stays rejected."""
    groups = {group_of(grid, cell) for cell in cells} - read_choices(root, grid).keys()
    return [cell for cell in grid.tune_cells if group_of(grid, cell) in groups]


def decide(root: Path, grid: Grid) -> list[str]:
    """Choose for each group whose runs are all done, and record it; earlier choices are kept.

    The best epoch (or validation, where epochs have several) of each candidate's run by the monitored validation metric
    is compared; of equal ones the first that was typed is taken. A run whose loss became infinite or NaN has lost.
    Tests have no part in it.

    Args:
        root: The grid's folder.
        grid: What it remembers.

    Returns:
        For each group without a choice, why there is none.
    """
    if grid.tuning is None or grid.monitor is None:
        return []
    by_group: dict[str, list[Run]] = {}
    with locked(root / ".lock"):
        choices = read_choices(root, grid)
        known = len(choices)
        for cell in grid.tune_cells:
            if group_of(grid, cell) not in choices:
                by_group.setdefault(group_of(grid, cell), []).append(read_run(root, grid, cell))
        undecided = []
        for group, runs in by_group.items():
            choice, why = _choose(grid, runs)
            if choice is None:
                undecided.append(f"{group}: {why}")
            else:
                choices[group] = choice
        if len(choices) > known:
            write_text(root / TUNE_FILE, json.dumps(choices, indent=2))
    return undecided


def _choose(grid: Grid, runs: Sequence[Run]) -> tuple[dict[str, Any] | None, str]:
    """The choice of one group; or None, and the reason."""
    assert grid.tuning is not None
    assert grid.monitor is not None
    metric = Metric(grid.monitor, grid.mode)
    candidates: list[dict[str, Any]] = []
    for run in runs:
        best = run.value(metric, "best")
        state = "finished"
        if best is None:
            errors = [error for _, error in run.failed]
            if not any("not finite" in error for error in errors):
                why = f"crashed: {errors[0]}" if errors else "has not come to its end"
                return None, f"{run.cell.name} {why}"
        if best is None or not math.isfinite(best):
            best, state = None, "not finite"
        values = {option: run.cell.values[option] for option in grid.tuning.options}
        candidates.append({"values": values, "best": best, "state": state})
    numbers = [each["best"] for each in candidates if each["best"] is not None]
    if not numbers:
        return None, f"{metric.name} is not finite for any of the values to choose from"
    top = max(numbers) if grid.mode == "max" else min(numbers)
    first, *equal = [each["values"] for each in candidates if each["best"] == top]
    by = {"by": "step"} if any(run.by(metric) == "step" for run in runs) else {}
    return {"chosen": first, "as_good": equal, "candidates": candidates, **by}, ""


def tuned_table(root: Path, grid: Grid) -> Table | None:
    """The choices, with the scores they are based on."""
    choices = read_choices(root, grid)
    if grid.tuning is None or not choices:
        return None
    options = grid.tuning.options
    numbers = Numbers(
        str(grid.monitor), [c["best"] for each in choices.values() for c in each["candidates"] if c["best"] is not None]
    )
    rows, notes = [], []
    for group, choice in choices.items():
        for each in choice["candidates"]:
            value = each["state"] if each["best"] is None else numbers.plain(each["best"])
            chosen = "chosen" if each["values"] == choice["chosen"] else ""
            rows.append([group.replace("/", ", "), *(each["values"][option] for option in options), value, chosen])
        if choice["as_good"]:
            others = "; ".join(_words(values) for values in choice["as_good"])
            notes.append(f"{group}: {others} is as good; the first that was typed is taken.")
        notes += [f"{group}: {line}" for line in _edges(options, choice["chosen"])]
    count = math.prod(map(len, options.values()))
    notes.append(
        f"Each value had one run of the full length with seed {grid.tuning.seed}, {count} for each row of the "
        "comparison, and was chosen by validation alone."
    )
    best = "best validation" if any(choice.get("by") == "step" for choice in choices.values()) else "best epoch"
    title = f"Chosen on validation: {grid.monitor}, {best}; {Metric('', grid.mode).direction}{numbers.unit}"
    return Table(title, ["for", *map(short_name, options), str(grid.monitor), ""], rows, notes)


def _words(values: dict[str, str]) -> str:
    return ", ".join(f"{option}={value}" for option, value in values.items())


def _edges(options: Any, chosen: dict[str, str]) -> list[str]:
    """Where the best number is the smallest or largest that was tried: a better one may lie beyond."""
    lines = []
    for option, values in options.items():
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            continue
        end = {min(numbers): "smallest", max(numbers): "largest"}.get(float(chosen[option]))
        if end:
            lines.append(f"{option}={chosen[option]} is the {end} that was tried; a better one may lie beyond.")
    return lines
