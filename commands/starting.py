"""Each run gets a folder of its own, which is removed if the run fails before its first batch."""

from __future__ import annotations

from collections.abc import Callable
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
_PATIENCE = 100  # how often a folder may vanish between two calls


class Start:
    """Creates the folders of a run, remembers which are new, and removes those if the run fails to start.

    Args:
        on_training: Called when the first training batch starts.

    Attributes:
        began: Whether the first batch has started; from then on everything is kept.
    """

    def __init__(self, on_training: Callable[[], None] | None = None) -> None:
        self.began = False
        self._on_training = on_training
        self._new: list[list[Path]] = []

    def train(self) -> None:
        """Note that a training batch starts."""
        self.began = True
        if self._on_training is not None:
            self._on_training()
            self._on_training = None

    def watch(self, folder: str | Path) -> None:
        """Remember which of a folder and its parents are missing.

        Args:
            folder: Where something of the run will be.
        """
        missing = _missing(at_home(folder).absolute())
        if missing:
            self._new.append(missing)

    def take(self, logger: Logger) -> None:
        """Create the next `version_N` of a logger, which no other run gets even if both start at the same time.

        Lightning counts the existing folders and creates its own later, so runs that one script starts together would
        share a folder and replace each other's results.

        Args:
            logger: Left as it is if it counts no versions or was given one, and in all processes of a run but the
                first: the others get the number from `Began`.

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
                # Between the two calls another run may have failed to start, and removed its folders.
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
        """Remove the new folders with what a starting run writes into them, unless the run has begun.

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
    """The missing ones of a folder and its parents, the innermost first."""
    return [each for each in (path, *path.parents) if not each.exists()]


def _counts(logger: Logger) -> bool:
    return isinstance(logger, TensorBoardLogger | CSVLogger)


def _is_first() -> bool:
    """Whether this is the first of a run's processes, as far as the environment tells before they are connected."""
    first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]  # set when Lightning is imported
    return first and LightningEnvironment().node_rank() == 0


class Began(Callback):
    """Records in a `Start` that a run has begun, and tells all its processes which folders the first one created.

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

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Note it, and that this is training."""
        self.start.train()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _note
