"""Predicted segmentations as pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pcpad.tasks.callbacks.picture_files import PictureFiles


class LabelMaps(PictureFiles):
    """Writes three PNGs a picture, at its size: `NAME.png` (class indices), `NAME_colour.png`, `NAME_overlay.png`.

    Colours are the data module's `class_colours` where it has them, else evenly spread hues.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    called = "label maps, each with its colours and an overlay"

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write the pictures of one batch.

        Raises:
            ValueError: A map would replace its picture, or another's map.
        """
        colours = palette(pl_module.num_classes, getattr(trainer.datamodule, "class_colours", None))  # type: ignore
        images = batch["image"].permute(0, 2, 3, 1).cpu().numpy()
        for name, label, image in zip(prediction["path"], prediction["label"].cpu().numpy(), images, strict=True):
            targets = [self.target(f"{Path(name).stem}{kind}.png", name) for kind in ("", "_colour", "_overlay")]
            coloured = colours[label]
            mixed = (image.astype(np.uint16) + coloured) // 2
            for target, pixels in zip(targets, (label, coloured, mixed.astype(np.uint8)), strict=True):
                Image.fromarray(pixels).save(target)


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
