"""Filled images as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image, ImageOps


class InpaintedPictures(Callback):
    """Writes each composite as a PNG file under its picture's name: valid pixels are the file's own.

    Args:
        output: The folder; `inpainted` in the run's log folder when not given.
    """

    def __init__(self, output: str | None = None) -> None:
        self.output = output
        self._folder = Path()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder."""
        folder = trainer.log_dir  # broadcast: every process has to ask
        self._folder = Path(self.output) if self.output else Path(folder or ".") / "inpainted"
        self._folder.mkdir(parents=True, exist_ok=True)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch's pictures."""
        for path, image, mask in zip(outputs["path"], outputs["image"], outputs["mask"], strict=True):
            with Image.open(path) as file:
                original = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
            filled = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            valid = mask.bool().cpu().numpy()[0, ..., None]
            Image.fromarray(np.where(valid, original, filled)).save(self._folder / f"{Path(path).stem}.png")
