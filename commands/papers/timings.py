"""What `pcpad bench --json` wrote, for the papers' tables of times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import UNREADABLE
from pcpad.errors import UserValueError
from pcpad.files import read_bytes

__all__ = ["Timing", "read_timings"]


@dataclass(frozen=True)
class Timing:
    """One network's times.

    Args:
        where: The file.
        network: The network.
        setup: Input and machine, in words.
        comparable: Whether it is the papers' setting: inference of one image of 224 pixels, eager, in float32.
        milliseconds: By padding; `partial, first call` and `partial, later calls` apart.
        relative: To zero padding, likewise.
    """

    where: Path
    network: str
    setup: str
    comparable: bool
    milliseconds: dict[str, float]
    relative: dict[str, float]


def read_timings(path: Path) -> list[Timing]:
    """Read a file of `pcpad bench --json`.

    Args:
        path: The file.

    Returns:
        One timing for each setting.

    Raises:
        UserValueError: It is no such file, or damaged.
    """
    try:
        content = json.loads(read_bytes(path))
        machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
        settings: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in content["rows"]:
            setting = tuple(str(row[name]) for name in ("mode", "batch", "backend", "layout", "dtype"))
            settings.setdefault(setting, []).append(row)
        size = [int(side) for side in content["size"]]
        return [_timing(path, str(content["network"]), size, machine, key, rows) for key, rows in settings.items()]
    except (*UNREADABLE, AttributeError, KeyError, TypeError, IndexError) as error:
        message = (
            f"{path} is damaged, or no file that `pcpad bench --json FILE` wrote ({type(error).__name__}: {error}). "
            "Of trained networks --runs takes folders."
        )
        raise UserValueError(message) from error


def _timing(
    path: Path, network: str, size: Sequence[int], machine: str, setting: tuple[str, ...], rows: list[dict[str, Any]]
) -> Timing:
    mode, batch, backend, layout, dtype = setting
    sides = "x".join(map(str, size))
    measured = [row for row in rows if row["milliseconds"] is not None]
    return Timing(
        where=path,
        network=network,
        setup=f"{mode}, batch {batch} of {sides}, {backend}, {layout}, {dtype}; {machine}",
        comparable=(mode, batch, backend, dtype, list(size)) == ("inference", "1", "eager", "float32", [224, 224]),
        milliseconds={str(row["padding"]): float(row["milliseconds"]) for row in measured},
        relative={str(row["padding"]): float(row["relative"][0]) for row in measured},
    )
