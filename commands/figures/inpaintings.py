"""Each row is a test picture with a hole: what each checkpoint fills in, and the picture itself (2022 Figure 7)."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcpad.commands.figures.options import (
    add_checkpoint_options,
    add_labeled_checkpoints,
    add_output,
    read_batches,
    read_data,
    read_labeled,
)
from pcpad.metrics.inpainting import picture_scores
from pcpad.tasks import InpaintingTask
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet, save_png
from pcpad.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    add_labeled_checkpoints(parser, InpaintingTask, "by their convolutions")
    add_checkpoint_options(parser, images=4)
    add_output(parser, "inpaintings.png")


@torch.inference_mode()
def draw(given: argparse.Namespace) -> None:
    """Fill the pictures with each checkpoint, draw and write.

    Args:
        given: The parsed options.

    Raises:
        ValueError: A checkpoint is another task's, or the labels are not as many.
    """
    tasks, labels = read_labeled(given, InpaintingTask, _convolution)
    rows: list[SheetRow] = []
    for batch in read_batches(read_data(given.checkpoints[0], given), given):
        rows += filled_rows(tasks, batch)
    titles = ["with its hole", *labels, "the picture"]
    note = "Filled pictures: what was known is the picture's own. PSNR of the whole filled picture."
    sheet = draw_sheet(rows, titles, heading="Inpaintings", note=note)
    say(f"Written to {save_png(sheet, given.output)}")


def filled_rows(tasks: list[Any], batch: dict[str, Tensor]) -> list[SheetRow]:
    """A row for each picture: with its hole, filled by each task, and as it is.

    Args:
        tasks: Of inpainting, in evaluation mode.
        batch: `image` (N, 3, H, W) and `mask` (N, 1, H, W), 1 = valid.

    Returns:
        Rows of a sheet, labeled by the hole's share and each filling's PSNR.
    """
    shown = [task.sample_images(batch) for task in tasks]
    rows = []
    for place in range(len(batch["image"])):
        truth = shown[0]["truth"][place]
        filled = [one["composite"][place] for one in shown]
        share = 100 * float((batch["mask"][place] == 0).float().mean())
        scores = [f"{picture_scores(one, truth)[1]:.2f} dB" for one in filled]
        pictures = [_bytes(one) for one in (shown[0]["input"][place], *filled, truth)]
        rows.append(SheetRow(pictures, labels=[f"hole: {share:.0f} %", *scores, ""]))
    return rows


def _bytes(picture: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()


def _convolution(task: InpaintingTask) -> str:
    return "partial convolution" if task.padding == "partial" else "convolution"
