"""Pictures of segmentations: classes in colors, and errors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["ERROR_COLOURS", "border_band", "class_pictures", "error_pictures", "segmentation_pictures", "shown_as_rgb"]

# Orange and blue are distinct for every kind of color vision (Okabe and Ito's palette), and from the gray.
ERROR_COLOURS = {"wrong": (213, 94, 0), "wrong at the border": (0, 114, 178), "not labeled": (150, 150, 150)}
_BAND = 16  # the border band is the outer sixteenth of each side


def border_band(height: int, width: int) -> Tensor:
    """A mask of the pixels near the border.

    Args:
        height: The image's height in pixels.
        width: The image's width in pixels.

    Returns:
        (H, W) bool: True in the outer 1/16 of each side, at least one pixel.
    """
    band = torch.ones(height, width, dtype=torch.bool)
    tall, wide = max(1, height // _BAND), max(1, width // _BAND)
    band[tall : height - tall, wide : width - wide] = False
    return band


def class_pictures(label: Tensor, colours: np.ndarray) -> Tensor:
    """Color each class.

    Args:
        label: (N, H, W) integers; labels without a color are gray.
        colours: (K, 3) uint8, see `pcpad.tasks.pictures.palette.palette`.

    Returns:
        (N, 3, H, W) uint8 on the labels' device.
    """
    table = torch.tensor(ERROR_COLOURS["not labeled"], dtype=torch.uint8).repeat(len(colours) + 1, 1)
    table[:-1] = torch.from_numpy(colours)
    known = (label >= 0) & (label < len(colours))
    return table.to(label.device)[torch.where(known, label.long(), len(colours))].permute(0, 3, 1, 2)


def shown_as_rgb(image: Tensor) -> Tensor:
    """Show images with any number of channels as RGB: the first three channels, or the first one in gray.

    Args:
        image: (N, C, H, W).

    Returns:
        (N, 3, H, W) in the same type.
    """
    return image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)


def error_pictures(prediction: Tensor, label: Tensor, ignore_index: int = 255) -> Tensor:
    """Mark wrong pixels, with another color near the image's border.

    Args:
        prediction: (N, H, W) classes.
        label: (N, H, W) true classes, `ignore_index` for pixels without one.
        ignore_index: See `label`.

    Returns:
        (N, 3, H, W) uint8: `ERROR_COLOURS` on white.
    """
    kind = (prediction != label).long()
    kind += kind * border_band(*label.shape[-2:]).to(label.device)
    kind[label == ignore_index] = 3
    table = torch.tensor([(255, 255, 255), *ERROR_COLOURS.values()], dtype=torch.uint8, device=label.device)
    return table[kind].permute(0, 3, 1, 2)


def segmentation_pictures(
    image: Tensor, label: Tensor, prediction: Tensor, colours: np.ndarray, ignore_index: int = 255
) -> dict[str, Tensor]:
    """The pictures of a sheet of samples, one per column.

    Args:
        image: (N, 3, H, W), uint8 or float in [0, 1].
        label: (N, H, W) true classes.
        prediction: (N, H, W) classes.
        colours: (K, 3) uint8.
        ignore_index: Label of pixels without a class.

    Returns:
        By title, (N, 3, H, W): the image unchanged, the others uint8.
    """
    return {
        "input": image,
        "truth": class_pictures(label, colours),
        "prediction": class_pictures(prediction, colours),
        "errors (orange; at borders blue; unlabeled gray)": error_pictures(prediction, label, ignore_index),
    }
