"""The base class of writers of predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from pcpad.files import PathName

__all__ = ["PredictionWriter", "input_files"]


def input_files(trainer: Trainer) -> Iterator[Sequence[str]]:
    """The files that are predicted from, as far as the data sets state them.

    Args:
        trainer: With its loaders.

    Yields:
        What `input_files()` of each data set yields: for each sample its file, then others that belong to it.
    """
    loaders = trainer.predict_dataloaders
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        listed = getattr(getattr(loader, "dataset", None), "input_files", None)
        if listed is not None:
            yield from listed()


class PredictionWriter(BasePredictionWriter, ABC):
    """Takes each batch's predictions as they come; a subclass keeps or writes them in `write`.

    Args:
        output: The value of `--output`; None for a place in the run's log folder.

    Attributes:
        protected: Further files that must not be overwritten: the checkpoint, configurations.
    """

    def __init__(self, output: PathName | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.protected: Sequence[str | Path] = ()

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
        """Lightning's hook."""
        self.write(trainer, pl_module, prediction, batch)

    @abstractmethod
    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Keep or write the predictions of one batch.

        Args:
            trainer: The trainer.
            pl_module: The task.
            prediction: Its prediction.
            batch: The batch.
        """
