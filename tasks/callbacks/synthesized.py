"""Synthesized pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pcpad.tasks.callbacks.picture_files import PictureFiles
from pcpad.tasks.pictures.sheets import save_png

_LABEL = "_labelIds"


class SynthesizedPictures(PictureFiles):
    """Writes `NAME.png` for each `NAME_labelIds.png`.

    A prediction is a dict: `path`, a list of the label maps' names, and `image` (N, 3, H, W) uint8.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    called = "synthesized pictures"

    def stem(self, source: str) -> str:
        """The name without the label map's ending."""
        return super().stem(source).removesuffix(_LABEL)

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write the pictures of one batch; errors about one that would replace another file are kept for the end."""
        for name, image in zip(prediction["path"], prediction["image"], strict=True):
            with self.keeping_failures():
                (target,) = self.targets(name)
                pixels = image.permute(1, 2, 0).cpu().numpy()
                self.in_background(partial(_write, pixels, target), 2 * pixels.nbytes)


def _write(pixels: np.ndarray, target: Path) -> Sequence[str]:
    save_png(Image.fromarray(pixels), target)
    return ()
