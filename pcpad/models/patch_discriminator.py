"""The multi-scale PatchGAN discriminator of pix2pixHD (Wang et al. 2018), in the form that SPADE uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pcpad.class_counts import MOST_LABELS, check_num_classes
from pcpad.models.spade import initialize_gan
from pcpad.models.weights import load_weights

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MultiScaleDiscriminator", "PatchDiscriminator", "patch_discriminator"]

_LAYERS = 4  # convolutions before the one that outputs the logits


def patch_discriminator(
    in_channels: int = 39, weights: str | Path | None = None, *, scales: int = 2, ndf: int = 64
) -> MultiScaleDiscriminator:
    """Build the discriminator, as published for Cityscapes by default.

    Args:
        in_channels: Channels of the conditioning map and the image together.
        weights: A local file with the published names.
        scales: The number of resolutions.
        ndf: Channels of the first convolution; 64 as published, fewer for small demonstrations.

    Returns:
        The network, from (N, in_channels, H, W) to the feature maps per scale, of which the last are the logits.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> import torch
        >>> features = patch_discriminator(5, ndf=4)(torch.zeros(1, 5, 64, 128))
        >>> [tuple(maps[-1].shape) for maps in features]
        [(1, 1, 11, 19), (1, 1, 7, 11)]
    """
    model = MultiScaleDiscriminator(in_channels, scales=scales, ndf=ndf)
    return model if weights is None else load_weights(model, weights)


class MultiScaleDiscriminator(nn.Module):
    """Identical discriminators, each at half the resolution of the previous one; see `patch_discriminator`."""

    def __init__(self, in_channels: int = 39, *, scales: int = 2, ndf: int = 64) -> None:
        super().__init__()
        for name, value in {"in_channels": in_channels, "scales": scales, "ndf": ndf}.items():
            check_num_classes(value, name, most=MOST_LABELS)
        for scale in range(scales):
            self.add_module(f"discriminator_{scale}", PatchDiscriminator(in_channels, ndf))
        initialize_gan(self)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Classify patches of (N, in_channels, H, W), with the image in [-1, 1].

        Returns:
            Five maps per scale, fine to coarse; the last one holds the logits (N, 1, H', W'), one per patch.
        """
        results = []
        for scale, judge in enumerate(self.children()):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            results.append(judge(x))
        return results


class PatchDiscriminator(nn.Module):
    """Five 4x4 convolutions, the first three of stride 2; all but the first and last with spectral and instance norm.

    Args:
        in_channels: Channels of the input.
        ndf: Channels of the first convolution; they double up to 512, or 8 times as many.
    """

    def __init__(self, in_channels: int, ndf: int = 64) -> None:
        super().__init__()
        channels = ndf
        self.model0 = nn.Sequential(nn.Conv2d(in_channels, ndf, 4, stride=2, padding=2), nn.LeakyReLU(0.2))
        for layer in range(1, _LAYERS):
            wider = min(2 * channels, 8 * ndf)
            stride = 1 if layer == _LAYERS - 1 else 2
            # The norm would cancel a bias.
            convolution = spectral_norm(nn.Conv2d(channels, wider, 4, stride=stride, padding=2, bias=False))
            normed = nn.Sequential(convolution, nn.InstanceNorm2d(wider))
            self.add_module(f"model{layer}", nn.Sequential(normed, nn.LeakyReLU(0.2)))
            channels = wider
        self.add_module(f"model{_LAYERS}", nn.Sequential(nn.Conv2d(channels, 1, 4, padding=2)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The five layers' outputs, the last (N, 1, H / 8 + 3, W / 8 + 3)."""
        maps = []
        for layer in self.children():
            x = layer(x)
            maps.append(x)
        return maps
