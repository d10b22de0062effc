"""What tasks do with a batch and its data before the network sees them."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pcpad.errors import UserValueError


def normalise(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bring images or clips to the range a network was trained on.

    Args:
        image: (N, C, H, W) or (N, C, T, H, W), uint8 in [0, 255] or float in [0, 1].
        mean: (C, 1, 1) or (C, 1, 1, 1), subtracted from images in [0, 1].
        std: Like `mean`, divided by.

    Returns:
        The images in `mean`'s dtype.
    """
    scaled = image / 255 if image.dtype == torch.uint8 else image
    return ((scaled - mean) / std).to(mean.dtype)


def check_class_count(task: LightningModule, stage: str, num_classes: int) -> None:
    """Compare the data's classes with the network's before hours are spent on them.

    Args:
        task: The task, attached to a trainer.
        stage: Lightning's; prediction needs no classes.
        num_classes: The network's.

    Raises:
        ValueError: The data states another number.
    """
    data = task.trainer.datamodule  # type: ignore[attr-defined]
    count = getattr(data, "num_classes", None)
    if stage == "predict" or count is None or count == num_classes:
        return
    message = (
        f"The data has {count} classes and the network {num_classes}: "
        f"pass --model.num_classes {count}, or data with {num_classes} classes"
    )
    raise UserValueError(message)


def data_class_names(task: LightningModule) -> list[str] | None:
    """The names of the data's classes (`class_names` or `classes` of the data module), None where it states none."""
    data = task.trainer.datamodule  # type: ignore[attr-defined]
    names = getattr(data, "class_names", None) or getattr(data, "classes", None)
    return [str(name) for name in names] if names else None


def warn_of_other_classes(task: LightningModule, trained_on: list[str] | None) -> None:
    """Class 3 of the network should be class 3 of the data: warn where the names differ.

    Args:
        task: The task, attached to a trainer.
        trained_on: The names of the network's classes, where they are known.
    """
    names = data_class_names(task)
    if names and trained_on and names != trained_on:
        rank_zero_warn("The data's classes are named or ordered differently from those the network was trained on.")
