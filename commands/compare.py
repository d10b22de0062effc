"""`pcpad compare`: a grid of runs, and the papers' tables of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pcpad.commands.comparison.cells import remaining, shell_line, waits_for
from pcpad.commands.comparison.choosing import decide, tune_cells_for
from pcpad.commands.comparison.engines import engine
from pcpad.commands.comparison.grid import GRID_FILE, Cell, Grid
from pcpad.commands.comparison.grid_file import enter_grid, read_grid
from pcpad.commands.comparison.plots import draw
from pcpad.commands.comparison.report import show
from pcpad.commands.comparison.request import completed, parse, resolve
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.stages import Stage, stages_of
from pcpad.commands.comparison.written import REPORT_FILES, write_report
from pcpad.errors import UserError
from pcpad.files import refuse_replacing
from pcpad.terminal import say


def main(args: list[str]) -> None:
    """Run a grid, list its commands, or report on its folder; or several grids in order, see `--stages`.

    Args:
        args: See `pcpad compare --help`.

    Raises:
        SystemExit: 1 where a run crashed, now or before, or its files are damaged; 130 and 143 where it was stopped.
        ValueError: What was asked for makes no grid, or not one for this folder.
        FileNotFoundError: There is no such recipe or folder.
    """
    # All of them before the first is run: a later one's mistakes are not to cost an earlier one's hours.
    stages = [(stage, _enter(stage)) for stage in stages_of(args)]
    failed = False
    for stage, entered in stages:
        if stage.where:
            say(f"pcpad: {stage.where}", file=sys.stderr)
        try:
            _go(*entered)
        except SystemExit as end:
            if end.code != 1 or len(stages) == 1:
                raise
            failed = True  # what starts from runs that crashed is not run, and what does not is
    if failed:
        raise SystemExit(1)


def _enter(stage: Stage) -> tuple[Namespace, Grid]:
    """Read what is asked for, and make its folder a grid's."""
    try:
        given = parse(stage.arguments)
        if given.report:
            grid = read_grid(given.output)
            if given.tests_given:
                grid = grid.with_tests({**given.tests, "cross": grid.cross, "per_image": grid.per_image})
            return given, grid
        given.grid = resolve(given.grid)
        return given, enter_grid(given.output, given.grid, completed)
    except (UserError, SystemExit) as error:
        if stage.where and not (isinstance(error, SystemExit) and error.code in (0, None)):
            say(f"pcpad: {stage.where}:", file=sys.stderr)
        raise


def _go(given: Namespace, grid: Grid) -> None:
    if given.report:
        _report(given, grid)
        return
    names = {cell.name for cell in given.grid.cells}
    cells = [cell for cell in grid.cells if cell.name in names]
    if given.list:
        _list(given.output, grid, cells)
        return
    say(f"{len(cells)} runs in {given.output}; what each prints is in its log.txt")
    try:
        waiting = _run(given, grid, cells)
    except (KeyboardInterrupt, SystemExit) as stop:
        print("pcpad: stopped; the same command resumes it.", file=sys.stderr)
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
    _report(given, grid, waiting)


def _list(root: Path, grid: Grid, cells: Sequence[Cell]) -> None:
    """Print what is still to be run and can be, one line per run."""
    decide(root, grid)
    waiting = 0
    for cell in [*tune_cells_for(root, grid, cells), *cells]:
        todo = remaining(root, grid, cell)
        if todo and waits_for(root, grid, cell):
            waiting += 1
        elif todo:
            print(shell_line(todo))
    if waiting:
        say(f"pcpad: {waiting} runs wait for others: list again when these are done", file=sys.stderr)


def _run(given: Namespace, grid: Grid, cells: Sequence[Cell]) -> list[str]:
    """Run the cells that can be run, those that tune first. Returns the others, and why."""
    root = given.output
    waiting: list[str] = []
    with engine(given, grid) as run:
        for stage in (tune_cells_for(root, grid, cells), cells):
            why = {cell.name: waits_for(root, grid, cell) for cell in stage}
            waiting += [f"{name} {line}" for name, line in why.items() if line]
            waiting += run(root, grid, [cell for cell in stage if not why[cell.name]])
            if stage is not cells:
                waiting += decide(root, grid)
    return waiting


def _report(given: Namespace, grid: Grid, waiting: Sequence[str] = ()) -> None:
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
    for line in waiting:
        say(f"pcpad: not run: {line}", file=sys.stderr)
    if crashed or damaged or waiting:
        raise SystemExit(1)


def _read_from(folder: Path) -> Iterator[Path]:
    """The files that a report is made of; looked up only if a report is there already."""
    yield folder / GRID_FILE
    for pattern in ("results.json", "metrics.csv", "*.ckpt", "config.yaml"):
        yield from folder.rglob(pattern)
