"""Synthesized pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from pcpad.tasks.sheets import save_png

_LABEL = "_labelIds"


class SynthesizedPictures(BasePredictionWriter):
    """Writes `NAME.png` for each `NAME_labelIds.png`.

    A prediction is a dict: `path`, a list of the label maps' names, and `image` (N, 3, H, W) uint8.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    def __init__(self, output: str | Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.folder: Path | None = None
        self._written: dict[Path, str] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the folder."""
        log_folder = trainer.log_dir  # broadcast: every process has to ask
        self._written = {}
        self.folder = Path(self.output or Path(log_folder or ".") / "predictions").expanduser()

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
        """Write the pictures of one batch.

        Raises:
            ValueError: Two pictures have one name, or one would replace its map.
        """
        assert self.folder is not None
        for name, image in zip(prediction["path"], prediction["image"], strict=True):
            target = self.folder / f"{Path(name).stem.removesuffix(_LABEL)}.png"
            if self._written.setdefault(target, name) != name:
                message = f"{self._written[target]} and {name} would both be written to {target}: rename one of them"
                raise ValueError(message)
            if target.exists() and Path(name).exists() and target.samefile(name):
                message = f"{target} would replace the label map it is made from: pass another --output folder"
                raise ValueError(message)
            save_png(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()), target)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there are, and where."""
        if self._written:
            print(f"{len(self._written)} synthesized pictures: {self.folder}")
