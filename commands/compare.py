"""`pcpad compare`: a grid of runs, and the papers' tables of it."""

from __future__ import annotations

import sys
from dataclasses import replace

from rich.console import Console

from pcpad.commands.comparison.cells import remaining, shell_line
from pcpad.commands.comparison.grid import Grid, enter_grid, read_grid
from pcpad.commands.comparison.plots import draw
from pcpad.commands.comparison.report import show, write_report
from pcpad.commands.comparison.request import Request, parse, resolve
from pcpad.commands.comparison.running import Runner
from pcpad.commands.comparison.study import Study


def main(args: list[str]) -> None:
    """Run a grid, list its commands, or report on its folder.

    Args:
        args: See `pcpad compare --help`.

    Raises:
        SystemExit: 1 where a run crashed, now or before; 130 and 143 where it was stopped.
        ValueError: What was asked for makes no grid, or not one for this folder.
        FileNotFoundError: There is no such recipe or folder.
    """
    request = parse(args)
    if request.report_only:
        grid = read_grid(request.output)
        if request.tests_given:
            grid = replace(grid, tests=replace(request.tests, cross=grid.tests.cross))
        _report(request, grid)
        return
    asked = resolve(request)
    grid = enter_grid(request.output, asked)
    names = {cell.name for cell in asked.cells}
    cells = [cell for cell in grid.cells if cell.name in names]
    if request.list_only:
        for cell in cells:
            todo = remaining(request.output, grid, cell)
            if todo:
                print(shell_line(todo))
        return
    print(f"{len(cells)} runs in {request.output}; what each prints is in its log.txt", flush=True)
    try:
        Runner(request.output, grid, request.jobs, _gpus(grid) if request.jobs > 1 else 0).run(cells)
    except (KeyboardInterrupt, SystemExit) as stop:
        print("pcpad: stopped; the same command goes on from here.", file=sys.stderr)
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
    _report(request, grid)


def _report(request: Request, grid: Grid) -> None:
    study = Study(request.output, grid, request.options)
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
        print(f"Written to {path}")
    crashed = [run.cell.name for run in study.runs if run.failed]
    if crashed:
        print(f"pcpad: {len(crashed)} of {len(study.runs)} runs crashed: {', '.join(crashed)}", file=sys.stderr)
        raise SystemExit(1)


def _gpus(grid: Grid) -> int:
    """How many GPUs there are to share out among runs side by side."""
    import torch

    return 0 if grid.resolved.get("trainer", {}).get("accelerator") == "cpu" else torch.cuda.device_count()
