"""Predictions by tiles, side by side.

Shown are the places at tile seams and image borders where they differ in most pixels, whichever of them is right; the
numbers below each row say which is (2018 paper, Figure 8, and with `--overlap 1/3` Figure 6; 2022 paper, Figure 5).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from pcpad._renamed import moved
from pcpad.commands.figures.options import (
    add_checkpoint_options,
    add_output,
    check_classes,
    positive,
    read_batches,
    read_data,
    read_task,
    trained_with,
)
from pcpad.commands.figures.places import Place, edges, most_different, near_edges
from pcpad.commands.parser import file_name
from pcpad.errors import UserValueError
from pcpad.tasks.base import Task
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.segmentation import ERROR_COLORS, class_pictures
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet, save_png
from pcpad.terminal import say
from pcpad.tiling import Tiling, Window, tiled_bands

_IGNORE = 255
_PER_IMAGE = 2  # so that one odd image does not fill the figure
_CELL = 320  # pixels that a crop is enlarged to at least, so that the lines drawn over it stay thin


@dataclass(frozen=True)
class SeamCrop:
    """A place, and its pictures.

    Args:
        image: The image's place among those looked at.
        place: The crop.
        windows: The image's tiles.
        pictures: (3, h, w) uint8 or float: input, and (h, w) class maps: truth, first and second prediction.
        right: Of its labeled pixels near an edge, the part that each network gets right; None without such a pixel.
    """

    image: int
    place: Place
    windows: Sequence[Window]
    pictures: tuple[Tensor, ...]
    right: tuple[float, float] | None


@dataclass
class Score:
    """Pixels that are right, over all images: near tile edges (index 1) and elsewhere (0), by network."""

    right: Tensor = field(default_factory=lambda: torch.zeros(2, 2, dtype=torch.int64))
    labeled: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.int64))

    def update(self, label: Tensor, predictions: Sequence[Tensor], near: Tensor) -> None:
        """Count one image's (H, W) maps."""
        for part, where in enumerate((~near & (label != _IGNORE), near & (label != _IGNORE))):
            self.labeled[part] += where.sum()
            for network, prediction in enumerate(predictions):
                self.right[part, network] += ((prediction == label) & where).sum()

    def text(self, labels: Sequence[str], band: int) -> str:
        """Such as "Right within 16 pixels of …: zeros 81.20 %, partial 82.03 %; elsewhere: …"."""
        parts = []
        for part, where in ((1, f"Right within {band} pixels of a seam or border"), (0, "elsewhere")):
            total = max(1, int(self.labeled[part]))
            shares = (
                f"{label} {100 * int(n) / total:.2f} %" for label, n in zip(labels, self.right[part], strict=True)
            )
            parts.append(f"{where}: {', '.join(shares)}")
        return "; ".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    parser.add_argument(
        "--checkpoints", nargs=2, type=file_name, required=True, metavar=("A", "B"), help="of segmentation"
    )
    parser.add_argument("--labels", nargs=2, metavar=("A", "B"),
                        help="what to call them (default: the paddings they were trained with)")  # fmt: skip
    parser.add_argument("--size", type=positive, default=512, metavar="PIXELS", help="of a tile (default: 512)")
    parser.add_argument("--overlap", default="0", metavar="FRACTION",
                        help="of neighboring tiles, whose logits are averaged there: 1/3 (default: 0)")  # fmt: skip
    parser.add_argument("--count", type=positive, default=4, metavar="N", help="places to show (default: 4)")
    parser.add_argument("--crop", type=positive, metavar="PIXELS",
                        help="side of what is shown of each (default: half a tile)")  # fmt: skip
    parser.add_argument("--band", type=positive, metavar="PIXELS",
                        help="how near to a seam or border counts (default: 1/16 of a tile)")  # fmt: skip
    add_checkpoint_options(parser, images=20)
    add_output(parser, "seams.png")


