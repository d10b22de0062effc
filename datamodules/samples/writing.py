"""Write a sample data set completely or not at all, and never over the user's files."""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pcpad.errors import UserFileExistsError
from pcpad.files import at_home, read_text

MARKER = "pcpad_sample.json"
"""The file that marks a folder as a sample data set, with its settings."""


@dataclass(frozen=True)
class SampleSummary:
    """Summary of a sample data set.

    Attributes:
        name: The sample's name.
        root: The folder, absolute.
        counts: Files in each split.
        written: False if the complete data set already existed.
    """

    name: str
    root: Path
    counts: Mapping[str, int]
    written: bool

    def __str__(self) -> str:
        """One line about what was written where."""
        counts = ", ".join(f"{count} {split}" for split, count in self.counts.items())
        return f"{self.name}: {counts} in {self.root}{'' if self.written else ' (already there)'}"


def write_once(
    root: str | Path,
    name: str,
    settings: Mapping[str, object],
    fill: Callable[[Path], Mapping[str, int]],
) -> SampleSummary:
    """Write a sample data set to a new folder atomically.

    The data is written to a hidden folder next to `root`, which is then renamed, so that a killed run leaves no
    partial data set at `root`.

    Args:
        root: The folder to write: a new one, an empty one, or one with the same sample (then nothing is done).
        name: The sample's name.
        settings: The settings that determine the content, as JSON types.
        fill: Writes the data set to the given folder; returns the number of files per split, which is a folder.

    Returns:
        A summary of the data set.

    Raises:
        FileExistsError: `root` is a file, or holds something else, the sample with other settings, or only part
            of it.
    """
    root = at_home(root).resolve()
    found = _find(root, name, settings)
    if found is not None:
        return found
    root.parent.mkdir(parents=True, exist_ok=True)
    building = root.with_name(f".pcpad-{uuid.uuid4().hex}.partial")  # `root.name` may be as long as names can be
    building.mkdir()
    try:
        counts = dict(fill(building))
        facts = {"sample": name, "settings": dict(settings), "counts": counts}
        (building / MARKER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        if root.is_dir():
            root.rmdir()  # it is empty; Windows cannot rename over a folder
        building.rename(root)
    except OSError:
        # Another process may have finished first, with the same result.
        found = _find(root, name, settings)
        if found is None:
            raise
        return found
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return SampleSummary(name, root, counts, written=True)


def _find(root: Path, name: str, settings: Mapping[str, object]) -> SampleSummary | None:
    """Return the sample in `root`, or None if it can be written there; refuse everything else."""
    if root.is_file():
        message = f"{root} is a file: name a folder for the sample {name!r}"
        raise UserFileExistsError(message)
    if not root.is_dir() or not any(root.iterdir()):
        return None
    advice = "Name another folder, or remove this one."
    try:
        facts = json.loads(read_text(root / MARKER))
        sample, old, counts = facts["sample"], facts["settings"], facts["counts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{root} is not empty and was not written by `pcpad sample`: nothing was changed. {advice}"
        raise UserFileExistsError(message) from error
    if (sample, old) != (name, dict(settings)):
        message = f"{root} holds the sample {sample!r} with {old}, not {name!r} with {dict(settings)}. {advice}"
        raise UserFileExistsError(message)
    for split, count in counts.items():
        have = sum(1 for path in (root / split).rglob("*") if path.is_file())
        if have != count:
            message = f"{root / split} has {have} files, but {count} were written there. {advice}"
            raise UserFileExistsError(message)
    return SampleSummary(name, root, counts, written=False)
