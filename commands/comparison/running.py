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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from pcpad.commands.comparison import worker
from pcpad.commands.comparison.cells import CRASH_FILE, LOG_FILE, failures, last_error, remaining
from pcpad.commands.comparison.files import write_whole
from pcpad.commands.comparison.grid import Cell, Grid

_GRACE = 10.0  # seconds between asking a cell to stop and killing it


@dataclass
class Outcome:
    """What became of the cells.

    Args:
        skipped: Were finished before.
        done: Finished now.
        crashed: Failed now.
        elsewhere: Are being run by another process.
    """

    skipped: list[Cell] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    crashed: list[Cell] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    slot: int
    start: float


class Runner:
    """Runs the cells of a grid that are not finished.

    Args:
        root: The grid's folder.
        grid: The grid, as `enter_grid` returned it.
        jobs: How many cells run side by side.
        gpus: How many GPUs there are to share out among these; 0 to leave the choice to each run.
    """

    def __init__(self, root: Path, grid: Grid, jobs: int = 1, gpus: int = 0) -> None:
        self.root = root
        self.grid = grid
        self.jobs = jobs
        self.gpus = gpus
        self._active: list[_Running] = []
        self._seconds: list[float] = []
        self._count = 0
        self._total = 0

    def run(self, cells: Sequence[Cell]) -> Outcome:
        """Run cells, in order; what is finished is not run again.

        Args:
            cells: Which of the grid's.

        Returns:
            What became of them.

        Raises:
            KeyboardInterrupt: The user stopped it.
            SystemExit: SIGTERM stopped it.
        """
        outcome = Outcome()
        waiting: deque[Cell] = deque()
        for cell in cells:
            (waiting if remaining(self.root, self.grid, cell) else outcome.skipped).append(cell)
        self._total = len(waiting)
        if outcome.skipped:
            _say(f"{len(outcome.skipped)} of {len(cells)} runs are finished already")
        with _sigterm_raises():
            try:
                while waiting or self._active:
                    while waiting and len(self._active) < self.jobs:
                        self._active.append(self._start(waiting.popleft()))
                    self._collect(outcome)
                    time.sleep(0.1)
            finally:
                self._stop_all()
        return outcome

    def _start(self, cell: Cell) -> _Running:
        folder = self.root / cell.name
        folder.mkdir(parents=True, exist_ok=True)
        slot = min(set(range(self.jobs)) - {running.slot for running in self._active})
        plan = json.dumps(asdict(self.grid.tests))
        command = [sys.executable, "-m", worker.__name__, str(self.root), cell.name, plan]
        with (folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the cells
            )
        return _Running(cell, process, slot, time.monotonic())

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
        if self.jobs > 1:
            cores = os.cpu_count() or 1
            environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.jobs)))
        if self.jobs > 1 and self.gpus > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            names = visible if len(visible) == self.gpus else [str(index) for index in range(self.gpus)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot :: self.jobs] or [names[slot % self.gpus]])
        return environment

    def _collect(self, outcome: Outcome) -> None:
        for running in list(self._active):
            code = running.process.poll()
            if code is None:
                continue
            self._active.remove(running)
            cell, seconds = running.cell, time.monotonic() - running.start
            self._count += 1
            if code == worker.ELSEWHERE:
                outcome.elsewhere.append(cell)
                self._report(cell, "is being run by another process")
                continue
            self._seconds.append(seconds)
            if code == 0:
                outcome.done.append(cell)
                self._report(cell, f"done in {_clock(seconds)}")
            else:
                outcome.crashed.append(cell)
                failed = self._failures(cell, code)
                self._report(cell, f"CRASHED after {_clock(seconds)}: {failed[-1]['step']}: {failed[-1]['error']}")
                _say(f"        log: {self.root / cell.name / LOG_FILE}")

    def _failures(self, cell: Cell, code: int) -> list[dict[str, str]]:
        folder = self.root / cell.name
        found = failures(folder)
        if not found:
            error = last_error(folder / LOG_FILE)
            if code < 0 or code > 128:
                name = signal.Signals(-code if code < 0 else code - 128).name
                error = f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}; last line: {error}"
            todo = remaining(self.root, self.grid, cell)
            found = [{"step": todo[0].name if todo else "end", "error": error}]
            write_whole(folder / CRASH_FILE, json.dumps(found, indent=2))
        return found

    def _report(self, cell: Cell, what: str) -> None:
        left = self._total - self._count
        eta = ""
        if left and self._seconds:
            # Cells under way count half: on average they are there.
            units = left - 0.5 * len(self._active)
            eta = f"; about {_clock(units * sum(self._seconds) / len(self._seconds) / min(self.jobs, left))} to go"
        now = time.strftime("%H:%M:%S")
        _say(f"{now} [{self._count}/{self._total}] {cell.name} {what}{eta}")

    def _stop_all(self) -> None:
        for running in self._active:
            _signal_group(running.process, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        for running in self._active:
            try:
                running.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(running.process, signal.SIGKILL)
                running.process.wait()
        self._active = []


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the grid as Ctrl-C does, its cells included."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _say(line: str) -> None:
    print(line, flush=True)
