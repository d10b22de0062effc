"""Running a grid's cells: each in a process of its own, some side by side, stoppable at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pcpad import _start
from pcpad.commands.comparison import worker
from pcpad.commands.comparison.cells import LOG_FILE, failures, last_error, remaining, write_failures
from pcpad.commands.comparison.failing import SharedFailures
from pcpad.commands.comparison.grid import Cell, Grid
from pcpad.terminal import say

_GRACE = 10.0  # seconds between asking a cell to stop and killing it


def run_cells(
    root: Path, grid: Grid, cells: Sequence[Cell], jobs: int = 1, gpus: int = 0, *, keep_going: bool = False
) -> list[str]:
    """Run cells that are not finished, in order, and print what becomes of each.

    Args:
        root: The grid's folder.
        grid: The grid, as `enter_grid` returned it.
        cells: Which of the grid's.
        jobs: How many run side by side.
        gpus: How many GPUs there are to share out among these; 0 to leave the choice to each run.
        keep_going: Also run cells that would fail as others did; see `SharedFailures`.

    Returns:
        What is said of those that were not run.

    Raises:
        KeyboardInterrupt: The user stopped it.
        SystemExit: SIGTERM stopped it.
    """
    waiting = deque(cell for cell in cells if remaining(root, grid, cell))
    left = len(waiting)
    if left < len(cells):
        say(f"{len(cells) - left} of {len(cells)} runs are finished already")
    active: dict[int, tuple[Cell, subprocess.Popen[bytes], float]] = {}  # by slot; with the time of the start
    seconds: list[float] = []
    total = left
    failed = SharedFailures(root, keep_going=keep_going)
    with sigterm_raises():
        try:
            while waiting or active:
                while waiting and len(active) < jobs:
                    slot = min(set(range(jobs)) - active.keys())
                    cell = waiting.popleft()
                    active[slot] = cell, start(root, grid, cell, environment(slot, jobs, gpus)), time.monotonic()
                for slot, (cell, process, since) in list(active.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del active[slot]
                    left -= 1
                    if code != worker.ELSEWHERE:
                        seconds.append(time.monotonic() - since)
                    lines = ending(root, grid, cell, code, time.monotonic() - since)
                    # Cells under way count half: on average they are there.
                    units = (left - 0.5 * len(active)) / min(jobs, left) if left and seconds else 0
                    to_go = f"; about {clock(units * sum(seconds) / len(seconds))} to go" if units else ""
                    say_outcome(f"[{total - left}/{total}] {cell.name} {lines[0]}{to_go}", lines[1:])
                    failed.note(cell, code)
                for cell in failed.spared(waiting, [cell for cell, _, _ in active.values()]):
                    waiting.remove(cell)
                    left -= 1
                time.sleep(0.1)
        finally:
            _stop([process for _, process, _ in active.values()])
    return failed.lines()


def start(root: Path, grid: Grid, cell: Cell, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that runs what is left of a cell, see `worker`; what it prints goes to the cell's log."""
    folder = root / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", _start.__file__, worker.__name__, str(root), cell.name, json.dumps(grid.tests)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the cells
        )


def environment(slot: int, jobs: int, gpus: int) -> dict[str, str]:
    """The environment of the process in one of `jobs` slots, which share `gpus` GPUs (0: the choice is theirs)."""
    found = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    # In the environment, so that it holds for what Lightning and data loaders start in turn.
    found["PYTHONSAFEPATH"] = "1"
    # Where a path is empty, Python puts the current folder: `export PYTHONPATH=$PYTHONPATH:/mine`.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    found["PYTHONPATH"] = os.pathsep.join(paths)
    if jobs > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    if jobs > 1 and gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if len(visible) == gpus else [str(index) for index in range(gpus)]
        found["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot::jobs] or [names[slot % gpus]])
    return found


def say_outcome(outcome: str, more: Sequence[str]) -> None:
    """Print the outcome of a cell after the time, and further lines below it."""
    say(f"{time.strftime('%H:%M:%S')} {outcome}")
    for line in more:
        say(line)


def ending(root: Path, grid: Grid, cell: Cell, code: int, seconds: float) -> list[str]:
    """What is said of a cell whose process ended; why it failed is kept for reports."""
    if code == worker.ELSEWHERE:
        return ["is being run by another process"]
    if code == 0:
        return [f"done in {clock(seconds)}"]
    folder = root / cell.name
    failed = failures(folder)
    if not failed:
        error = last_error(folder / LOG_FILE)
        error = f"{_how(code)}; last line: {error}" if code != worker.CRASHED else error
        todo = remaining(root, grid, cell)
        failed = [{"step": todo[0].name if todo else "end", "error": error}]
        write_failures(folder, failed)
    what = f"CRASHED after {clock(seconds)}: {failed[-1]['step']}: {failed[-1]['error']}"
    return [what, f"        log: {folder / LOG_FILE}"]


def _how(code: int) -> str:
    """How a process ended, by its exit code: a shell's 128 + N are signals, but other programs end with any code."""
    number = -code if code < 0 else code - 128
    if number not in {int(each) for each in signal.Signals}:
        return f"ended with exit code {code}" if code >= 0 else f"killed by signal {number}"
    name = signal.Signals(number).name
    return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the grid as Ctrl-C does, its cells included."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def clock(seconds: float) -> str:
    """A time for people: `1:02:03`, `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
