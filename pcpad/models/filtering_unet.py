"""The small U-Net of the 2022 paper's Gaussian-filtering study (§4.1.1)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.models.weights import convert_and_load, fit_names, read_weights, unwrap

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FilteringUNet", "filtering_unet"]

_SLOPE = 0.2
_KERNEL = 5


def filtering_unet(
    width: int = 32,
    padding: str = "partial",
    *,
    weights: str | Path | None = None,
    fallback: str | None = None,
) -> FilteringUNet:
    """Build the U-Net and give its convolutions a padding.

    Args:
        width: Channels of the first block, doubled in each of the other three: 32, 64, 128, 256 in the paper.
        padding: One of `pcpad.padding_names()`.
        weights: A local file, see `load_weights`; None for random weights.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.

    Returns:
        The network, from `(N, 3, H, W)` floats to `(N, 3, H, W)` floats, for any size whose feature maps `padding` can
        pad.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> filtering_unet(width=4)(torch.zeros(1, 3, 50, 33)).shape
        torch.Size([1, 3, 50, 33])
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        message = f"Expected argument `width` to be a positive integer, but got {width!r}"
        raise UserValueError(message)
    model = FilteringUNet(width)
    state = None if weights is None else unwrap(read_weights(weights), str(weights))
    fit = None if state is None else lambda target: fit_names(target, state)
    convert_and_load(model, padding, fallback, fit, f"weights={str(weights)!r}", file=weights)
    return model


class FilteringUNet(nn.Module):
    """Four 5×5 convolutions with stride 2, and a decoder with skip connections from the first three; zero-padded.

    From the paper: kernel size, stride, padding 2, leaky ReLU, 32 to 256 filters, "symmetric decoder block with
    decreasing number of filters", "skip connections between 1st, 2nd, and 3rd blocks". Choices that the paper leaves
    open:

    - no normalization, as the paper mentions none, and it would mix border errors into the rest of the image;
    - the decoder upsamples by nearest neighbor and then convolves, 5×5 with stride 1. Transposed convolutions have no
      padding to compare: theirs crops the output;
    - a skip connection concatenates the encoder's map after upsampling; there is none from the input, so all detail
      passes through maps of half the size;
    - the last convolution has no activation, and the slope of the leaky ReLU is 0.2;
    - weights are initialized for that slope (He et al. 2015, arXiv 1502.01852), biases are 0.

    Args:
        width: Channels of the first block.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        down = [3, width, 2 * width, 4 * width, 8 * width]
        self.encoder = nn.ModuleList(_conv(a, b, stride=2) for a, b in itertools.pairwise(down))
        # Each takes the previous block's output, upsampled, and the encoder's maps of the new size.
        self.decoder = nn.ModuleList(_conv(down[i + 1] + down[i], down[i]) for i in (3, 2, 1))
        self.head = _conv(width, 3)
        self.activation = nn.LeakyReLU(_SLOPE)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Filter images `(N, 3, H, W)` to images of the same size."""
        maps = [image]
        for block in self.encoder:
            maps.append(self.activation(block(maps[-1])))
        x = maps.pop()
        for block in self.decoder:
            skip = maps.pop()
            x = self.activation(block(torch.cat([_enlarge(x, skip), skip], dim=1)))
        output: Tensor = self.head(_enlarge(x, image))
        return output


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, _KERNEL, stride=stride, padding=_KERNEL // 2)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Upsample by 2, and crop to another map's size: position j of a block's output is centered at 2j of its input."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[..., : like.shape[-2], : like.shape[-1]]
