"""Each row is a held-out crop: input, target, and each checkpoint's error on one color scale; below, its corner."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from pcpad.commands.figures.options import (
    add_checkpoint_options,
    add_labeled_checkpoints,
    add_output,
    read_batches,
    read_data,
    read_labeled,
    trained_with,
)
from pcpad.tasks import GaussianFilteringTask
from pcpad.tasks.pictures.plots import need_matplotlib, new_figure, save_figure
from pcpad.terminal import say

_ZOOM = 4  # a quarter of the side: wide enough to show where the band ends in crops of the usual sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    add_labeled_checkpoints(parser, GaussianFilteringTask, "what each was trained with")
    add_checkpoint_options(parser, images=3)
    add_output(parser, "filtering.png")


@torch.inference_mode()
def draw(given: argparse.Namespace) -> None:
    """Filter the crops with each checkpoint, draw and write.

    Args:
        given: The parsed options.

    Raises:
        ValueError: A checkpoint is another task's, or the labels are not as many.
    """
    need_matplotlib()
    tasks, labels = read_labeled(given, GaussianFilteringTask, trained_with)
    rows: list[tuple[Any, Any, Sequence[Any]]] = []
    for batch in read_batches(read_data(given.checkpoints[0], given), given):
        errors = [(task(batch["image"]) - batch["target"]).abs().mean(dim=1).cpu() for task in tasks]
        images, targets = (batch[key].movedim(1, -1).cpu() for key in ("image", "target"))
        rows += list(zip(images, targets, zip(*errors, strict=True), strict=True))
    border = tasks[0].test_metric.width
    for label, found in zip(labels, zip(*(row[2] for row in rows), strict=True), strict=True):
        stack = torch.stack(found)
        inside = stack[:, border:-border, border:-border]
        rest = stack.numel() - inside.numel()
        band = (stack.sum() - inside.sum()) / max(rest, 1)
        say(f"{label}: mean |error| {band:.4g} within {border} pixels of the border, {inside.mean():.4g} inside")
    _plot(rows, labels, given.output)


def _plot(rows: list[tuple[Any, Any, Sequence[Any]]], labels: list[str], path: Any) -> None:
    # The few largest errors would leave the rest dark.
    everything = torch.stack([error for row in rows for error in row[2]])
    top = float(everything.flatten()[:: max(1, everything.numel() // 1_000_000)].quantile(0.995)) or 1.0
    columns = 2 + len(labels)
    figure, axes = new_figure(2 * len(rows), columns, (1.0 + 1.9 * columns, 0.8 + 3.7 * len(rows)))
    for index, (image, target, errors) in enumerate(rows):
        corner = [max(4, side // _ZOOM) for side in image.shape[:2]]
        for line, part in ((axes[2 * index], slice(None)), (axes[2 * index + 1], None)):
            pictures = [image, target.clamp(0, 1), *errors]
            for axis, picture in zip(line, pictures, strict=True):
                shown = picture[part] if part else picture[: corner[0], : corner[1]]
                last = axis.imshow(shown, **({} if shown.dim() == 3 else {"cmap": "viridis", "vmin": 0, "vmax": top}))
                axis.set(xticks=[], yticks=[])
        axes[2 * index][0].set_ylabel("crop", fontsize=9)
        axes[2 * index + 1][0].set_ylabel("its upper left corner", fontsize=9)
    for axis, title in zip(axes[0], ["input", "target", *labels], strict=True):
        axis.set_title(title, fontsize=10)
    figure.colorbar(last, ax=axes, label="|error|, mean over channels, images in [0, 1]", shrink=0.7, extend="max")
    say(f"Written to {save_figure(figure, path)}")
