"""Predictions that are pictures, as files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from pcpad.distributed import gathered, raise_failures, rank
from pcpad.errors import UserError, UserValueError
from pcpad.tasks.callbacks.prediction_writer import PredictionWriter
from pcpad.terminal import say


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
        self._failures: list[str] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        log_folder = trainer.log_dir  # broadcast: every process has to ask, and just once
        self._sources, self._failures = {}, []
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
            raise UserValueError(_collision(target, self._sources[target], source))
        for path in (source, *inputs):
            if target.exists() and Path(path).exists() and target.samefile(path):
                message = f"{target} would replace the input {path}: pass another --output folder"
                raise UserValueError(message)
        return target

    @contextmanager
    def keeping_failures(self) -> Iterator[None]:
        """Keep what goes wrong with one picture until all others are written, and warn of it."""
        try:
            yield
        except (UserError, OSError) as error:
            self._failures.append(str(error))
            warnings.warn(str(error), stacklevel=4)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop with an error where pictures could not be written, when all others are; after the data's own.

        Raises:
            ValueError: Some could not; names each.
        """
        if stage != "predict":
            return
        parts = gathered(self._sources)
        for other in parts[1:] if not rank() else []:
            both = ((target, parts[0].setdefault(target, source), source) for target, source in other.items())
            self._failures += [_collision(target, *sources) for target, *sources in both if sources[0] != sources[1]]
        raise_failures(self._failures, "pictures could not be written", UserValueError)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there are, over all processes, and where."""
        count = sum(gathered(len(set(self._sources.values()))))
        if count and trainer.is_global_zero:
            say(f"{count} {self.called}: {self.folder}")


def _collision(target: Path, one: str, other: str) -> str:
    return f"{one} and {other} would both be written to {target}: rename one of them"
