"""One cell of a grid: the commands it consists of, and which of them are done."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import CRASH_FILE, PADDING, UNREADABLE, Cell, Grid, path_word
from pcpad.commands.comparison.grid import LOCK_FILE as LOCK_FILE  # its earlier place
from pcpad.commands.comparison.templates import filled, predecessor
from pcpad.commands.comparison.tuning import tuned_arguments
from pcpad.errors import UserValueError
from pcpad.files import read_bytes, read_text, refuse_irregular, write_text

LOG_FILE = "log.txt"
ITEMS_FILE = "items.csv"
TRAINING_FILE = ".trained"  # there from the first training step of a cell's last attempt


@dataclass(frozen=True)
class Step:
    """One `pcpad` command of a cell.

    Args:
        name: `fit`, or `test` with what it is tested with.
        verb: `fit` or `test`.
        arguments: What follows the verb.
        folder: Where its runs are logged.
        checkpoint: What a repeated `fit` goes on from.
        writes: A file that it leaves beside its results.
    """

    name: str
    verb: str
    arguments: tuple[str, ...]
    folder: Path
    checkpoint: Path | None = None
    writes: Path | None = None

    def done(self) -> bool:
        """Whether a run of it has finished and its files are there."""
        left = self.writes is None or self.writes.is_file()
        return left and finished_entry(self.folder, self.verb) is not None

    def command(self) -> list[str]:
        """The arguments of `pcpad`, resuming from the last checkpoint if there is one."""
        resume = [f"--ckpt_path={self.checkpoint}"] if self.checkpoint and self.checkpoint.is_file() else []
        return [self.verb, *self.arguments, *resume]


def steps(root: Path, grid: Grid, cell: Cell, *, to_run: bool = True) -> list[Step]:
    """What a cell consists of: a fit, then its tests; a fit alone for a run that tunes.

    Args:
        root: The grid's folder.
        grid: The grid.
        cell: Which of its cells.
        to_run: Whether commands are wanted. Reports do without: a folder that runs started from may be gone by then.

    Returns:
        The steps, in order.
    """
    folder = root / cell.name
    checkpoints = folder / "checkpoints"
    # What is not chosen yet is left out: such a cell is not run, see `waits_for`.
    derived = [*filled(grid, cell), *(tuned_arguments(root, grid, cell) or ())] if to_run else []
    fit = [
        *grid.common_arguments,
        *cell.arguments(),
        *derived,
        f"--trainer.default_root_dir={folder / 'fit'}",
        f"--checkpoint.dirpath={checkpoints}",
    ]
    found = [Step("fit", "fit", tuple(fit), folder / "fit", checkpoints / "last.ckpt")]
    for tested in () if cell.under else tested_with(grid, cell):
        into = folder_of_test(root, grid, cell, tested)
        like = cell if tested is None else Cell({**cell.values, PADDING: tested})
        arguments = [
            *grid.common_arguments,
            *like.arguments(),
            *derived,
            f"--ckpt_path={checkpoints / grid.checkpoint}.ckpt",
            f"--trainer.default_root_dir={into}",
            *grid.test_arguments,
        ]
        items = into / ITEMS_FILE if grid.per_image else None
        arguments += [f"--per_image={items}"] if items else []
        name = "test" if tested is None else f"test under {tested}"
        found.append(Step(name, "test", tuple(arguments), into, writes=items))
    return found


def tested_with(grid: Grid, cell: Cell) -> list[str | None]:
    """The paddings a cell is tested under, its own first; `[None]` where padding is not what is compared."""
    own = cell.values.get(PADDING)
    if own is None or not grid.cross:
        return [own]
    return [own, *(padding for padding in grid.values(PADDING) if padding != own)]


def folder_of_test(root: Path, grid: Grid, cell: Cell, tested: str | None) -> Path:
    """Where a test is logged."""
    under = "as_trained" if tested is None else f"padding={path_word(tested)}"
    return root / cell.name / "tests" / grid.tests_folder / under


def remaining(root: Path, grid: Grid, cell: Cell) -> list[Step]:
    """The steps of a cell that are still to be done."""
    return [step for step in steps(root, grid, cell) if not step.done()]


def waits_for(root: Path, grid: Grid, cell: Cell) -> str | None:
    """Why a cell cannot be run yet; None where it can."""
    if grid.after is not None:
        earlier = Path(grid.after, predecessor(grid, cell).name)
        if finished_entry(earlier / "fit", "fit") is None:
            return f"starts from {earlier}, which is not finished"
    if tuned_arguments(root, grid, cell) is None:
        assert grid.tuning is not None
        return f"{', '.join(grid.tuning.options)} is not chosen yet"
    return None


def shell_line(todo: list[Step]) -> str:
    """Steps as a user would type them, in one line."""
    return " && ".join(shlex.join(["pcpad", *step.command()]) for step in todo)


def run_folders(folder: Path) -> list[Path]:
    """The runs logged under a folder, the newest last."""
    found = {path: path.name.removeprefix("version_") for path in folder.glob("*/version_*")}
    return sorted((path for path in found if found[path].isdecimal()), key=lambda path: int(found[path]))


def finished_entry(folder: Path, verb: str) -> dict[str, Any] | None:
    """The `results.json` entry of the newest finished run of a verb in a folder; None without one.

    A damaged file is no result: its step is done again.
    """
    for run in reversed(run_folders(folder)):
        try:
            entry: dict[str, Any] | None = read_results(run / "results.json").get(verb)
        except UserValueError:
            continue
        if entry is not None and entry.get("finished", True):
            return entry
    return None


def damaged_results(folder: Path) -> list[str]:
    """Each `results.json` of the runs in a folder that cannot be used, and why."""
    found = []
    for run in run_folders(folder):
        try:
            read_results(run / "results.json")
        except UserValueError as error:
            found.append(str(error))
    return found


def read_results(path: Path) -> dict[str, Any]:
    """The entries of a `results.json`; none where there is no such file.

    Args:
        path: The file.

    Returns:
        Verb to entry, in which each of `metrics` and of `history` is a number. What JSON has none for, NaN and
        infinities, is written as null and read as NaN.

    Raises:
        UserValueError: It cannot be read, or holds something else.
    """
    refuse_irregular(path)
    if not path.is_file():
        return {}
    try:
        entries: dict[str, Any] = json.loads(read_bytes(path))
        for entry in entries.values():
            entry["metrics"] = {str(name): _number(value) for name, value in entry["metrics"].items()}
            history = entry.get("history") or {}
            entry["history"] = {int(when): _number(value) for when, value in history.items()}
            if entry.get("history_by", "epoch") not in ("epoch", "step"):
                raise ValueError(entry["history_by"])
    except (*UNREADABLE, AttributeError, KeyError, TypeError) as error:
        message = f"{path} is damaged ({type(error).__name__}: {error})"
        raise UserValueError(message) from error
    return entries


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def failures(folder: Path) -> list[dict[str, str]]:
    """How a cell's last attempt failed: `step` and `error` of each failed step; empty if not known."""
    path = folder / CRASH_FILE
    try:
        found = json.loads(read_bytes(path)) if path.is_file() else []
        return [{"step": str(item["step"]), "error": str(item["error"])} for item in found]
    except (*UNREADABLE, KeyError, TypeError):
        return []  # what is not done is done again, whatever became of it


def write_failures(folder: Path, failed: list[dict[str, str]]) -> None:
    """Keep them for reports; see `failures`."""
    write_text(folder / CRASH_FILE, json.dumps(failed, indent=2))


def last_error(log: Path) -> str:
    """The last line of a cell's log that looks like an error; else its last line."""
    text = read_text(log, errors="replace")[-65536:] if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(pcpad: )?error:|[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or ["nothing was printed"])[-1]
