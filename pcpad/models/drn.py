"""DRN-D-105 with a segmentation head (Yu et al. 2017, arXiv 1705.09914), the usual judge of synthesized streets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.models.weights import load_weights

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DilatedResidualNetwork", "drn_d_105"]

# Per bottleneck level from 3 to 6: blocks, inner channels, stride, dilation.
_LEVELS = ((3, 64, 2, 1), (4, 128, 2, 1), (23, 256, 1, 2), (3, 512, 1, 4))
_EXPANSION = 4


def drn_d_105(num_classes: int = 19, weights: str | Path | None = None) -> DilatedResidualNetwork:
    """Build a DRN-D-105 for segmentation.

    Args:
        num_classes: The number of classes; 19 in the published file for Cityscapes, `drn-d-105_ms_cityscapes.pth`.
        weights: A local file with the published names.

    Returns:
        The network, from normalized images (N, 3, H, W) to log-probabilities (N, num_classes, H, W).

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> with torch.device("meta"):
        ...     network = drn_d_105()
        ...     scores = network(torch.empty(1, 3, 64, 128))
        >>> scores.shape
        torch.Size([1, 19, 64, 128])
    """
    model = DilatedResidualNetwork(num_classes)
    return model if weights is None else load_weights(model, weights)


class DilatedResidualNetwork(nn.Module):
    """A ResNet-101 at output stride 8 that begins and ends with plain convolutions, without pooling or gridding.

    Images are normalized by the mean (0.2901, 0.3281, 0.2870) and deviation (0.1830, 0.1866, 0.1845) of their values in
    [0, 1].

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int = 19) -> None:
        super().__init__()
        check_num_classes(num_classes)
        levels: list[nn.Module] = [_convolution(3, 16, kernel=7), _convolution(16, 16), _convolution(16, 32, stride=2)]
        channels = 32
        for blocks, width, stride, dilation in _LEVELS:
            level = []
            for block in range(blocks):
                level.append(Bottleneck(channels, width, stride if block == 0 else 1, dilation))
                channels = _EXPANSION * width
            levels.append(nn.Sequential(*level))
        levels += [_convolution(channels, 512, dilation=2), _convolution(512, 512)]
        self.base = nn.Sequential(*levels)
        self.seg = nn.Conv2d(512, num_classes, 1)
        self.up = nn.ConvTranspose2d(num_classes, num_classes, 16, stride=8, padding=4, groups=num_classes, bias=False)
        self.up.weight.requires_grad_(False).copy_(_bilinear(16).expand_as(self.up.weight))

    def forward(self, image: Tensor) -> Tensor:
        """Classify each pixel.

        Args:
            image: (N, 3, H, W), normalized.

        Returns:
            Log-probabilities (N, num_classes, H, W), which can serve as logits.
        """
        y = self.up(self.seg(self.base(image)))
        return F.log_softmax(y[..., : image.shape[2], : image.shape[3]], dim=1)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut, which is a 1x1 convolution if the shape changes.

    Args:
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolution; the output has four times as many.
        stride: Stride of the 3x3 convolution.
        dilation: Dilation of the 3x3 convolution.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        outs = _EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outs, 1, bias=False), nn.BatchNorm2d(outs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != outs:
            shortcut = nn.Conv2d(in_channels, outs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, 4 · width, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        output: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return output


def _convolution(ins: int, outs: int, stride: int = 1, dilation: int = 1, kernel: int = 3) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(ins, outs, kernel, stride, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outs), nn.ReLU(inplace=True))


def _bilinear(size: int) -> Tensor:
    """The kernel (size, size) with which a transposed convolution of stride `size / 2` interpolates bilinearly."""
    half = size // 2
    tent = 1 - (torch.arange(size) - (half - 0.5)).abs() / half
    return tent[:, None] * tent
