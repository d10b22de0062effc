"""The file in a comparison's folder that lists its runs: read, written, and added to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import (
    CRASH_FILE,
    GRID_FILE,
    LOCK_FILE,
    SEED,
    UNREADABLE,
    Cell,
    Grid,
    Tuning,
    short_name,
)
from pcpad.errors import UserFileExistsError, UserFileNotFoundError, UserValueError
from pcpad.files import locked, read_bytes, refuse_irregular, write_text
from pcpad.terminal import say

__all__ = ["enter_grid", "in_common", "read_grid"]

# Decided when a grid is run, and no part of what its runs have in common; or of no influence on results.
_FREE = (
    SEED,
    "ckpt_path",
    "imports",
    "trainer.default_root_dir",
    "checkpoint.dirpath",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)


def in_common(resolved: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """What all cells share: the full configuration of one, without what varies or cannot change a result."""
    kept: dict[str, Any] = json.loads(json.dumps(resolved))
    for option in {*axes, *_FREE}:
        _drop(kept, option.split("."))
    return kept


def _drop(config: Any, words: list[str]) -> None:
    if isinstance(config, dict) and "init_args" in config and words[0] not in config:
        config = config["init_args"]
    if isinstance(config, dict) and len(words) == 1:
        config.pop(words[0], None)
    elif isinstance(config, dict):
        _drop(config.get(words[0]), words[1:])


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line for each value that two configurations do not share, `init_args` left out of names."""
    lines: list[str] = []
    for key in dict.fromkeys((*before, *after)):
        name = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key)
        one, two = before.get(key), after.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            lines += _differing(one, two, name)
        elif one != two:
            said = [repr(config[key]) if key in config else "nothing" for config in (before, after)]
            lines.append(f"{name}: {said[0]} in the folder, {said[1]} asked for")
    return lines


def read_grid(folder: Path) -> Grid:
    """Read the grid of a folder.

    Args:
        folder: The grid's.

    Returns:
        The grid.

    Raises:
        UserFileNotFoundError: It is no grid's.
        UserValueError: Its file is damaged.
    """
    path = folder / GRID_FILE
    refuse_irregular(path)
    if not path.is_file():
        message = f"No comparison in {folder}: there is no {path}. Its folder is what --output was when it was run."
        raise UserFileNotFoundError(message)
    try:
        return _grid(json.loads(read_bytes(path)))
    except (*UNREADABLE, AttributeError, KeyError, TypeError) as error:
        message = (
            f"{path} is damaged ({type(error).__name__}: {error}). It says what the runs in {folder} have in common, "
            "which nothing else does: restore it from a copy, or run the comparison with another --output. The runs' "
            "own results are untouched."
        )
        raise UserValueError(message) from error


def _grid(found: dict[str, Any]) -> Grid:
    """A grid from what `enter_grid` wrote."""
    config, arguments, axes, metrics = (_texts(found[name]) for name in ("config", "arguments", "axes", "metrics"))
    cells = tuple(Cell({option: str(values[option]) for option in axes}) for values in found["cells"])
    if not cells or SEED not in axes:
        message = "it has no cells"
        raise ValueError(message)
    found["resolved"].get("checkpoint", {}).get("monitor")
    grid = Grid(config, arguments, axes, cells, found["resolved"], metrics).with_tests(found["tests"])
    # A folder of an earlier version has none of these.
    tuning = found.get("tuning")
    return replace(
        grid,
        baseline=found.get("baseline"),
        reach=tuple(map(float, found.get("reach", ()))),
        templates={str(option): str(text) for option, text in found.get("templates", {}).items()},
        after=found.get("after"),
        tuning=tuning and Tuning({name: _texts(each) for name, each in tuning["options"].items()}, str(tuning["seed"])),
    )


def _texts(found: list[str]) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        message = f"expected a list of texts, but got {found!r:.50}"
        raise ValueError(message)
    return tuple(found)


