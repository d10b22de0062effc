"""Pictures of segmentations: classes in colors, and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pcpad._renamed import moved
from pcpad.deprecation import renamed_keywords

__all__ = ["ERROR_COLORS", "border_band", "class_pictures", "error_pictures", "segmentation_pictures", "shown_as_rgb"]

# Orange and blue are distinct for every kind of color vision (Okabe and Ito's palette), and from the gray.
ERROR_COLORS = {"wrong": (213, 94, 0), "wrong at the border": (0, 114, 178), "not labeled": (150, 150, 150)}
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


@renamed_keywords(removed="0.3.0", colours="colors")
def class_pictures(label: Tensor, colors: np.ndarray) -> Tensor:
    """Color each class.

    Args:
        label: (N, H, W) integers; labels without a color are gray.
        colors: (K, 3) uint8, see `pcpad.tasks.pictures.palette.palette`.

    Returns:
        (N, 3, H, W) uint8 on the labels' device.
    """
    table = torch.tensor(ERROR_COLORS["not labeled"], dtype=torch.uint8).repeat(len(colors) + 1, 1)
    table[:-1] = torch.from_numpy(colors)
    known = (label >= 0) & (label < len(colors))
    return table.to(label.device)[torch.where(known, label.long(), len(colors))].permute(0, 3, 1, 2)


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
        (N, 3, H, W) uint8: `ERROR_COLORS` on white.
    """
    kind = (prediction != label).long()
    kind += kind * border_band(*label.shape[-2:]).to(label.device)
    kind[label == ignore_index] = 3
    table = torch.tensor([(255, 255, 255), *ERROR_COLORS.values()], dtype=torch.uint8, device=label.device)
    return table[kind].permute(0, 3, 1, 2)


@renamed_keywords(removed="0.3.0", colours="colors")
def segmentation_pictures(
    image: Tensor, label: Tensor, prediction: Tensor, colors: np.ndarray, ignore_index: int = 255
) -> dict[str, Tensor]:
    """The pictures of a sheet of samples, one per column.

    Args:
        image: (N, 3, H, W), uint8 or float in [0, 1].
        label: (N, H, W) true classes.
        prediction: (N, H, W) classes.
        colors: (K, 3) uint8.
        ignore_index: Label of pixels without a class.

    Returns:
        By title, (N, 3, H, W): the image unchanged, the others uint8.
    """
    return {
        "input": image,
        "truth": class_pictures(label, colors),
        "prediction": class_pictures(prediction, colors),
        "errors (orange; at borders blue; unlabeled gray)": error_pictures(prediction, label, ignore_index),
    }


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
