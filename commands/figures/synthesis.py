"""Maps, the generators' pictures of them, and on request a detector's boxes (2022 paper, Figure 8).

Of the folder given with --maps, or else of the data set's test images, which are shown too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

from pcpad.commands.figures.options import add_checkpoint_options, add_output, read_batches, read_task, trained_with
from pcpad.commands.loading import load_datamodule
from pcpad.commands.outputs import refuse_within
from pcpad.commands.parser import file_name
from pcpad.errors import UserValueError
from pcpad.models.street_detector import OBJECTS, StreetDetector, load_detector
from pcpad.tasks import SynthesisTask
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.sheets import SheetRow, as_pixels, cell_size, draw_sheet, save_png
from pcpad.tasks.synthesis_inputs import conditioning
from pcpad.terminal import say

_CALLED = {"zeros": "convolution", "partial": "partial convolution"}
_LOWEST = 0.05  # torchvision's detectors return nothing below
_TEXT = 12  # pixels
_WIDEST = 480  # of a picture on the sheet


@dataclass(frozen=True)
class Look:
    """How boxes are drawn.

    Args:
        detector: It finds them.
        score: From here on they are drawn, in [0, 1].
        colors: (K, 3) uint8, by label id.
    """

    detector: StreetDetector
    score: float
    colors: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    parser.add_argument("--checkpoints", nargs="+", type=file_name, required=True, metavar="FILE", help="of synthesis")
    parser.add_argument("--labels", nargs="+", metavar="NAME",
                        help="what to call them (default: the convolutions they were trained with)")  # fmt: skip
    text = "draw these NAME_labelIds.png and NAME_instanceIds.png instead of the data set's"
    parser.add_argument("--maps", type=file_name, metavar="FOLDER", help=text)
    text = "draw the boxes of this Faster R-CNN: `published`, torchvision's of COCO, or a local file"
    parser.add_argument("--detector", type=file_name, metavar="FILE", help=text)
    parser.add_argument("--score", type=_score, default=0.5, metavar="S",
                        help=f"of the boxes drawn, at least; from {_LOWEST} to 1 (default: %(default)s)")  # fmt: skip
    add_checkpoint_options(parser, images=4)
    add_output(parser, "synthesis.png")


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not _LOWEST <= value <= 1:
        message = f"expected a score from {_LOWEST} to 1, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return value


@torch.no_grad()
def draw(given: argparse.Namespace) -> None:
    """Synthesize, look, draw and write the figure.

    Args:
        given: The parsed options.

    Raises:
        FileNotFoundError: A file or folder is missing.
        ValueError: The checkpoints are none of synthesis, or do not go with the data.
    """
    detector = None if given.detector is None else load_detector(given.detector)  # the error that comes soonest
    tasks = _read_tasks(given)
    if given.maps is not None:
        given.data_options["predict_maps"] = given.maps
    data = load_datamodule(given.checkpoints[0], class_path=given.data, trusted=given.trust, **given.data_options)
    refuse_within([given.output], getattr(data, "root", "."))
    data.setup("test" if given.maps is None else "predict")
    colors = palette(next(iter(tasks.values())).num_labels, getattr(data, "class_colors", None))
    look = None if detector is None else Look(detector.to(given.device), given.score, colors)
    rows: list[SheetRow] = []
    titles: list[str] = []
    for batch in read_batches(data, given, batch_size=1):
        if "instance" not in batch:
            message = f"{type(data).__name__} has no instance maps: name another one with --data"
            raise UserValueError(message)
        columns = {"map": map_picture(batch["label"], batch["instance"], colors)}
        if "image" in batch:
            columns["real"] = _pixels(batch["image"])
        counts = [""] * len(columns)
        for name, task in tasks.items():
            image = task(batch["label"], batch["instance"]).clamp(0, 1)
            columns[name] = _pixels(image)
            if look is not None:
                columns[name], count = _looked_at(image, columns[name], look)
                counts.append(f"{count} found")
        titles = list(columns)
        rows.append(SheetRow(list(columns.values()), labels=counts if look is not None else ()))
    note = "" if look is None else f"Boxes: what {given.detector} finds with a score of at least {given.score:g}."
    sheet = draw_sheet(rows, titles, heading="Images synthesized from label and instance maps", note=note)
    say(f"Written to {save_png(sheet, given.output)}")


def _read_tasks(given: argparse.Namespace) -> dict[str, SynthesisTask]:
    """The generators by the name of their column."""
    tasks: list[SynthesisTask] = []
    for checkpoint in given.checkpoints:
        task = read_task(checkpoint, given)
        if not isinstance(task, SynthesisTask):
            message = f"{checkpoint} is a checkpoint of {type(task).__name__}; this figure is of SynthesisTask's"
            raise UserValueError(message)
        tasks.append(task)
    kinds = {name: task.num_labels for name, task in zip(given.checkpoints, tasks, strict=True)}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in kinds.items())
        message = f"These know different numbers of labels, so they cannot draw the same maps: {said}."
        raise UserValueError(message)
    names = given.labels or [_CALLED.get(trained_with(task), trained_with(task)) for task in tasks]
    if len(names) != len(tasks):
        message = f"Expected a name for each of the {len(tasks)} checkpoints, but got --labels {' '.join(names)}"
        raise UserValueError(message)
    if len({"map", "real", *names}) < 2 + len(names):
        message = f"The columns would be called {', '.join(names)}: tell them apart with --labels NAME NAME …"
        raise UserValueError(message)
    return dict(zip(names, tasks, strict=True))


def map_picture(label: Tensor, instance: Tensor, colors: np.ndarray) -> np.ndarray:
    """A panoptic map: the labels' colors, and white lines between instances.

    Args:
        label: (1, 1, H, W) integers in [0, K).
        instance: (1, 1, H, W) integers.
        colors: (K, 3) uint8.

    Returns:
        (n H, n W, 3) uint8, enlarged as far as fits the sheet, so that the lines stay thin.
    """
    times = _drawn_width(label.shape[-1]) // label.shape[-1] or 1
    label, instance = (ids.repeat_interleave(times, 2).repeat_interleave(times, 3) for ids in (label, instance))
    semantics, _ = conditioning(label, instance, len(colors))
    picture: np.ndarray = colors[label[0, 0].cpu().numpy()]
    picture[semantics[0, -1].cpu().numpy() > 0] = 255
    return picture


def mark_boxes(
    picture: np.ndarray, found: Mapping[str, Tensor], colors: np.ndarray, names: Mapping[int, str]
) -> np.ndarray:
    """Enlarge or reduce a picture to what a sheet shows, and draw boxes into it, the most confident on top.

    Args:
        picture: (H, W, 3) uint8.
        found: `boxes` (M, 4) in the picture's own pixels, `labels` (M,) and `scores` (M,).
        colors: (K, 3) uint8, by label.
        names: By label.

    Returns:
        (H', W', 3) uint8, as wide as the sheet's column.
    """
    width = _drawn_width(picture.shape[1])
    drawn = as_pixels(picture, width)
    brush, font = ImageDraw.Draw(drawn), ImageFont.load_default(_TEXT)
    boxes = (found["boxes"].cpu() * (width / picture.shape[1])).round().int().tolist()
    marks = sorted(zip(found["scores"].tolist(), found["labels"].tolist(), boxes, strict=True), key=lambda one: one[0])
    for score, label, (left, top, right, bottom) in marks:
        ink = tuple(map(int, colors[label]))
        # White around it, since many of the classes' colors are as dark as the street.
        brush.rectangle((left - 1, top - 1, max(left, right) + 1, max(top, bottom) + 1), outline="white", width=4)
        brush.rectangle((left, top, max(left, right), max(top, bottom)), outline=ink, width=2)
        text = f"{names[label]} {score:.2f}"
        wide, high = round(font.getlength(text)) + 4, _TEXT + 3
        at = (max(0, min(left, drawn.width - wide)), top - high if top >= high else top)
        brush.rectangle((*at, at[0] + wide, at[1] + high), fill=ink)
        brush.text((at[0] + 2, at[1]), text, "white", font)
    return np.asarray(drawn)


def _drawn_width(width: int) -> int:
    """How wide a picture is on the sheet: small ones as large as they can be, for what is written on them."""
    return cell_size(width * max(1, _WIDEST // width))


def _looked_at(image: Tensor, picture: np.ndarray, look: Look) -> tuple[np.ndarray, int]:
    """The picture with the boxes found in it, and how many."""
    (found,) = look.detector(image)
    sure = found["scores"] >= look.score
    found = {name: values[sure] for name, values in found.items()}
    return mark_boxes(picture, found, look.colors, OBJECTS), int(sure.sum())


def _pixels(image: Tensor) -> np.ndarray:
    """(1, 3, H, W), bytes or in [0, 1], as (H, W, 3) uint8."""
    if image.is_floating_point():
        image = (image.float().clamp(0, 1) * 255).round().byte()
    return image[0].permute(1, 2, 0).cpu().numpy()
