"""What a run leaves behind that failed before its first batch: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

__all__ = ["Began", "Start"]

# What loggers and callbacks write when a run starts.
_FIRST_FILES = ("config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", ".*")


class Start:
    """Remembers which folders were not there before a run, and takes them back when it fails to start.

    Attributes:
        began: Whether a batch has been looked at, from when on all is kept.
    """

    def __init__(self) -> None:
        self.began = False
        self._new: list[list[Path]] = []

    def watch(self, folder: str | Path) -> None:
        """Remember which of a folder and those above it are missing.

        Args:
            folder: Where something of the run will be.
        """
        path = Path(folder).expanduser().absolute()
        missing = [each for each in (path, *path.parents) if not each.exists()]
        if missing:
            self._new.append(missing)

    def undo(self) -> None:
        """Remove the folders that were missing, and in them what a start writes, unless the run began.

        A folder that holds anything else stays.
        """
        for missing in [] if self.began else self._new:
            innermost = missing[0]
            for pattern in _FIRST_FILES if innermost.is_dir() else ():
                for file in innermost.glob(pattern):
                    if file.is_file():
                        file.unlink()
            for folder in (innermost / "checkpoints", *missing):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:  # somebody's files are in it
                    break


class Began(Callback):
    """Notes in a `Start` that a run has begun.

    Args:
        start: Where.
    """

    def __init__(self, start: Start) -> None:
        self.start = start

    def _note(self, *_: Any, **__: Any) -> None:
        self.start.began = True

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _note
