"""A cell on another machine, or in a job of a scheduler's: what such a job does, and how a grid waits for its jobs."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pcpad.commands.comparison import worker
from pcpad.commands.comparison.cells import TRAINING_FILE, remaining, write_failures
from pcpad.commands.comparison.failing import SharedFailures
from pcpad.commands.comparison.grid import GRID_FILE, LOCK_FILE, Cell, Grid
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.commands.comparison.running import ending, environment, say_outcome, sigterm_raises, start
from pcpad.files import locked
from pcpad.terminal import say

RETRIES = 3
"""How often a cell is run again whose machine or job was lost."""

_LOCKED = 60.0  # seconds to wait for a lock: that of a job that was lost may outlive it a little
# What engines leave in the environment of a job. Lightning would take it for its own, and start no processes.
_ENGINES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "SUBMITIT_", "RAY_")


class LostError(Exception):
    """A job ended without saying how: its machine went down, it was killed, its time was over."""


class Engine(Protocol):
    """Where a grid's cells are run.

    Args:
        name: As typed after `--on`.
        retries: How often a cell is submitted again whose job was lost; 0 where the engine does that itself.
    """

    name: str
    retries: int

    def submit(self, cells: Sequence[Cell]) -> list[Any]:
        """Start a job for each of some cells; their handles."""

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that came to their end, after waiting for a second or so."""

    def result(self, handle: Any) -> tuple[int, float]:
        """What `run_here` returned.

        Raises:
            LostError: Nothing.
        """

    def cancel(self, handles: Sequence[Any]) -> None:
        """End jobs."""

    def close(self) -> None:
        """Give back what was started for the grid."""


def run_here(root: str, name: str, tests: Mapping[str, Any], home: str) -> tuple[int, float]:
    """Run a cell on the machine that a job was given, in a process of its own, as `--jobs` does.

    Args:
        root: The grid's folder.
        name: The cell's name.
        tests: The grid's `tests`.
        home: The folder that relative paths are relative to.

    Returns:
        The process's exit code, see `worker.run_cell`, and how many seconds it took.

    Raises:
        FileNotFoundError: This machine does not see the grid's folder.
    """
    if not Path(home, root, GRID_FILE).is_file():
        message = f"This machine has no {Path(home, root, GRID_FILE)}: the folder must be one that all machines share"
        raise FileNotFoundError(message)
    os.chdir(home)
    since = time.monotonic()
    found = {key: value for key, value in environment(0, 1, 0).items() if not key.startswith(_ENGINES)}
    grid = read_grid(Path(root)).with_tests(tests)
    while True:
        process = start(Path(root), grid, grid.cell(name), found)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
        if code != worker.ELSEWHERE or time.monotonic() - since > _LOCKED:
            return code, time.monotonic() - since
        time.sleep(2)


def run_on(engine: Engine, root: Path, grid: Grid, cells: Sequence[Cell], *, keep_going: bool = False) -> list[str]:
    """Run unfinished cells by an engine, and print the outcome of each.

    A cell whose job was lost is run again, at most `RETRIES` times, and resumes from its last checkpoint. Nothing is
    run twice: each cell is locked while it runs, and checks what is left when it starts. Jobs whose cells would share
    an error of two others before training (see `SharedFailures`) are canceled.

    Args:
        engine: The engine.
        root: The grid's folder.
        grid: The grid, as `enter_grid` returned it.
        cells: Some of the grid's cells.
        keep_going: Cancel no jobs.

    Returns:
        A report of the cells that were not run.

    Raises:
        KeyboardInterrupt: The user stopped it.
        SystemExit: SIGTERM stopped it.
    """
    todo = [cell for cell in cells if remaining(root, grid, cell)]
    if len(todo) < len(cells):
        say(f"{len(cells) - len(todo)} of {len(cells)} runs are finished already")
    lost: Counter[str] = Counter()
    again = deque(todo)
    active: list[tuple[Any, Cell]] = []
    done = 0
    failed = SharedFailures(root, keep_going=keep_going)
    with sigterm_raises():
        try:
            while again or active:
                starting = list(again)
                again.clear()
                for cell in starting:
                    _prepare(root / cell.name)
                active += zip(engine.submit(starting), starting, strict=True) if starting else []
                ended = engine.ended([handle for handle, _ in active])
                for handle, cell in list(active):
                    if handle not in ended:
                        continue
                    active.remove((handle, cell))
                    outcome = _outcome(engine, handle, root, grid, cell)
                    if outcome is None and lost[cell.name] < engine.retries:
                        lost[cell.name] += 1
                        again.append(cell)
                        say(f"{time.strftime('%H:%M:%S')} {cell.name} was lost with its job, and is run again")
                        continue
                    done += 1
                    code, lines = outcome or _given_up(root, grid, cell, lost[cell.name] + 1)
                    say_outcome(f"[{done}/{len(todo)}] {cell.name} {lines[0]}", lines[1:])
                    failed.note(cell, code)
                under_way = [cell for _, cell in active]
                spared = failed.spared([*again, *under_way], under_way)
                engine.cancel([handle for handle, cell in active if cell in spared])
                active = [each for each in active if each[1] not in spared]
                again = deque(cell for cell in again if cell not in spared)
        finally:
            engine.cancel([handle for handle, _ in active])
    return failed.lines()


def _prepare(folder: Path) -> None:
    """Make a cell's folder; that its last attempt trained is forgotten, unless another process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError), locked(folder / LOCK_FILE, wait=False) as free:  # the cell says what is wrong with locks
        if free:
            (folder / TRAINING_FILE).unlink(missing_ok=True)


def _given_up(root: Path, grid: Grid, cell: Cell, times: int) -> tuple[int, list[str]]:
    """What is said of a cell whose job was lost too often, which is kept for reports."""
    error = f"its job was lost {times} times"
    write_failures(root / cell.name, [{"step": remaining(root, grid, cell)[0].name, "error": error}])
    return -signal.SIGKILL, [f"CRASHED: {error}"]


def _outcome(engine: Engine, handle: Any, root: Path, grid: Grid, cell: Cell) -> tuple[int, list[str]] | None:
    """How a cell's process ended and what is said of it; None where it was lost with its job."""
    try:
        code, seconds = engine.result(handle)
    except LostError:
        # It may have been lost after its work was done.
        return None if remaining(root, grid, cell) else (0, [f"done (its job on {engine.name} was lost after that)"])
    if code in (128 + signal.SIGTERM, -signal.SIGTERM):  # as a scheduler ends what it wants the machine for
        return None
    return code, ending(root, grid, cell, code, seconds)
