"""Options that are chosen on validation, for each compared value by itself: what is asked for and what was chosen."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.axes import read_option, refuse_typed, split_values
from pcpad.commands.comparison.grid import SEED, UNREADABLE, Cell, Grid, Tuning
from pcpad.errors import UserValueError
from pcpad.files import read_bytes

TUNE_FILE = "tune.json"


def read_tuning(
    typed: Sequence[str], seed: str, grid: Grid, varying: Collection[str], typed_options: Sequence[str]
) -> Tuning | None:
    """Read `--tune` and `--tune-seed`.

    Args:
        typed: `OPTION=A,B` each.
        seed: The seed of the runs that tune.
        grid: What is asked for.
        varying: The options that vary for other reasons.
        typed_options: Those of all runs.

    Returns:
        What is to be chosen; None where nothing is.

    Raises:
        UserValueError: It cannot be chosen.
    """
    options: dict[str, tuple[str, ...]] = {}
    for each in typed:
        option, text = read_option("--tune", each, "OPTION=A,B such as model.optimizer.lr=0.1,0.01")
        if option in options or option in varying:
            message = f"--tune {option}: it is tuned, set or varies already"
            raise UserValueError(message)
        options[option] = split_values(option, text)
        if len(options[option]) < 2:
            message = f"--tune {each}: there is nothing to choose from: give several values, separated by commas"
            raise UserValueError(message)
    if not options:
        return None
    refuse_typed(options, typed_options)
    if not seed.isdecimal():
        message = f"--tune-seed must be a number that is not negative, got {seed!r}"
        raise UserValueError(message)
    if seed in grid.values(SEED):
        message = (
            f"--tune-seed {seed} is one of --seeds: a run that is compared would have chosen for itself. "
            "Give it another number"
        )
        raise UserValueError(message)
    return Tuning(options, str(int(seed)))


def group_of(grid: Grid, cell: Cell) -> str:
    """What is chosen for: a cell's values without its seed, `padding=partial/data.split=cv0`."""
    return Cell({option: cell.values[option] for option in grid.axes if option != SEED}).name


def read_choices(root: Path, grid: Grid) -> dict[str, dict[str, Any]]:
    """What was chosen, by group; see `pcpad.commands.comparison.choosing.decide`, which wrote it.

    A file that is damaged, or has values that are none of those to choose from, is none: the same runs make the same
    choice again.
    """
    path = root / TUNE_FILE
    if grid.tuning is None or not path.is_file():
        return {}
    try:
        found: dict[str, dict[str, Any]] = json.loads(read_bytes(path))
        offered = {option: set(values) for option, values in grid.tuning.options.items()}
        for choice in found.values():
            chosen = choice["chosen"]
            if chosen.keys() != offered.keys() or not all(chosen[name] in offered[name] for name in offered):
                return {}
            [(dict(each["values"]), each["best"], str(each["state"])) for each in choice["candidates"]]
    except (*UNREADABLE, AttributeError, KeyError, TypeError):
        return {}
    return found


def tuned_arguments(root: Path, grid: Grid, cell: Cell) -> list[str] | None:
    """What was chosen for a cell, as options: empty where nothing is tuned, None where it is not chosen yet."""
    if grid.tuning is None or cell.under:
        return []
    choice = read_choices(root, grid).get(group_of(grid, cell))
    return None if choice is None else [f"--{option}={value}" for option, value in choice["chosen"].items()]
