"""Predictions that are pictures, as files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from pcpad.errors import UserValueError
from pcpad.tasks.callbacks.prediction_writer import PredictionWriter


class PictureFiles(PredictionWriter):
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
        super().__init__(output)
        self.folder = Path()
        self._sources: dict[Path, str] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        log_folder = trainer.log_dir  # broadcast: every process has to ask, and just once
        self._sources = {}
        self.folder = Path(self.output or Path(log_folder or ".") / "predictions").expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)

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
