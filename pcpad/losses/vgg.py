"""Features of VGG16 and VGG19 that perceptual losses compare (Johnson et al. 2016, arXiv 1603.08155)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.models.classifiers import read_published_or_own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["VGG16Features", "VGG19Features"]

# Convolutions of torchvision's `vgg16().features` by their index, a line for each pooling layer after them.
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14))
_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256)
# The same of `vgg19().features`, up to the fifth block's first convolution.
_BLOCKS_19 = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))
_CHANNELS_19 = (3, 64, 64, 128, 128, *[256] * 4, *[512] * 5)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG16Features(nn.Module):
    """The outputs of VGG16's first three pooling layers (`features[4]`, `[9]`, `[16]` of torchvision's).

    Its weights are buffers that no `state_dict` holds: nothing trains them, no checkpoint holds them, strict loading
    does not ask for them, and they follow the module to its device.

    Args:
        weights: `published` for torchvision's ImageNet weights, from torchvision's own cache; or a local file with
            them, of the whole network or of `features` alone. Nothing is fetched.

    Raises:
        FileNotFoundError: The file is not there; the message says how to get it, and how to do without.
        ValueError: The file is not VGG16's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path = "published") -> None:
        super().__init__()
        try:
            state, path = read_published_or_own(weights, "vgg16", "IMAGENET1K_V1", "vgg")
        except FileNotFoundError as error:
            message = (
                f"The perceptual and style losses compare features of VGG16, whose weights are missing. {error} "
                "To train without these terms set their weights, `perceptual` and `style`, to 0 (on the command line "
                "--model.loss_weights '{perceptual: 0, style: 0}'): the pictures get blurrier."
            )
            raise UserFileNotFoundError(message) from error
        _keep(self, state, path, "VGG16", _BLOCKS, _CHANNELS)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the features.

        Args:
            image: (N, 3, H, W), RGB in [0, 1], of at least 8x8 pixels.

        Returns:
            (N, 64, H/2, W/2), (N, 128, H/4, W/4) and (N, 256, H/8, W/8), all >= 0.

        Raises:
            ValueError: The image is too small.
        """
        if min(image.shape[-2:]) < 8:
            message = f"VGG16's third pooling layer needs images of at least 8x8 pixels, but got {tuple(image.shape)}"
            raise UserValueError(message)
        x, features = (image - self.mean) / self.std, []
        for block in _BLOCKS:
            for index in block:
                x = F.relu(F.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"), padding=1))
            x = F.max_pool2d(x, 2)
            features.append(x)
        return features


class VGG19Features(nn.Module):
    """The outputs of VGG19's `relu1_1`, `relu2_1`, `relu3_1`, `relu4_1` and `relu5_1`.

    Its weights are buffers that no `state_dict` holds, as those of `VGG16Features`.

    Args:
        weights: `published` for torchvision's ImageNet weights, from torchvision's own cache; or a local file with
            them, of the whole network or of `features` alone. Nothing is fetched.

    Raises:
        FileNotFoundError: The file is not there; the message says how to get it, and how to do without.
        ValueError: The file is not VGG19's.
    """

    def __init__(self, weights: str | Path = "published") -> None:
        super().__init__()
        try:
            state, path = read_published_or_own(weights, "vgg19", "IMAGENET1K_V1", "vgg")
        except FileNotFoundError as error:
            message = (
                f"The perceptual loss compares features of VGG19, whose weights are missing. {error} To train without "
                "it set its weight to 0, and decide which checkpoint is best by another metric than val/vgg (on the "
                "command line --model.loss_weights '{vgg: 0}' --checkpoint.monitor val/l1): the pictures get worse."
            )
            raise UserFileNotFoundError(message) from error
        _keep(self, state, path, "VGG19", _BLOCKS_19, _CHANNELS_19)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the features.

        Args:
            image: (N, 3, H, W), as the network shall see it, of at least 16x16 pixels. (The published SPADE shows it
                images in [-1, 1], not normalized as in its training.)

        Returns:
            (N, 64, H, W), (N, 128, H/2, W/2), (N, 256, H/4, W/4), (N, 512, H/8, W/8) and (N, 512, H/16, W/16), >= 0.

        Raises:
            ValueError: The image is too small.
        """
        if min(image.shape[-2:]) < 16:
            message = f"VGG19's fifth block needs images of at least 16x16 pixels, but got {tuple(image.shape)}"
            raise UserValueError(message)
        features: list[Tensor] = []
        x = image
        for block in _BLOCKS_19:
            x = F.max_pool2d(x, 2) if features else x
            for index in block:
                x = F.relu(F.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"), padding=1))
                if index == block[0]:
                    features.append(x)
        return features


def _keep(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    network: str,
    blocks: tuple[tuple[int, ...], ...],
    channels: tuple[int, ...],
) -> None:
    """Register a network's convolutions as buffers outside the state dict.

    Raises:
        ValueError: One is missing, or has another shape, or values that are not finite.
    """
    prefix = "features." if any(name.startswith("features.") for name in state) else ""
    shapes = zip(channels[1:], channels[:-1], strict=True)
    for index, (out, into) in zip((i for block in blocks for i in block), shapes, strict=True):
        for part, shape in (("weight", (out, into, 3, 3)), ("bias", (out,))):
            value = state.get(f"{prefix}{index}.{part}")
            if value is None or tuple(value.shape) != shape or not bool(value.isfinite().all()):
                came = "missing" if value is None else f"{tuple(value.shape)}, or not finite"
                message = (
                    f"{source} does not hold {network}'s weights: expected a finite `features.{index}.{part}` of "
                    f"{shape}, which is {came}. Batch-normalized variants ({network.lower()}_bn) do not fit."
                )
                raise UserValueError(message)
            module.register_buffer(f"{part}{index}", value.detach().float().clone(), persistent=False)
