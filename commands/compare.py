"""`pcpad compare`: a grid of runs, and the papers' tables of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from pcpad.commands.comparison.cells import remaining, shell_line
from pcpad.commands.comparison.grid import GRID_FILE, Grid, enter_grid, read_grid
from pcpad.commands.comparison.plots import draw
from pcpad.commands.comparison.report import show
from pcpad.commands.comparison.request import completed, parse, resolve
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.running import run_cells
from pcpad.commands.comparison.written import REPORT_FILES, write_report
from pcpad.files import refuse_replacing
from pcpad.terminal import say


def main(args: list[str]) -> None:
    """Run a grid, list its commands, or report on its folder.

    Args:
        args: See `pcpad compare --help`.

    Raises:
        SystemExit: 1 where a run crashed, now or before, or its files are damaged; 130 and 143 where it was stopped.
        ValueError: What was asked for makes no grid, or not one for this folder.
        FileNotFoundError: There is no such recipe or folder.
    """
    given = parse(args)
    if given.report:
        grid = read_grid(given.output)
        if given.tests_given:
            grid = grid.with_tests({**given.tests, "cross": grid.cross, "per_image": grid.per_image})
        _report(given, grid)
        return
    asked = resolve(given.grid)
    grid = enter_grid(given.output, asked, completed)
    names = {cell.name for cell in asked.cells}
    cells = [cell for cell in grid.cells if cell.name in names]
    if given.list:
        for cell in cells:
            todo = remaining(given.output, grid, cell)
            if todo:
                print(shell_line(todo))
        return
    say(f"{len(cells)} runs in {given.output}; what each prints is in its log.txt")
    try:
        run_cells(given.output, grid, cells, given.jobs, _gpus(grid) if given.jobs > 1 else 0)
    except (KeyboardInterrupt, SystemExit) as stop:
        print("pcpad: stopped; the same command goes on from here.", file=sys.stderr)
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
    _report(given, grid)


def _report(given: Namespace, grid: Grid) -> None:
    refuse_replacing([given.output / name for name in REPORT_FILES], _read_from(given.output), "--output DIR")
    study = Study(given.output, grid, given.metric, given.baseline, given.reach)
    # Into a file or pipe, tables are as wide as they are.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    show(study, console)
    figures = []
    try:
        figures = draw(study)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        print("No figures: they need matplotlib (pip install 'pcpad[figures]')")
    for path in [*write_report(study, figures), *figures]:
        say(f"Written to {path}")
    crashed = [run.cell.name for run in study.runs if run.failed]
    if crashed:
        say(f"pcpad: {len(crashed)} of {len(study.runs)} runs crashed: {', '.join(crashed)}", file=sys.stderr)
    damaged = [run.cell.name for run in study.runs if run.damaged]
    if damaged:
        say(
            f"pcpad: files of {len(damaged)} of {len(study.runs)} runs are damaged: {', '.join(damaged)}",
            file=sys.stderr,
        )
    if crashed or damaged:
        raise SystemExit(1)


def _read_from(folder: Path) -> Iterator[Path]:
    """What a report is made of; looked at only where one stands there already."""
    yield folder / GRID_FILE
    for pattern in ("results.json", "metrics.csv", "*.ckpt", "config.yaml"):
        yield from folder.rglob(pattern)


def _gpus(grid: Grid) -> int:
    """How many GPUs there are to share out among runs side by side."""
    import torch

    return 0 if grid.resolved.get("trainer", {}).get("accelerator") == "cpu" else torch.cuda.device_count()
