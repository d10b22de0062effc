"""What trained networks left in folders: of `pcpad compare`, and of single `pcpad fit` and `pcpad test`."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pcpad.bounded_yaml import read_config
from pcpad.commands.comparison.cells import finished_entry, read_results
from pcpad.commands.comparison.grid import GRID_FILE, PADDING, SEED, Cell, Grid, short_name
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.commands.comparison.runs import Run, logged, read_run
from pcpad.commands.papers.timings import Timing, read_timings
from pcpad.errors import UserError, UserFileNotFoundError, UserValueError

__all__ = ["Found", "Trained", "Unfinished", "arguments_of", "class_of", "read_folders"]

_PARTIAL = "model.partial"
_SPLIT = "data.split"
_OF_SCHEDULE = re.compile(r"model\.(\w+_)?(optimizer|scheduler)\b")
_NOT_CHOSEN = {PADDING, SEED, _PARTIAL, _SPLIT}


@dataclass(frozen=True)
class Trained:
    """One trained network and what it achieved.

    Args:
        where: Its folder.
        task: The task's class; None where nothing says it.
        network: Its network, and the values of what else varies in its grid.
        padding: What it was trained with.
        split: Of the data, where that is said.
        run: Its numbers, with paddings tested with as names.
        config: What it was run with; empty where that is not known.
        chosen: Options and their values that its grid has one of for its padding, such as a learning rate.
    """

    where: Path
    task: str | None
    network: str
    padding: str
    split: str | None
    run: Run
    config: Mapping[str, Any]
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> str:
        """Its seed; the folder's name where it is not known."""
        return self.run.cell.seed

    @property
    def metrics(self) -> set[str]:
        """Names of all logged metrics."""
        monitored = {self.run.monitor} if self.run.monitor else set()
        return {*monitored, *self.run.logs, *(name for found in self.run.tests.values() for name in found)}

    @property
    def checkpoint(self) -> Path | None:
        """The best checkpoint; None if it no longer exists."""
        path = self.where / "checkpoints" / "best.ckpt"
        return path if path.is_file() else None


@dataclass(frozen=True)
class Unfinished:
    """A training run that has not finished yet.

    Args:
        where: Its folder.
        task: The task's class; None where nothing says it.
    """

    where: Path
    task: str | None


