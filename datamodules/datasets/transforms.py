"""Transforms of images between file and batch, on uint8 tensors."""

from collections.abc import Callable
from functools import partial

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

Transform = Callable[[torch.Tensor], torch.Tensor]
"""From `(3, H, W)` to `(3, H', W')`, uint8."""


def evaluation_transform(resize: int, size: int) -> Transform:
    """The center of the resized image; see `resize_and_crop`."""
    return partial(resize_and_crop, resize=resize, size=size)


def training_transform(
    resize: int,
    size: int,
    crop_scale: tuple[float, float] | None,
    crop_ratio: tuple[float, float],
    horizontal_flip: float,
) -> Transform:
    """Random resized crop and random flip, each optional.

    Args:
        resize: See `resize_and_crop`; used without random crops.
        size: Height and width of the result.
        crop_scale: Smallest and largest fraction of the area that a random crop covers; None: the crop of evaluation.
        crop_ratio: Smallest and largest width / height of a random crop.
        horizontal_flip: Probability of mirroring.

    Returns:
        A picklable callable from `(3, H, W)` uint8 to `(3, size, size)` uint8. It draws from torch's global
        generator, which a DataLoader seeds in each worker process.
    """
    crop = evaluation_transform(resize, size)
    if crop_scale is not None:
        crop = v2.RandomResizedCrop(size, scale=crop_scale, ratio=crop_ratio, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(horizontal_flip)]) if horizontal_flip > 0 else crop


def resize_and_crop(image: torch.Tensor, resize: int, size: int) -> torch.Tensor:
    """Resize an image's shorter side, bilinear and antialiased, and cut out the center.

    Args:
        image: `(3, H, W)` uint8.
        resize: The shorter side's new length, at least `size`.
        size: Height and width to cut out.

    Returns:
        `(3, size, size)` uint8.
    """
    # A strip of 1 × 10 000 pixels would become 256 × 2 560 000; parts outside of the crop are removed before.
    longest = 8 * min(image.shape[-2:])
    if max(image.shape[-2:]) > longest:
        image = tvf.center_crop(image, [min(side, longest) for side in image.shape[-2:]])
    cropped: torch.Tensor = tvf.center_crop(tvf.resize(image, [resize], antialias=True), [size, size])
    return cropped
