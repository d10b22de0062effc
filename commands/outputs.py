"""Refuse, before any work, to write over a file that the command reads."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pcpad.errors import UserValueError
from pcpad.files import at_home, refuse_replacing

__all__ = ["checkpoint_files", "named_files", "refuse_figure", "refuse_within", "run_files"]

# What a run's callbacks write into its log folder, and into the folder of its checkpoints.
_IN_LOG_FOLDER = (
    "config.yaml",
    "hparams.yaml",
    "metrics.csv",
    "results.json",
    "evaluation.csv",
    "inpainting.csv",
    "leave_out.png",
    "predictions.csv",
)
_OUTPUTS = ("output", "dirpath")
_CHECKPOINTS = ("best.ckpt", "last.ckpt")


def named_files(values: Any) -> Iterator[Path]:
    """The existing files that a configuration names, whichever options name them.

    Args:
        values: A configuration, or a part of it.

    Yields:
        Each of them, except those of options that say where to write; for a pattern with `{split}` the files of all
        splits.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key not in _OUTPUTS:
                yield from named_files(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from named_files(value)
    elif isinstance(values, (str, Path)) and str(values).strip():
        names = [str(values).replace("{split}", split) for split in ("train", "val", "test")]
        for name in dict.fromkeys(names):
            try:
                path = Path(name).expanduser()
                there = path.is_file()
            except (OSError, ValueError, RuntimeError):  # no name of a file: too long, `~nobody`, a null byte
                continue
            if there:
                yield path


def run_files(log_folder: str | None) -> list[Path]:
    """The files that a run may write into its log folder; without a logger that may be a folder of the user's."""
    return [Path(log_folder, name) for name in _IN_LOG_FOLDER] if log_folder else []


def checkpoint_files(folder: str | None, log_folder: str | None) -> list[Path]:
    """What training writes into the folder of checkpoints, `checkpoints` in the log folder when not given."""
    if folder is None and log_folder is not None:
        folder = str(Path(log_folder, "checkpoints"))
    return [Path(folder, name) for name in _CHECKPOINTS] if folder else []


def refuse_within(outputs: Iterable[Path], folder: str | Path) -> None:
    """Refuse to replace a file of a folder that data is read from.

    Args:
        outputs: What will be written.
        folder: Of the data.

    Raises:
        UserValueError: One of them is there already.
    """
    home = at_home(folder).resolve()
    if Path.cwd().is_relative_to(home):  # no folder of data, or all that there is lies in it
        return
    for output in outputs:
        if output.exists() and output.resolve().is_relative_to(home):
            message = f"{output} would replace a file of {folder}, where data is read from: pass another --output FILE"
            raise UserValueError(message)


def refuse_figure(given: Namespace) -> None:
    """Refuse a figure, or a table beside it, in place of what it is drawn from.

    Args:
        given: The parsed options, `output` among them.

    Raises:
        UserValueError: It would replace a checkpoint, a picture, a file of a folder that is read.
    """
    values = dict(vars(given))
    output = Path(values.pop("output"))
    outputs = [output, output.with_suffix(".csv")]  # one figure writes its numbers, too
    refuse_replacing(outputs, named_files(values))
    data = values.get("data_options") or {}
    for folder in (values.get("maps"), *data.values()):
        if isinstance(folder, (str, Path)) and at_home(folder).is_dir():
            refuse_within(outputs, folder)