@dataclass
class Found:
    """Everything found in some folders.

    Args:
        trained: Networks whose training came to its end, or that were tested.
        timings: Of `pcpad bench`.
        grids: Folders of `pcpad compare`.
        unfinished: Trainings that were not.
        damaged: A line for each file that cannot be used.
    """

    trained: list[Trained] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    grids: list[Path] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def arguments_of(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The arguments of a configuration's part, with a class or without; none of one that is not there."""
    found = config.get(part)
    found = found.get("init_args", found) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def class_of(config: Mapping[str, Any], part: str) -> str:
    """The name of a configuration part's class, without its module; empty where there is none."""
    found = config.get(part)
    return str(found.get("class_path", "")).rpartition(".")[2] if isinstance(found, Mapping) else ""


def read_folders(paths: Sequence[Path]) -> Found:
    """Read the results of runs.

    Args:
        paths: Folders of `pcpad compare`, of runs, or of several of these; files of `pcpad bench --json`.

    Returns:
        What there is.

    Raises:
        UserFileNotFoundError: There is no such folder, or no run in it.
        UserValueError: A file is damaged that all of its folder depends on; two runs are of the same padding and seed.
    """
    found = Found()
    singles: list[Path] = []
    for path in dict.fromkeys(path.resolve() for path in paths):
        if path.is_file():
            found.timings += read_timings(path)
            continue
        grids, runs = _folders_in(path)
        found.grids += [grid for grid in grids if grid not in found.grids]
        singles += [run for run in runs if run not in singles]
    for root in found.grids:
        _read_grid_folder(root, found)
    _read_runs(singles, found)
    _refuse_twice(found.trained)
    return found


def _folders_in(root: Path) -> tuple[list[Path], list[Path]]:
    if not root.is_dir():
        message = f"There is no folder {root}, which --runs names."
        raise UserFileNotFoundError(message)
    grids, runs = [], []
    for folder, inner, names in os.walk(root):
        inner.sort()
        if GRID_FILE in names:
            grids.append(Path(folder))
        elif "results.json" in names:
            runs.append(Path(folder))
        else:
            continue
        inner.clear()
    if not grids and not runs:
        message = (
            f"No runs in {root}: expected the folder of a `pcpad compare`, with its {GRID_FILE}, or folders of "
            "`pcpad fit` and `pcpad test`, with their results.json. Files of `pcpad bench --json` are named themselves."
        )
        raise UserFileNotFoundError(message)
    return grids, runs


def _read_grid_folder(root: Path, found: Found) -> None:
    grid = read_grid(root)
    chosen = _chosen_per_padding(grid.cells)
    for cell in grid.cells:
        run = read_run(root, grid, cell)
        found.damaged += run.damaged
        entry = finished_entry(root / cell.name / "fit", "fit")
        if entry is None:
            found.unfinished.append(Unfinished(root / cell.name, class_of(grid.resolved, "model") or None))
            continue
        found.trained.append(_of_cell(root, grid, run, entry, chosen))


def _chosen_per_padding(cells: Sequence[Cell]) -> set[str]:
    """The options of which each padding has one value: no other networks, but what suits the padding.

    What optimizers and schedulers are given may differ between a grid's networks too, such as those of another norm.
    """
    options = {option for cell in cells for option in cell.values} - _NOT_CHOSEN
    of_schedule = {option for option in options if _OF_SCHEDULE.match(option)}
    return {
        option
        for option in options
        if _has_one_value(option, cells, (PADDING, _PARTIAL))
        or (option in of_schedule and _has_one_value(option, cells, (PADDING, _PARTIAL, *(options - of_schedule))))
    }


def _has_one_value(option: str, cells: Sequence[Cell], by: Sequence[str]) -> bool:
    """Whether cells that agree in some options, of which there are two kinds or more, agree in this one."""
    values: dict[tuple[str | None, ...], set[str | None]] = {}
    for cell in cells:
        values.setdefault(tuple(map(cell.values.get, by)), set()).add(cell.values.get(option))
    return len(values) > 1 and all(len(found) == 1 for found in values.values())


def _of_cell(root: Path, grid: Grid, run: Run, entry: Mapping[str, Any], chosen: Collection[str]) -> Trained:
    values = run.cell.values
    arguments = arguments_of(grid.resolved, "model")
    task = entry.get("task") or class_of(grid.resolved, "model") or None
    network = str(entry.get("network") or arguments.get("network") or "an unknown network")
    padding = str(values.get(PADDING) or entry.get("trained_with") or arguments.get("padding") or "unknown")
    others = {option: value for option, value in values.items() if option not in _NOT_CHOSEN}
    words = [network, *(f"{short_name(option)}={value}" for option, value in others.items() if option not in chosen)]
    split = values.get(_SPLIT) or arguments_of(grid.resolved, "data").get("split")
    return Trained(
        where=root / run.cell.name,
        task=None if task is None else str(task),
        network=", ".join(words),
        padding=padding,
        split=None if split is None else str(split),
        run=replace(run, cell=Cell({PADDING: padding, SEED: run.cell.seed}), tests=_tests(root, grid, run, padding)),
        config=grid.resolved,
        chosen={option: value for option, value in others.items() if option in chosen},
    )


def _tests(root: Path, grid: Grid, run: Run, padding: str) -> dict[str | None, dict[str, float]]:
    """What a cell was tested with: its grid's tests, and beside them those with other evaluators."""
    tests: dict[str | None, dict[str, float]] = {}
    for folder in sorted((root / run.cell.name / "tests").glob("*/*")):
        kind = folder.parent.name
        if kind != grid.checkpoint and not kind.startswith(f"{grid.checkpoint}_eval"):
            continue  # of another checkpoint
        if re.search(r"_(data|model)\.", kind):
            continue  # of other data or with other options
        entry = finished_entry(folder, "test")
        if entry is not None:
            said = folder.name.removeprefix("padding=") if folder.name.startswith("padding=") else padding
            tests.setdefault(str(entry.get("tested_with") or said), {}).update(entry["metrics"])
    for tested, metrics in run.tests.items():
        tests.setdefault(padding if tested is None else tested, {}).update(metrics)
    return tests


def _read_runs(folders: Sequence[Path], found: Found) -> None:
    """Read runs that no grid holds; what was tested belongs to the run that its checkpoint is of."""
    fits: dict[Path, dict[str, Any]] = {}
    tests: list[tuple[Path, dict[str, Any]]] = []
    for folder in sorted(folders, key=_by_version):
        try:
            entries = read_results(folder / "results.json")
        except UserError as error:
            found.damaged.append(str(error))
            continue
        if "fit" in entries:
            fits[folder] = entries["fit"]
        if "test" in entries:
            tests.append((folder, entries["test"]))
    unfinished = {folder for folder, entry in fits.items() if not entry.get("finished", True)}
    found.unfinished += [Unfinished(folder, fits[folder].get("task")) for folder in sorted(unfinished)]
    by_home: dict[Path, list[tuple[Path, dict[str, Any]]]] = {folder: [] for folder in fits}
    for folder, entry in tests:
        by_home.setdefault(_home(folder, entry, fits), []).append((folder, entry))
    for home, tested in by_home.items():
        if home not in unfinished:
            found.trained.append(_of_run(home, fits.get(home), tested, found.damaged))


def _by_version(folder: Path) -> tuple[str, int, str]:
    number = folder.name.removeprefix("version_")
    return str(folder.parent), int(number) if number.isdecimal() else -1, folder.name


def _home(folder: Path, entry: Mapping[str, Any], fits: Iterable[Path]) -> Path:
    """The folder of the run that was tested: among those that are read, else as the test has it, else the test's."""
    checkpoint = entry.get("checkpoint")
    if not checkpoint:
        return folder
    path = Path(str(checkpoint))
    home = path.parent.parent if path.parent.name == "checkpoints" else path
    try:
        there = home.resolve()
    except (OSError, ValueError, RuntimeError):  # no name of a file
        return folder
    if there in fits:
        return there
    # Folders that were moved since: the same two last names.
    alike = [fit for fit in fits if fit.parts[-2:] == home.parts[-2:]]
    return alike[0] if len(alike) == 1 else there


def _of_run(
    home: Path, fit: Mapping[str, Any] | None, tested: Sequence[tuple[Path, dict[str, Any]]], damaged: list[str]
) -> Trained:
    entries = [entry for _, entry in tested]
    first = fit or entries[0]
    config = _config(home if fit is not None else tested[0][0], damaged)
    if fit is None:  # a test's schedule says nothing of training
        config = {"data": config.get("data")}
    padding = str(first.get("trained_with") or "unknown")
    tests: dict[str | None, dict[str, float]] = {}
    for entry in entries:
        tests.setdefault(str(entry.get("tested_with") or padding), {}).update(entry["metrics"])
    seed = config.get("seed_everything")
    split = arguments_of(config, "data").get("split")
    last_epochs = arguments_of(config, "results").get("last_epochs")
    task = first.get("task")
    return Trained(
        where=home,
        task=None if task is None else str(task),
        network=str(first.get("network") or "an unknown network"),
        padding=padding,
        split=None if split is None else str(split),
        run=Run(
            cell=Cell({PADDING: padding, SEED: str(home) if seed is None else str(seed)}),
            monitor=(fit or {}).get("monitor"),
            history=(fit or {}).get("history", {}),
            finished=fit is not None,
            logs=_log(home, damaged, fit.get("history_by", "epoch")) if fit is not None else {},
            tests=tests,
            failed=[],
            log=home / "log.txt",
            last_epochs=last_epochs if isinstance(last_epochs, int) and last_epochs > 0 else 5,
            history_by=(fit or {}).get("history_by", "epoch"),
        ),
        config=config,
    )


def _config(folder: Path, damaged: list[str]) -> Mapping[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        found = read_config(path)
    except (UserError, OSError) as error:
        damaged.append(f"{path} is damaged ({error})")
        return {}
    return found if isinstance(found, Mapping) else {}


def _log(folder: Path, damaged: list[str], by: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    path = folder / "metrics.csv"
    try:
        for name, when, value in logged(path, by) if path.is_file() else ():
            found.setdefault(name, {})[when] = value
    except (OSError, ValueError, OverflowError, csv.Error) as error:
        damaged.append(f"{path} is damaged ({error})")
    return found


def _refuse_twice(trained: Iterable[Trained]) -> None:
    seen: dict[tuple[Any, ...], Trained] = {}
    for one in trained:
        key = (one.task, one.network.casefold(), one.padding, one.split, one.seed)
        other = seen.setdefault(key, one)
        if other is not one:
            message = (
                f"Two runs of {one.network} with {one.padding} padding and seed {one.seed}: {other.where} and "
                f"{one.where}. Which of them counts? Name the folders of the runs that are meant with --runs."
            )
            raise UserValueError(message)
