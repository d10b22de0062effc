"""One cell in a process of its own: what is left of it, in order, unless another process is at it.

Run by `pcpad._start`, see `pcpad.commands.comparison.running.start`: Lightning starts the further processes of a run on
several devices by the command of the first.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pcpad.commands.comparison.cells import LOG_FILE, TRAINING_FILE, last_error, remaining, write_failures
from pcpad.commands.comparison.grid import CRASH_FILE, LOCK_FILE
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.files import locked
from pcpad.terminal import for_terminal, say

ELSEWHERE = 75  # exit code: another process is at this cell
CRASHED = 1
_STEPS = "PCPAD_CELL_STEPS"
_EXIT = "exit"  # the command has said why on stderr


def main(folder: str, name: str, tests: str) -> int:
    """Run a cell and end with whoever started this.

    Args:
        folder: The grid's folder.
        name: The cell's name.
        tests: A grid's `tests` as JSON: those in the folder may be another process's by now.

    Returns:
        The process's exit code, see `run_cell`.
    """
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # A further process of a run on several devices: Lightning starts it as it found the first, by this very
        # command. It does what the first one decided to do.
        for command in json.loads(os.environ[_STEPS]):
            _run(command, None)
        return 0
    return run_cell(Path(folder), name, json.loads(tests))


def run_cell(root: Path, name: str, tests: Mapping[str, Any]) -> int:
    """Run what is left of a cell, tested as `tests` say: 0 when all of it is done, `CRASHED`, or `ELSEWHERE`."""
    path = root / name / LOCK_FILE
    with ExitStack() as stack:
        try:
            held = stack.enter_context(locked(path, wait=False))  # given back even by kill -9
        except OSError as error:
            say(f"pcpad: error: {path} cannot be locked ({error}); use a file system that has locks, or --list")
            return CRASHED
        if not held:
            return ELSEWHERE
        with suppress(OSError):  # for people to read; not every system lets a locked file be written
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        return _run_remaining(root, name, tests)


def _run_remaining(root: Path, name: str, tests: Mapping[str, Any]) -> int:
    grid = read_grid(root).with_tests(tests)
    cell = grid.cell(name)
    todo = remaining(root, grid, cell)
    forget_attempt(root / name)
    commands = [step.command() for step in todo]
    os.environ[_STEPS] = json.dumps(commands)
    failed = []
    for step, command in zip(todo, commands, strict=True):
        error = _run(command, root / name / TRAINING_FILE)
        if error == _EXIT:
            error = last_error(root / name / LOG_FILE)
        if error is None and not step.done():
            error = f"`pcpad {step.verb}` ended without a result in {step.folder}"
        if error is not None:
            failed.append({"step": step.name, "error": error})
            if step.verb == "fit":
                break
    if failed:
        write_failures(root / name, failed)
    return CRASHED if failed else 0


def forget_attempt(folder: Path) -> None:
    """Remove what a cell's last attempt left beside its results: why it failed, and whether it trained."""
    for name in (CRASH_FILE, TRAINING_FILE):
        (folder / name).unlink(missing_ok=True)


def _run(command: list[str], trained: Path | None) -> str | None:
    """Run a command of pcpad's; what went wrong in a line, or None. When it begins to train, `trained` is made."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from pcpad.commands.run import main as run

    say(f"$ {shlex.join(['pcpad', *command])}")
    try:
        run(command[0], command[1:], on_training=partial(_note, trained))
    except SystemExit as end:
        sys.stderr.flush()
        return None if end.code in (0, None) else _EXIT
    except Exception as error:
        print(for_terminal(traceback.format_exc()), file=sys.stderr)
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        gc.collect()  # the next step's network should find this one's memory free
    return None


def _note(path: Path | None) -> None:
    with suppress(OSError):  # it tells which cells fail alike, and is worth no run
        if path is not None:
            path.touch()


def _stop(signum: int, frame: FrameType | None) -> None:
    # At once, not as Lightning would, with a checkpoint in the middle of the epoch: going on from there replays a
    # part of the epoch's data, and the cell would not end where an uninterrupted one does.
    os._exit(128 + signum)


def _watch_parent(parent: int) -> None:
    """End, with all processes started here, when whoever started this is gone, even by kill -9."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(CRASHED)
