"""Photographs of a folder, read whole and brought to a size, without labels."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad.adaptation.borders import LEAST_IMAGES
from pcpad.datamodules.reading.folders import find_images
from pcpad.datamodules.reading.images import BrokenImageError, image_size, read_image
from pcpad.errors import UserValueError
from pcpad.terminal import say

__all__ = ["read_photographs"]


def read_photographs(
    folder: Path, limit: int | None, resize: int | None, largest: int
) -> tuple[list[Tensor], list[str]]:
    """Read photographs, evenly spread over a folder.

    Args:
        folder: Looked through recursively.
        limit: The largest number of images; None for all.
        resize: Bring the shorter side to this many pixels, in place of leaving images as they are.
        largest: Of what is larger, its middle of that side.

    Returns:
        (3, H, W) uint8 each, and a line on each file that could not be read.

    Raises:
        UserFileNotFoundError: There is no such folder, or it has no images.
        UserValueError: It has too few.
    """
    files = find_images(folder)
    total = len(files)
    if total < LEAST_IMAGES:
        message = (
            f"{folder} has {total} images, and at least {LEAST_IMAGES} are needed to say how far the numbers hold: "
            "any photographs of the kind that the network is for will do, without labels"
        )
        raise UserValueError(message)
    if limit is not None and limit < LEAST_IMAGES:
        message = f"--limit {limit}: at least {LEAST_IMAGES} images are needed to say how far the numbers hold"
        raise UserValueError(message)
    count = min(limit or total, total)
    images, failures, sizes = [], list(files.passed_over), []
    for number in range(count):
        path = files[number * total // count]
        try:
            sizes.append((min(image_size(path)), path))
            images.append(_fitted(read_image(path), resize, largest))
        except BrokenImageError as error:
            failures.append(str(error))
            sizes = sizes[: len(images)]
    if len(images) < LEAST_IMAGES:
        lines = "".join(f"\n  {failure}" for failure in failures[:10])
        message = f"Of {count} images of {folder} {len(images)} can be read, {LEAST_IMAGES} are needed:{lines}"
        raise UserValueError(message)
    _say_smallest(sizes, resize)
    return images, failures


def _fitted(image: Tensor, resize: int | None, largest: int) -> Tensor:
    if resize is not None:
        height, width = image.shape[-2:]
        scale = resize / min(height, width)
        size = [max(resize, round(height * scale)), max(resize, round(width * scale))]
        scaled = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True, align_corners=False)[0]
        image = scaled.round().clamp(0, 255).to(torch.uint8)
    height, width = (min(length, largest) for length in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    # A copy: a part of a large photograph would keep all of it in memory.
    return image[:, top : top + height, left : left + width].clone()


def _say_smallest(sizes: list[tuple[int, Path]], resize: int | None) -> None:
    """Name the smallest image, which decides how large the crops of all images can be."""
    least, path = min(sizes)
    usual = sorted(size for size, _ in sizes)[len(sizes) // 2]
    if resize is None and 2 * least < usual:
        say(
            f"The smallest image, {path}, is {least} pixels high or wide, most are {usual} and more: it decides how "
            "large all crops can be. Leave it out, or pass --resize"
        )
