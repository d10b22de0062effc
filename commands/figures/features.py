"""The mean |difference| of the last feature map between two paddings on one set of weights.

For each checkpoint the padding it was trained with is compared with each other one, and the differences are averaged
over channels and test images (2022 paper, Figure 9).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pcpad.commands.figures.feature_maps import check_layers, last_map, maps_of, spatial_layers
from pcpad.commands.figures.options import (
    add_checkpoint_options,
    add_output,
    check_classes,
    read_batches,
    read_data,
    read_task,
    trained_with,
)
from pcpad.commands.parser import file_name
from pcpad.errors import UserValueError
from pcpad.paddings import check_padding
from pcpad.tasks.pictures.plots import need_matplotlib, new_figure, save_figure
from pcpad.terminal import say

_SMALL = 10  # maps up to this side have their values written in


@dataclass
class Distance:
    """How far features move between two paddings of one network.

    Args:
        trained: The padding that the weights were trained with.
        reference: The one padding.
        other: The other one.
        total: (H, W), the sum over images of the mean over channels.
        scale: The sum over images of the reference features' mean |value|.
    """

    trained: str
    reference: str
    other: str
    total: Tensor | None = None
    scale: float = 0.0

    def update(self, before: Tensor, after: Tensor) -> None:
        """Add a batch of feature maps (N, C, ..., H, W).

        Raises:
            ValueError: The maps are of another size than those before.
        """
        moved = (after - before).abs().double().flatten(1, -3).mean(1).sum(0).cpu()
        if self.total is not None and self.total.shape != moved.shape:
            sizes = f"{tuple(self.total.shape)} and {tuple(moved.shape)}"
            message = f"Test images of several sizes give feature maps of {sizes}, which have no common average."
            raise UserValueError(message)
        self.total = moved if self.total is None else self.total + moved
        self.scale += float(before.abs().double().flatten(1).mean(1).sum())

    def mean(self, images: int, relative: bool) -> Tensor:
        """The map (H, W): per image, or relative to the mean |feature|."""
        assert self.total is not None
        return self.total / (self.scale if relative else images)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    text = "checkpoints; each is a row of the figure"
    parser.add_argument("--checkpoint", nargs="+", type=file_name, required=True, metavar="CKPT", help=text)
    parser.add_argument("--paddings", nargs="+", default=["zeros", "partial"], metavar="PADDING",
                        help="two or more; distances are from the one that a checkpoint was trained with, or from the "
                        "first if that is none of them (default: zeros partial)")  # fmt: skip
    parser.add_argument("--fallback", metavar="PADDING", help="what pads where a map is too small: replicate")
    parser.add_argument("--layer", metavar="NAME", help="whose output is compared (default: the last feature map's)")
    text = "relative to the mean |feature|, which makes networks comparable"
    parser.add_argument("--relative", action="store_true", help=text)
    add_checkpoint_options(parser, images=None)
    add_output(parser, "features.png")


def draw(given: argparse.Namespace) -> None:
    """Compare, draw and write.

    Args:
        given: The parsed options.

    Raises:
        ValueError: Paddings, checkpoints and data do not go together.
    """
    need_matplotlib()
    for padding in given.paddings:
        check_padding(padding)
    if len(set(given.paddings)) < 2 or len(set(given.paddings)) < len(given.paddings):
        message = f"Expected argument `--paddings` to be two or more different ones, but got {' '.join(given.paddings)}"
        raise UserValueError(message)
    data = read_data(given.checkpoint[0], given)
    networks = [_networks(checkpoint, given) for checkpoint in given.checkpoint]
    check_classes({path: tasks[0] for path, (tasks, _) in zip(given.checkpoint, networks, strict=True)}, data)
    layers: list[str] = []
    images = 0
    for batch in read_batches(data, given):
        image = batch["image"] if "image" in batch else batch["clip"]
        images += len(image)
        layers = layers or [_layer(tasks[0], image[:1], given.layer) for tasks, _ in networks]
        for (tasks, distances), layer in zip(networks, layers, strict=True):
            before, *after = (maps_of(task, image, [layer])[0] for task in tasks)
            for distance, features in zip(distances, after, strict=True):
                distance.update(before, features)
    rows = [distances for _, distances in networks]
    for distance in (distance for row in rows for distance in row):
        say(_said(distance, distance.mean(images, given.relative), given.relative))
    where = " and ".join(dict.fromkeys(layers))
    say(f"Layer {where}, mean over {images} test images.")
    _plot(rows, images, given.relative, where, given.output)


def _networks(checkpoint: str, given: argparse.Namespace) -> tuple[list[Any], list[Distance]]:
    """A checkpoint's task under each padding, its own first, and the distances to measure."""
    trained = trained_with(read_task(checkpoint, given))
    reference = trained if trained in given.paddings else given.paddings[0]
    others = [padding for padding in given.paddings if padding != reference]
    extra = {"fallback": given.fallback} if given.fallback else {}
    tasks = [read_task(checkpoint, given, padding=padding, **extra) for padding in (reference, *others)]
    return tasks, [Distance(trained, reference, other) for other in others]


def _layer(task: Any, image: Tensor, asked: str | None) -> str:
    layers = spatial_layers(task, image)
    if asked is not None:
        check_layers([asked], layers)
    return asked or last_map(layers)


def _said(distance: Distance, values: Tensor, relative: bool) -> str:
    unit = " of the mean |feature|" if relative else ""
    corners = values[:: max(1, len(values) - 1), :: max(1, values.shape[1] - 1)]
    middle = values[len(values) // 2, values.shape[1] // 2]
    return (
        f"trained with {distance.trained}, {distance.reference} to {distance.other}: mean {values.mean():.4g}, corners "
        f"{', '.join(f'{value:.4g}' for value in corners.flatten())}, middle {middle:.4g}{unit}"
    )


def _plot(rows: Sequence[Sequence[Distance]], images: int, relative: bool, layer: str, path: Any) -> None:
    maps = [[distance.mean(images, relative) for distance in row] for row in rows]
    top = max(float(values.max()) for row in maps for values in row) or 1.0
    columns = len(rows[0])
    figure, axes = new_figure(len(rows), columns, (1.8 + 3.0 * columns, 0.9 + 3.0 * len(rows)))
    for line, distances, values in zip(axes, rows, maps, strict=True):
        for axis, distance, value in zip(line, distances, values, strict=True):
            shown = axis.imshow(value, cmap="viridis", vmin=0, vmax=top)
            axis.set_title(f"trained with {distance.trained}:\n{distance.reference} to {distance.other}", fontsize=10)
            axis.set(xticks=[], yticks=[])
            if max(value.shape) <= _SMALL:
                _write_values(axis, value, top)
    unit = "mean |Δ feature| over mean |feature|" if relative else "mean |Δ feature|"
    figure.colorbar(shown, ax=axes, label=f"{unit}, {images} images", shrink=0.9)
    figure.suptitle(f"output of {layer}", fontsize=11)
    say(f"Written to {save_figure(figure, path)}")


def _write_values(axis: Any, values: Tensor, top: float) -> None:
    for row, column in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        value = float(values[row, column])
        color = "white" if value < 0.6 * top else "black"
        axis.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=7, color=color)
