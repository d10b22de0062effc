"""What tasks do with a batch and its data before the network sees them."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor


def normalise(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bring images to the range a network was trained on.

    Args:
        image: (N, C, H, W), uint8 in [0, 255] or float in [0, 1].
        mean: (C, 1, 1), subtracted from images in [0, 1].
        std: (C, 1, 1), divided by.

    Returns:
        (N, C, H, W) in `mean`'s dtype.
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
    raise ValueError(message)
