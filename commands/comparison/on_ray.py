"""A grid's cells as Ray tasks.

Whoever reaches a Ray cluster without a token can run code on it. So one that is started here listens at 127.0.0.1
alone, has no dashboard, and takes a token that is made up for it; another is used only where its address is typed.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import Cell, Grid
from pcpad.commands.comparison.remote import RETRIES, LostError, run_here
from pcpad.errors import UserModuleNotFoundError, UserRuntimeError, UserValueError

_LOOPBACK = "127.0.0.1"


class OnRay:
    """Ray's tasks; see `pcpad.commands.comparison.remote.Engine`. Ray itself runs those again whose machine was lost.

    Args:
        root: The grid's folder.
        grid: The grid.
        cpus: Of each cell.
        gpus: Of each cell.
        address: Of a cluster; None to start one on this machine.
        exact: Whether somebody asked for these GPUs; else a cluster without any does without.

    Raises:
        UserModuleNotFoundError: Ray is not installed.
        UserRuntimeError: The cluster is not there, or would listen to other machines.
        UserValueError: No machine of the cluster has that many CPUs and GPUs.
    """

    name = "ray"
    retries = 0

    def __init__(
        self, root: Path, grid: Grid, cpus: int, gpus: int, address: str | None = None, *, exact: bool = False
    ) -> None:
        self.root = root
        self.grid = grid
        self._ray = ray = _connected(address)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if not exact and not any(node.get("GPU", 0) for node in nodes):
                gpus = 0
            if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
                there = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
                message = f"No machine of the Ray cluster has {cpus} CPUs and {gpus} GPUs for a run: they have {there}"
                raise UserValueError(message)
        except BaseException:
            self.close()
            raise
        spread = {"max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, **spread)(run_here)

    def submit(self, cells: Sequence[Cell]) -> list[Any]:
        """Start a task for each of some cells."""
        home = str(Path.cwd())
        return [
            self._task.options(name=cell.name).remote(str(self.root), cell.name, self.grid.tests, home)
            for cell in cells
        ]

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that came to their end, within a second."""
        return self._ray.wait(list(handles), num_returns=1, timeout=1.0)[0] if handles else []

    def result(self, handle: Any) -> tuple[int, float]:
        """What a cell's task returned."""
        try:
            ended: tuple[int, float] = self._ray.get(handle)
            return ended
        except self._ray.exceptions.RayTaskError as error:
            message = f"Ray task: {error.cause if error.cause is not None else error}"
            raise UserRuntimeError(message) from error
        except self._ray.exceptions.RayError as error:
            raise LostError(str(error)) from error

    def cancel(self, handles: Sequence[Any]) -> None:
        """End tasks, and the cells that they run."""
        for handle in handles:
            self._ray.cancel(handle, force=True)

    def close(self) -> None:
        """Leave the cluster, which ends one that was started here."""
        self._ray.shutdown()


def _connected(address: str | None) -> Any:
    # Before the import, which reads them. Nothing is sent to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None or address.rpartition(":")[0] in (_LOOPBACK, "localhost"):
        # Ray's switch for systems whose firewalls ask about clusters: without it even one machine's own listens to all,
        # and one that listens to this machine alone is looked for elsewhere.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not os.environ.get("RAY_AUTH_TOKEN"):  # Ray reads it once in a process: a second cluster has the first one's
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        message = "--on ray needs Ray: pip install 'pcpad[ray]', on all machines of the cluster"
        raise UserModuleNotFoundError(message) from error
    said: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address is not None:
            ray.init(address=address, **said)
        else:
            ray.init(address="local", include_dashboard=False, **said)
    except (ConnectionError, RuntimeError, ValueError) as error:
        message = f"No Ray cluster at {address or _LOOPBACK}: {error}"
        raise UserRuntimeError(message) from error
    if address is None and any(node["NodeManagerAddress"] != _LOOPBACK for node in ray.nodes()):
        ray.shutdown()
        message = (
            f"This version of Ray ({ray.__version__}) does not keep a local cluster to {_LOOPBACK}: use --jobs, or "
            "start a cluster behind a firewall and give its --address"
        )
        raise UserRuntimeError(message)
    return ray
