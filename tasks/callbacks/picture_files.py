"""Predicted pictures as files with their own names, none of which replaces another file."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from pcpad.distributed import gathered, raise_failures, rank
from pcpad.errors import UserError, UserValueError
from pcpad.files import PathName, at_home, fitting_name, refuse_replacing
from pcpad.tasks.callbacks.background import Background
from pcpad.tasks.callbacks.prediction_writer import PredictionWriter, input_files
from pcpad.terminal import say

_OPTION = "--output folder"


class PictureFiles(PredictionWriter):
    """Writes pictures named after their source files, replacing neither those nor each other.

    A subclass lists its files in `endings`, and writes them in `write`, to the paths of `targets`; slow jobs
    go to `in_background`, so that the network runs on meanwhile.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.

    Attributes:
        called: The name of the pictures in the closing message.
        folder: The folder, once predicting has started.
    """

    called = "pictures"

    def __init__(self, output: PathName | None = None) -> None:
        super().__init__(output)
        self.folder = Path()
        self._sources: dict[str, tuple[Path, str]] = {}
        self._failures: list[str] = []
        self._background: Background[Sequence[str]] | None = None

    def stem(self, source: str) -> str:
        """The name that a file's pictures are derived from."""
        return Path(source).stem

    def endings(self) -> list[str]:
        """The endings after the stem in the names of its pictures; with a folder in front, `sheets/*.png`."""
        return [".png"]

    def endings_of(self, source: str) -> list[str]:
        """The endings for the pictures of one file, equally many; the folders are those of `endings`."""
        return self.endings()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that no picture would replace a file or another picture; then make the folders.

        Raises:
            ValueError: One would.
        """
        log_folder = trainer.log_dir  # broadcast: every process must ask, exactly once
        self._sources, self._failures = {}, []
        self.folder = at_home(self.output or Path(log_folder or ".") / "predictions")
        files = list(input_files(trainer))
        for source, *_ in files:
            self._take(source)
        self._sources = {}
        outputs = (target for source, *_ in files for target in self._targets(source))
        refuse_replacing(outputs, (*self.protected, *(path for each in files for path in each)), _OPTION)
        for ending in self.endings():
            (self.folder / ending).parent.mkdir(parents=True, exist_ok=True)
        self._background = Background()

    def _targets(self, source: str) -> list[Path]:
        targets = []
        for ending in self.endings_of(source):
            folder, _, ending = ending.rpartition("*")
            targets.append(self.folder / folder / fitting_name(self.stem(source), ending))
        return targets

    def _take(self, source: str) -> list[Path]:
        targets = self._targets(source)
        for target in targets:
            # File systems without case, or that treat é and e with an accent alike, have one place for both.
            key = unicodedata.normalize("NFC", str(target)).casefold()
            other = self._sources.setdefault(key, (target, source))[1]
            if other != source:
                raise UserValueError(_collision(target, other, source))
        return targets

    def targets(self, source: str, inputs: Iterable[str] = ()) -> list[Path]:
        """The paths for the pictures of a file.

        Args:
            source: The file they are predicted from.
            inputs: Further files that they are predicted from.

        Returns:
            The files in `folder`, one for each of `endings`.

        Raises:
            ValueError: One would replace a source, or a picture predicted from another file.
        """
        targets = self._take(source)
        refuse_replacing(targets, (source, *inputs), _OPTION)
        cut = [target for target in targets if not target.name.startswith(self.stem(source))]
        if cut:
            warnings.warn(f"{source}: its name is too long for the result, which is {cut[0]}", stacklevel=3)
        return targets

    @contextmanager
    def keeping_failures(self) -> Iterator[None]:
        """Keep errors of one picture until all others are written, and warn of it."""
        try:
            yield
        except (UserError, OSError) as error:
            self._failures.append(str(error))
            warnings.warn(str(error), stacklevel=4)

    def in_background(self, job: Callable[[], Sequence[str]], size: int) -> None:
        """Write in another thread; errors are kept until all others are written, and warned of in order.

        Outside of a run it is done immediately.

        job: Writes, without reading anything that changes meanwhile; returns its warnings.
            job: Writes, without reading anything that changes meanwhile; returns its warnings.
            size: How many bytes it holds.
        """
        if self._background is None:
            with self.keeping_failures():
                self._warn(job())
            return
        self._background.submit(job, size)
        self._look_at_written()

    def _look_at_written(self, *, wait: bool = False) -> None:
        """Raise the errors of files that were written in the background.

        Raises:
            Exception: An exception of a job that is neither the user's nor the disk's fault.
        """
        for future in self._background.results(wait=wait) if self._background is not None else ():
            with self.keeping_failures():
                self._warn(future.result())

    @staticmethod
    def _warn(notes: Sequence[str]) -> None:
        for note in notes:
            warnings.warn(note, stacklevel=2)

    def finish_writing(self) -> None:
        """Wait for all files written in the background; at the end, and before anything is counted."""
        background = self._background
        if background is not None:
            try:
                background.close()
                self._look_at_written(wait=True)
            finally:
                self._background = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is predicted already when an error ends the run; only that error is reported."""
        with suppress(Exception):
            self.finish_writing()

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for what is not written yet."""
        self.finish_writing()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop with an error if pictures could not be written, when all others are; after the data's own errors.

        Raises:
            ValueError: Some could not be written; names each.
        """
        if stage != "predict":
            return
        self.finish_writing()
        parts = gathered(self._sources)
        for other in parts[1:] if not rank() else []:
            both = ((target, parts[0].setdefault(key, (target, of))[1], of) for key, (target, of) in other.items())
            self._failures += [_collision(target, *sources) for target, *sources in both if sources[0] != sources[1]]
        raise_failures(self._failures, "pictures could not be written", UserValueError)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how many there are, over all processes, and where."""
        count = sum(gathered(len({source for _, source in self._sources.values()})))
        if count and trainer.is_global_zero:
            say(f"{count} {self.called}: {self.folder}")


def _collision(target: Path, one: str, other: str) -> str:
    return f"{one} and {other} would both be written to {target}: rename one of them"
