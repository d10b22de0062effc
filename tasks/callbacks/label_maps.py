"""Predicted segmentations as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pcpad.georeference import TIFF_ENDINGS, read_georeference
from pcpad.pictures import Picture, write_picture
from pcpad.tasks.base import Task, unit
from pcpad.tasks.callbacks.picture_files import PictureFiles
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.segmentation import shown_as_rgb
from pcpad.tasks.pictures.sheets import QUICK_PNG, save_png

_ROWS = 256


class LabelMaps(PictureFiles):
    """Writes three PNGs per picture, at its size: `NAME.png` (class indices), `NAME_color.png`, `NAME_overlay.png`.

    For a `NAME.tif` or `.tiff` the class indices are `NAME.tif`, with the georeference of a GeoTIFF: its position and
    projection, GDAL's metadata, and its value for "no data" where that is not the number of a class.

    Colors are the data module's `class_colors` where it has them, else evenly spread hues. The network runs on while
    they are written.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
    """

    called = "label maps, each with its colors and an overlay"

    def endings(self) -> list[str]:
        """Indices, colors, overlay."""
        return [".png", "_color.png", "_overlay.png"]

    def endings_of(self, source: str) -> list[str]:
        """Indices of a TIFF are a TIFF."""
        indices, *others = self.endings()
        return [".tif" if source.lower().endswith(TIFF_ENDINGS) else indices, *others]

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write the pictures of one batch; errors about one that would replace another file are kept for the end."""
        assert isinstance(pl_module, Task)
        assert pl_module.num_classes is not None
        colors = palette(pl_module.num_classes, pl_module.data_offer("class_colors"))
        shown = shown_as_rgb(batch["image"])
        if shown.is_floating_point():
            shown = (unit(shown).clamp(0, 1) * 255).round().byte()
        images = shown.permute(0, 2, 3, 1).cpu().numpy()
        for name, label, image in zip(prediction["path"], prediction["label"].cpu().numpy(), images, strict=True):
            with self.keeping_failures():
                targets = self.targets(name)
                size = 4 * image.nbytes  # the map, its colors or the overlay, and Pillow's copies of these
                self.in_background(partial(_write, name, targets, (label, image, colors)), size)


def _write(name: str, targets: Sequence[Path], parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Sequence[str]:
    label, image, colors = parts
    indices, *pictures = targets
    note = None
    if indices.suffix == ".tif":
        place, note = read_georeference(name, label.shape)
        place = place.of_classes(len(colors)) if place is not None else None
        write_picture(indices, Picture(label[..., None], place=place), "tiff")
    else:
        save_png(Image.fromarray(label), indices, **QUICK_PNG)
    of_colors, of_overlay = pictures
    # In bands, and the overlay in place: indexing and mixing take 8 and 12 bytes per pixel.
    bands = [slice(row, row + _ROWS) for row in range(0, len(label), _ROWS)]
    pixels = np.empty(image.shape, np.uint8)  # in row order, which Pillow need not copy
    for band in bands:
        np.take(colors, label[band], axis=0, out=pixels[band])
    save_png(Image.fromarray(pixels), of_colors, **QUICK_PNG)
    for band in bands:
        pixels[band] = (image[band].astype(np.uint16) + pixels[band]) // 2
    save_png(Image.fromarray(pixels), of_overlay, **QUICK_PNG)
    return [f"{name}: {note}"] if note else []
