"""Predicted segmentations as pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image


class LabelMaps(BasePredictionWriter):
    """Writes three PNGs a picture, at its size: `NAME.png` (class indices), `NAME_colour.png`, `NAME_overlay.png`.

    Colours are the data module's `class_colours` where it has them, else evenly spread hues.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    def __init__(self, output: str | Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self._written: dict[Path, str] = {}

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
            ValueError: Two pictures have one name, so that one's maps would replace the other's.
        """
        folder = Path(self.output or Path(trainer.log_dir or ".") / "predictions").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        colours = palette(pl_module.num_classes, getattr(trainer.datamodule, "class_colours", None))  # type: ignore
        images = batch["image"].permute(0, 2, 3, 1).cpu().numpy()
        for name, label, image in zip(prediction["path"], prediction["label"].cpu().numpy(), images, strict=True):
            target = folder / f"{Path(name).stem}.png"
            if self._written.setdefault(target, name) != name:
                message = f"{self._written[target]} and {name} would both be written to {target}: rename one of them"
                raise ValueError(message)
            coloured = colours[label]
            Image.fromarray(label).save(target)
            Image.fromarray(coloured).save(target.with_stem(f"{target.stem}_colour"))
            mixed = (image.astype(np.uint16) + coloured) // 2
            Image.fromarray(mixed.astype(np.uint8)).save(target.with_stem(f"{target.stem}_overlay"))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there are, and where."""
        if self._written:
            folder = next(iter(self._written)).parent
            print(f"Label maps, colours and overlays of {len(self._written)} images: {folder}")


def palette(num_classes: int, colours: Sequence[tuple[int, int, int]] | None = None) -> np.ndarray:
    """One RGB colour a class.

    Args:
        num_classes: How many.
        colours: Those to use, if there are as many.

    Returns:
        (num_classes, 3) uint8.
    """
    if colours is None or len(colours) != num_classes:
        hues = [colorsys.hsv_to_rgb(index / num_classes, 0.8, 1 - 0.4 * (index % 2)) for index in range(num_classes)]
        return (255 * np.array(hues)).astype(np.uint8)
    return np.array(colours, dtype=np.uint8)
