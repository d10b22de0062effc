"""Where a grid's cells are run: on this machine, as Ray tasks, as jobs of SLURM."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pcpad.commands.comparison.grid import Cell, Grid
from pcpad.commands.comparison.remote import Engine, run_on
from pcpad.commands.comparison.running import run_cells
from pcpad.commands.parser import count
from pcpad.errors import UserValueError


def add_engines(parser: argparse.ArgumentParser) -> None:
    """Add `--on` and what belongs to it."""
    add = parser.add_argument
    add("--jobs", type=int, default=1, metavar="N", help="runs side by side, which share out the GPUs (default: 1)")
    text = "run all runs, even if two end with the same error before their first training step (default: runs that "
    text += "would share this error are skipped, and with --on their jobs are canceled)"
    add("--keep-going", action="store_true", help=text)
    text = "run on several machines, which share the folder: as Ray tasks, or as a SLURM job array"
    add("--on", choices=("ray", "slurm"), help=text)
    text = "of a Ray cluster (default: one of this machine alone, at 127.0.0.1); whoever reaches a cluster without a "
    text += "token can run code on it"
    add("--address", metavar="HOST:PORT", help=text)
    add("--cell-cpus", type=count, default=1, metavar="N", help="CPUs of each run, with --on (default: 1)")
    text = "GPUs of each run, with --on (default: as many as trainer.devices, else 1; 0 with trainer.accelerator=cpu)"
    add("--cell-gpus", type=int, metavar="N", help=text)
    text = "a parameter of submitit's, such as partition=gpu or timeout_min=600 (of each run; default: 1440); "
    text += "cluster=local tries it on this machine; repeatable"
    add("--slurm", action="append", default=[], metavar="NAME=VALUE", help=text)


def check_engine(given: argparse.Namespace) -> None:
    """Raise an error if an option has no effect where the cells are run.

    Raises:
        UserValueError: One is wrong, or has no effect.
    """
    if given.jobs < 1:
        message = f"--jobs must be at least 1, got {given.jobs}"
        raise UserValueError(message)
    if given.cell_gpus is not None and given.cell_gpus < 0:
        message = f"--cell-gpus must be 0 or more, got {given.cell_gpus}"
        raise UserValueError(message)
    asked = {
        "--address": (given.address is not None, ("ray",)),
        "--slurm": (bool(given.slurm), ("slurm",)),
        "--cell-cpus": (given.cell_cpus != 1, ("ray", "slurm")),
        "--cell-gpus": (given.cell_gpus is not None, ("ray", "slurm")),
        "--jobs": (given.jobs != 1, (None,)),
    }
    for option, (typed, engines) in asked.items():
        if typed and given.on not in engines:
            needs = " or ".join(f"--on {name}" for name in engines if name) or "no --on: engines do the sharing"
            message = f"{option} has no effect here: it needs {needs}"
            raise UserValueError(message)
    runs = f"--on {given.on}" if given.on else "--keep-going" if given.keep_going else None
    if runs is not None and (given.list or given.report):
        message = f"{runs} runs cells, and {'--list' if given.list else '--report'} runs none: leave one out"
        raise UserValueError(message)


@contextmanager
def engine(given: argparse.Namespace, grid: Grid) -> Iterator[Callable[[Path, Grid, Sequence[Cell]], list[str]]]:
    """What runs cells, as the command line says.

    Args:
        given: The options.
        grid: The grid.

    Yields:
        A function of the grid's folder, the grid and its cells; it returns what is said of those that were not run.

    Raises:
        UserValueError: Cells of several machines are asked for, or what no machine has.
        UserModuleNotFoundError: The engine is not installed.
    """
    if given.on is None:
        gpus = _gpus_here(grid) if given.jobs > 1 else 0
        yield partial(run_cells, jobs=given.jobs, gpus=gpus, keep_going=given.keep_going)
        return
    if grid.resolved.get("trainer", {}).get("num_nodes", 1) != 1:
        message = f"--on {given.on} gives each run one machine: trainer.num_nodes must be 1"
        raise UserValueError(message)
    gpus = gpus_of_cell(grid) if given.cell_gpus is None else given.cell_gpus
    made: Engine
    if given.on == "ray":
        from pcpad.commands.comparison.on_ray import OnRay

        made = OnRay(given.output, grid, given.cell_cpus, gpus, given.address, exact=given.cell_gpus is not None)
    else:
        from pcpad.commands.comparison.on_slurm import OnSlurm

        made = OnSlurm(given.output, grid, given.cell_cpus, gpus, given.slurm)
    try:
        yield partial(run_on, made, keep_going=given.keep_going)
    finally:
        made.close()


def gpus_of_cell(grid: Grid) -> int:
    """How many GPUs each run of a grid uses according to its configuration; one if that does not say."""
    trainer = grid.resolved.get("trainer", {})
    devices = trainer.get("devices", "auto")
    if trainer.get("accelerator") == "cpu":
        return 0
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 1


def _gpus_here(grid: Grid) -> int:
    """The number of GPUs that parallel runs share."""
    import torch

    return 0 if grid.resolved.get("trainer", {}).get("accelerator") == "cpu" else torch.cuda.device_count()
