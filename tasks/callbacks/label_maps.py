"""Predicted segmentations as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pcpad.tasks.base import Task
from pcpad.tasks.callbacks.picture_files import PictureFiles
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.segmentation import shown_as_rgb
from pcpad.tasks.pictures.sheets import save_png


class LabelMaps(PictureFiles):
    """Writes three PNGs a picture, at its size: `NAME.png` (class indices), `NAME_colour.png`, `NAME_overlay.png`.

    Colors are the data module's `class_colors` where it has them, else evenly spread hues.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    called = "label maps, each with its colours and an overlay"

    def endings(self) -> list[str]:
        """Indices, colors, overlay."""
        return [".png", "_colour.png", "_overlay.png"]

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write the pictures of one batch; one that would replace a picture, or another map, is kept for the end."""
        assert isinstance(pl_module, Task)
        assert pl_module.num_classes is not None
        colors = palette(pl_module.num_classes, pl_module.data_offer("class_colors"))
        shown = shown_as_rgb(batch["image"])
        shown = shown if shown.dtype == torch.uint8 else (255 * shown).round().to(torch.uint8)
        images = shown.permute(0, 2, 3, 1).cpu().numpy()
        for name, label, image in zip(prediction["path"], prediction["label"].cpu().numpy(), images, strict=True):
            with self.keeping_failures():
                targets = self.targets(name)
                colored = colors[label]
                mixed = (image.astype(np.uint16) + colored) // 2
                for target, pixels in zip(targets, (label, colored, mixed.astype(np.uint8)), strict=True):
                    save_png(Image.fromarray(pixels), target)