def draw(given: argparse.Namespace) -> None:
    """Find the places, draw and write the figure.

    Args:
        given: The parsed options.

    Raises:
        ValueError: The checkpoints do not go together, are none of segmentation, or agree everywhere.
    """
    tasks = [read_task(checkpoint, given) for checkpoint in given.checkpoints]
    labels = given.labels or [trained_with(task) for task in tasks]
    if labels[0] == labels[1]:
        message = f"Both networks would be called {labels[0]!r}: tell them apart with --labels A B"
        raise UserValueError(message)
    classes = tasks[0].num_classes if isinstance(tasks[0], Task) else None
    if classes is None:
        message = f"{given.checkpoints[0]} does not say how many classes it tells apart: is this segmentation?"
        raise UserValueError(message)
    data = read_data(given.checkpoints[0], given)
    check_classes(dict(zip(given.checkpoints, tasks, strict=True)), data)
    tiling, band, crop = (
        Tiling(given.size, given.overlap),
        given.band or max(1, given.size // 16),
        given.crop or given.size // 2 or 1,
    )
    found: list[SeamCrop] = []
    score, images = Score(), 0
    for images, batch in enumerate(read_batches(data, given, batch_size=1), 1):
        crops = _look(images - 1, batch, tasks, tiling, (crop, band), score)
        # Python's sort is stable: of equals the earlier image's stay.
        found = sorted([*found, *crops], key=lambda item: -item.place.pixels)[: given.count]
    if not found:
        message = (
            f"The predictions agree within {band} pixels of every seam and border of {images} images: are "
            f"{given.checkpoints[0]} and {given.checkpoints[1]} the same network?"
        )
        raise UserValueError(message)
    tiles = f"{given.size} x {given.size} tiles" + (f", which overlap by {given.overlap}" if tiling.overlap else "")
    colors = palette(classes, getattr(data, "class_colors", None))
    note = f"{score.text(labels, band)}; {images} images."
    sheet = draw_sheet(
        [_row(item, colors) for item in found],
        ["input", "truth", *labels],
        heading=f"Where {labels[0]} and {labels[1]} differ most near the edges of {tiles}",
        legend=_legend(found, colors, getattr(data, "class_names", None)),
        note=f"Dashed lines: tile seams. Striped edges: the image's border. {note}",
    )
    say(note)
    say(f"Written to {save_png(sheet, given.output)}")


def _look(
    number: int,
    batch: dict[str, Any],
    tasks: Sequence[LightningModule],
    tiling: Tiling,
    sides: tuple[int, int],
    score: Score,
) -> list[SeamCrop]:
    """An image's crops; `sides` of the crops and of the band near edges."""
    image, label = batch["image"], batch["label"][0].cpu()
    if label.dim() != 2:
        message = f"Expected labels of pixels, (N, H, W), but got {tuple(batch['label'].shape)}: is this segmentation?"
        raise UserValueError(message)
    crop, band = sides
    predictions = [_predict(task, image, tiling) for task in tasks]
    windows = tiling.windows(*label.shape)
    near = near_edges(label.shape[0], label.shape[1], windows, band)
    score.update(label, predictions, near)
    different = (predictions[0] != predictions[1]) & near & (label != _IGNORE)
    crops = []
    for place in most_different(different, windows, crop, _PER_IMAGE):
        cut = (..., place.window.rows, place.window.columns)
        pictures = tuple(picture[cut].clone() for picture in (image[0].cpu(), label, *predictions))
        counted = near[cut] & (pictures[1] != _IGNORE)
        hits = [float(((part == pictures[1]) & counted).sum() / counted.sum()) for part in pictures[2:]]
        crops.append(SeamCrop(number, place, windows, pictures, (hits[0], hits[1]) if bool(counted.any()) else None))
    return crops


def _predict(task: LightningModule, image: Tensor, tiling: Tiling) -> Tensor:
    return torch.cat([band.argmax(dim=1) for _, band in tiled_bands(task, image, tiling)], dim=1)[0].cpu()


def _row(item: SeamCrop, colors: np.ndarray) -> SheetRow:
    window = item.place.window
    image, *maps = item.pictures
    if image.is_floating_point():
        image = (image.float().nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8)
    pictures = [image, *(class_pictures(part[None], colors)[0] for part in maps)]
    arrays = [mark_edges(picture.permute(1, 2, 0).numpy(), window, item.windows) for picture in pictures]
    where = f"image {item.image}, rows {window.top} to {window.top + window.height}, columns {window.left} to "
    share = f"{100 * item.place.pixels / (window.height * window.width):.1f} % of the crop differs near edges"
    right = ["", *(f"{100 * part:.1f} % right near edges" for part in item.right)] if item.right else []
    return SheetRow(arrays, f"{where}{window.left + window.width}; {share}", ["", *right] if right else [])


def mark_edges(picture: np.ndarray, window: Window, windows: Sequence[Window]) -> np.ndarray:
    """Enlarge a crop, and draw the tiles' seams and the image's border into it.

    Args:
        picture: (h, w, 3) uint8, the crop.
        window: Where it lies in the image.
        windows: The image's tiles.

    Returns:
        The enlarged crop: seams dashed in black and white, the image's border striped in black and orange.
    """
    factor = max(1, round(_CELL / picture.shape[1]))
    drawn = picture.repeat(factor, 0).repeat(factor, 1)
    ink = np.array([(0, 0, 0), (255, 255, 255), ERROR_COLORS["wrong"]], np.uint8)
    for axis, positions in enumerate(edges(windows)):
        start, length = (window.top, window.height) if axis == 0 else (window.left, window.width)
        lines = drawn if axis == 0 else drawn.transpose(1, 0, 2)  # a view: what is drawn in it is drawn
        dashes = (np.arange(lines.shape[1]) // 6) % 2
        for edge in positions:
            at, outside = factor * (edge - start), edge in (positions[0], positions[-1])
            if outside and edge in (start, start + length):
                band = slice(0, 5) if edge == start else slice(len(lines) - 5, len(lines))
                lines[band] = ink[np.where(dashes == 1, 2, 0)]
            elif not outside and start < edge < start + length:
                lines[max(0, at - 1) : at + 1] = ink[dashes]
    return drawn


def _legend(found: Sequence[SeamCrop], colors: np.ndarray, names: Any) -> dict[str, tuple[int, int, int]]:
    """A legend of the visible classes, and of pixels without a label."""
    seen = sorted({int(value) for item in found for part in item.pictures[1:] for value in part.unique()})
    legend = {str(names[index]) if names else f"class {index}": tuple(map(int, colors[index])) for index in seen
              if index < len(colors)}  # fmt: skip
    if any(index >= len(colors) for index in seen):
        legend["not labeled"] = ERROR_COLORS["not labeled"]
    return legend  # type: ignore[return-value]


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
