"""A grid's cells as a SLURM job array, by submitit.

submitit hands jobs over as pickles, and loading a pickle runs what is in it. They lie in the grid's own folder, under
`.slurm`, which nobody else may enter.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import Cell, Grid
from pcpad.commands.comparison.remote import RETRIES, LostError, run_here
from pcpad.errors import UserFileExistsError, UserModuleNotFoundError, UserRuntimeError, UserValueError

JOBS_FOLDER = ".slurm"
# Those of submitit's that are the same for all of its executors; the others are SLURM's.
_SHARED = ("timeout_min", "mem_gb")
_MINUTES = 24 * 60  # submitit's default is 5


@dataclass(frozen=True)
class CellJob:
    """What a job does, and does again after its time was over or the machine was wanted for something else.

    Args:
        root: The grid's folder.
        name: The cell's name.
        tests: The grid's `tests`.
        home: The folder that relative paths are relative to.
    """

    root: str
    name: str
    tests: Mapping[str, Any]
    home: str

    def __call__(self) -> tuple[int, float]:
        """Run the cell; see `pcpad.commands.comparison.remote.run_here`."""
        return run_here(self.root, self.name, self.tests, self.home)

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again: the cell goes on from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class OnSlurm:
    """Jobs of SLURM; see `pcpad.commands.comparison.remote.Engine`.

    Args:
        root: The grid's folder.
        grid: The grid.
        cpus: Of each cell.
        gpus: Of each cell.
        typed: `NAME=VALUE` each, submitit's parameters; `cluster=local` runs jobs on this machine.

    Raises:
        UserModuleNotFoundError: submitit is not installed.
        UserRuntimeError: There is no SLURM here.
        UserValueError: A parameter is none of submitit's.
        UserFileExistsError: Others may enter the folder of the jobs.
    """

    name = "slurm"
    retries = RETRIES

    def __init__(self, root: Path, grid: Grid, cpus: int, gpus: int, typed: Sequence[str] = ()) -> None:
        try:
            import submitit
        except ModuleNotFoundError as error:
            if error.name != "submitit":
                raise
            message = "--on slurm needs submitit: pip install 'pcpad[slurm]'"
            raise UserModuleNotFoundError(message) from error
        self.root = root
        self.grid = grid
        self._errors = submitit.core.utils.UncompletedJobError
        parameters = _parameters(typed)
        cluster = parameters.pop("cluster", "slurm")
        if cluster not in ("slurm", "local"):
            message = f"--slurm cluster={cluster}: expected slurm or local"
            raise UserValueError(message)
        folder = own_folder(root / JOBS_FOLDER)
        try:
            self._executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        except RuntimeError as error:
            message = f"No SLURM on this machine ({error}); --slurm cluster=local tries the same without it"
            raise UserRuntimeError(message) from error
        shared = {name: parameters.pop(name) for name in _SHARED if name in parameters}
        given = {"name": "pcpad", "timeout_min": _MINUTES, "cpus_per_task": cpus, "gpus_per_node": gpus, **shared}
        try:
            self._executor.update_parameters(**given, **{f"slurm_{key}": value for key, value in parameters.items()})
        except (NameError, ValueError, TypeError) as error:
            message = f"--slurm: {error}"
            raise UserValueError(message) from error

    def submit(self, cells: Sequence[Cell]) -> list[Any]:
        """Put cells into the queue, as one job array."""
        # `python -m`, by which submitit starts jobs, puts the current folder's modules before Python's own.
        os.environ["PYTHONSAFEPATH"] = "1"
        jobs = [CellJob(str(self.root), cell.name, self.grid.tests, str(Path.cwd())) for cell in cells]
        with self._executor.batch():
            return [self._executor.submit(job) for job in jobs]

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that came to their end, after a second."""
        time.sleep(1)
        return [job for job in handles if job.done()]

    def result(self, handle: Any) -> tuple[int, float]:
        """What a cell's job returned."""
        try:
            ended: tuple[int, float] = handle.result()
            return ended
        except self._errors as error:  # a failed one is one too
            if "FileNotFoundError: This machine has no" in str(error):
                message = str(error).partition("FileNotFoundError: ")[2].splitlines()[0]
                raise UserRuntimeError(message) from error
            raise LostError(str(error)) from error

    def cancel(self, handles: Sequence[Any]) -> None:
        """Take jobs out of the queue, and end those that run."""
        for job in handles:
            job.cancel(check=False)

    def close(self) -> None:
        """Nothing was started."""


def _parameters(typed: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in typed:
        name, equals, value = each.partition("=")
        if not name or not equals:
            message = f"Expected --slurm NAME=VALUE such as partition=gpu, but got {each!r}"
            raise UserValueError(message)
        found[name] = int(value) if value.isdecimal() else value
    return found


def own_folder(path: Path) -> Path:
    """A folder that nobody else may enter, made if missing.

    Args:
        path: The folder.

    Returns:
        The same.

    Raises:
        UserFileExistsError: It is a link, or somebody else's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        message = f"{path} must be a folder of your own: jobs are read from it, and run. Remove it"
        raise UserFileExistsError(message)
    path.chmod(0o700)  # one made before, or under an unusual umask
    return path
