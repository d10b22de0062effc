"""Predictions that are pictures, as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from pcpad.errors import UserValueError


class PictureFiles(BasePredictionWriter, ABC):
    """Writes pictures named after the files they are predicted from, replacing neither those nor each other.

    A subclass writes them in `write`, to where `target` says.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.

    Attributes:
        called: What the pictures are called when all are written.
        folder: Where they go, once predicting has started.
    """

    called = "pictures"

    def __init__(self, output: str | Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.folder = Path()
        self._sources: dict[Path, str] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        log_folder = trainer.log_dir  # broadcast: every process has to ask, and just once
        self._sources = {}
        self.folder = Path(self.output or Path(log_folder or ".") / "predictions").expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Any],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the pictures of one batch."""
        self.write(trainer, pl_module, prediction, batch)

    @abstractmethod
    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write the pictures of one batch.

        Args:
            trainer: The trainer.
            pl_module: The task.
            prediction: What it predicts.
            batch: What it predicts that from.
        """

    def target(self, name: str, source: str, inputs: Iterable[str] = ()) -> Path:
        """Where to write a picture.

        Args:
            name: Of the picture.
            source: The file it is predicted from.
            inputs: Further files that it is predicted from.

        Returns:
            The file in `folder`.

        Raises:
            ValueError: It would replace one of them, or what was predicted from another.
        """
        target = self.folder / name
        if self._sources.setdefault(target, source) != source:
            message = f"{self._sources[target]} and {source} would both be written to {target}: rename one of them"
            raise UserValueError(message)
        for path in (source, *inputs):
            if target.exists() and Path(path).exists() and target.samefile(path):
                message = f"{target} would replace the input {path}: pass another --output folder"
                raise UserValueError(message)
        return target

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there are, and where."""
        if self._sources:
            print(f"{len(set(self._sources.values()))} {self.called}: {self.folder}")
