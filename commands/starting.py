"""A run's folder is its own, and nothing is left of one that failed before its first batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from pcpad.errors import UserRuntimeError
from pcpad.files import at_home

__all__ = ["Began", "Start"]

# What loggers and callbacks write when a run starts.
_FIRST_FILES = ("config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", ".*")
_PATIENCE = 100  # times that a folder may vanish between two lines


class Start:
    """Takes folders for a run, remembers which were not there before, and removes them when it fails to start.

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
        missing = _missing(at_home(folder).absolute())
        if missing:
            self._new.append(missing)

    def take(self, logger: Logger) -> None:
        """Make the next `version_N` of a logger, which no other run has or gets, however close they start.

        Lightning counts the folders that are there and makes its own later, so that runs started by one script share
        one, and each replaces the other's results.

        Args:
            logger: Left as it is where it counts no versions, or was told which to use; and in all processes of a run
                but the first, which learn the number by `Began`.

        Raises:
            UserRuntimeError: The folder cannot be made.
        """
        if not _counts(logger) or vars(logger)["_version"] is not None or not _is_first():
            return
        if "://" in str(logger.save_dir):  # no folder of this machine
            return
        vanished = 0
        while True:
            folder = Path(logger.log_dir).absolute()  # type: ignore[arg-type]  # these two have one
            missing = _missing(folder)
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
            except OSError as error:
                if isinstance(error, FileExistsError) and folder.parent.is_dir():
                    logger._version = int(logger.version) + 1  # type: ignore[attr-defined, arg-type]
                    continue
                vanished += 1
                # Between the two lines another run may have failed to start, and removed its folders.
                if isinstance(error, FileNotFoundError) and vanished < _PATIENCE:
                    continue
                message = (
                    f"The run's folder {folder} cannot be made ({error.strerror}): name another place with "
                    "--trainer.default_root_dir FOLDER"
                )
                raise UserRuntimeError(message) from error
            self._new.append(missing)
            return

    def undo(self) -> None:
        """Remove the folders that were missing, and in them what a start writes, unless the run began.

        A folder that holds anything else stays.
        """
        for missing in [] if self.began else reversed(self._new):
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


def _missing(path: Path) -> list[Path]:
    """Which of a folder and those above it are not there, the innermost first."""
    return [each for each in (path, *path.parents) if not each.exists()]


def _counts(logger: Logger) -> bool:
    return isinstance(logger, TensorBoardLogger | CSVLogger)


def _is_first() -> bool:
    """Whether this is the first of a run's processes, as far as the environment tells before they have met."""
    first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]  # set when Lightning is imported
    return first and LightningEnvironment().node_rank() == 0


class Began(Callback):
    """Notes in a `Start` that a run has begun, and tells all of its processes which folders the first has taken.

    Args:
        start: Where.
    """

    def __init__(self, start: Start) -> None:
        self.start = start

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Share the loggers' versions."""
        for logger in filter(_counts, trainer.loggers):
            logger._version = trainer.strategy.broadcast(logger.version)  # type: ignore[attr-defined]

    def _note(self, *_: Any, **__: Any) -> None:
        self.start.began = True

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _note