def enter_grid(folder: Path, grid: Grid, completed: Callable[[Grid], Mapping[str, Any]] | None = None) -> Grid:
    """Make a folder the grid's, or add the grid's cells to those it has.

    Args:
        folder: Made if missing.
        grid: What is asked for.
        completed: Gives a folder's configuration as this version would write it: an earlier version's lacks the
            options added since, and that is no difference where they are left at their defaults.

    Returns:
        The grid with all cells of the folder, as it is remembered now.

    Raises:
        ValueError: The folder's runs have another configuration, or vary in other options; there is no such baseline.
        FileExistsError: The folder holds something else.
    """
    if folder.exists() and not (folder / GRID_FILE).is_file() and _foreign(folder):
        message = f"{folder} holds something else than a comparison: give it a folder of its own with --output"
        raise UserFileExistsError(message)
    if not (folder / GRID_FILE).is_file():
        grid.check_baseline(grid.baseline)  # before there is a folder
    with locked(folder / LOCK_FILE):
        if (folder / GRID_FILE).is_file():
            old = read_grid(folder)
            try:
                grid = _merge(folder, old, grid, completed)
            except UserValueError:
                if not _only_crashed(folder):
                    raise
                say(f"All runs in {folder} had crashed before they trained: it takes what is asked for now.")
        grid.check_baseline(grid.baseline)
        content = {
            "config": grid.config,
            "arguments": grid.arguments,
            "axes": grid.axes,
            "cells": [dict(cell.values) for cell in grid.cells],
            "resolved": grid.resolved,
            "tests": grid.tests,
            "metrics": grid.metrics,
            "baseline": grid.baseline,
            "reach": grid.reach,
            "templates": grid.templates,
            "after": grid.after,
            "tuning": asdict(grid.tuning) if grid.tuning else None,
        }
        write_text(folder / GRID_FILE, json.dumps(content, indent=2))
    return grid


def _foreign(folder: Path) -> bool:
    return not folder.is_dir() or any(path.name != LOCK_FILE for path in folder.iterdir())


def _only_crashed(folder: Path) -> bool:
    """Whether runs were tried, none has got as far as a checkpoint or result, and none is under way.

    A folder whose runs were only listed has none that crashed: its lines may wait in a queue, and are kept to.
    """
    if not any(folder.rglob(CRASH_FILE)) or any(any(folder.rglob(name)) for name in ("*.ckpt", "results.json")):
        return False
    for path in set(folder.rglob(LOCK_FILE)) - {folder / LOCK_FILE}:
        with locked(path, wait=False) as free:
            if not free:
                return False
    return True


def _check_same_origin(folder: Path, old: Grid, new: Grid) -> None:
    """Raise an error if options have other templates, or are chosen from other values."""
    for option, name in (("--set", "templates"), ("--after", "after"), ("--tune", "tuning")):
        one, two = (getattr(grid, name) for grid in (old, new))
        if one != two:
            said = [_origin(each) for each in (one, two)]
            message = (
                f"The runs in {folder} have {option} {said[0]}, those asked for {said[1]}: choose another --output"
            )
            raise UserValueError(message)


def _origin(said: Mapping[str, str] | Tuning | str | None) -> str:
    if isinstance(said, Tuning):
        return " ".join([*(f"{key}={','.join(each)}" for key, each in said.options.items()), f"(seed {said.seed})"])
    if isinstance(said, Mapping):
        return " ".join(f"{option}={text}" for option, text in said.items()) or "of nothing"
    return said or "of nothing"


def _merge(folder: Path, old: Grid, new: Grid, completed: Callable[[Grid], Mapping[str, Any]] | None = None) -> Grid:
    if old.axes != new.axes:
        names = [", ".join(map(short_name, grid.axes)) for grid in (old, new)]
        message = f"The runs in {folder} vary in {names[0]}, those asked for in {names[1]}: choose another --output"
        raise UserValueError(message)
    _check_same_origin(folder, old, new)
    lines = _differing(old.resolved, new.resolved)
    if lines and completed is not None:
        lines = _differing(completed(old), new.resolved)
    if lines:
        shown = "\n".join(f"  {line}" for line in lines[:20]) + ("\n  …" if len(lines) > 20 else "")
        message = (
            f"The runs in {folder} have another configuration, and are not to be compared with those asked for:\n"
            f"{shown}\nChoose another --output, or ask for the folder's configuration."
        )
        raise UserValueError(message)
    cells = tuple(dict.fromkeys((*(cell.name for cell in old.cells), *(cell.name for cell in new.cells))))
    by_name = {cell.name: cell for cell in (*new.cells, *old.cells)}
    # How results are reported stays as it was said before, where nothing else is said now: another baseline would turn
    # the signs of differences.
    said = {name: getattr(new, name) or getattr(old, name) for name in ("metrics", "baseline", "reach")}
    return replace(new, cells=tuple(by_name[name] for name in cells), **said)
