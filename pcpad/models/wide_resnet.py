"""WideResNet38, the pre-activation network of Wu et al. 2016 (arXiv 1611.10080) in the form used for segmentation."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserValueError
from pcpad.models.checkpointing import Stage, set_checkpointing
from pcpad.models.weights import convert_and_load, encoder_state, initialize

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FEATURE_CHANNELS", "WideResNet38", "wide_resnet38"]

# Per module from mod2 on: the number of blocks, and the output channels of a block's convolutions, three in a
# bottleneck.
_STRUCTURE = (
    (3, (128, 128)),
    (3, (256, 256)),
    (6, (512, 512)),
    (3, (512, 1024)),
    (1, (512, 1024, 2048)),
    (1, (1024, 2048, 4096)),
)
_DROPOUT = {"mod6": 0.3, "mod7": 0.5}
# The network's stride after each module that halves the resolution without dilation. Max pools halve it before mod2 and
# mod3; in the first blocks of these three modules, a smaller output stride replaces the stride with dilation.
_STRIDE_AFTER = {"mod4": 8, "mod5": 16, "mod6": 32}
FEATURES = ("mod2", "mod3", "mod4", "mod5", "mod7")
FEATURE_CHANNELS = (128, 256, 512, 1024, 4096)


def wide_resnet38(
    num_classes: int | None = None,
    padding: str = "partial",
    weights: str | Path | None = None,
    *,
    output_stride: int = 8,
    fallback: str | None = None,
    checkpointing: bool = False,
) -> WideResNet38:
    """Build a WideResNet38 (`wider_resnet38_a2`) and give its convolutions a padding.

    Args:
        num_classes: None for an encoder; a number for a classifier, with `bn_out` and `classifier.fc` on top.
        padding: See `pcpad.convert_padding`.
        weights: A local file with the published names. An encoder takes an ImageNet classifier's file, without `bn_out`
            and `classifier`, and a DeepLabV3+'s, without its head.
        output_stride: 8, as in segmentation, with mod5 dilated by 2 and mod6 and mod7 by 4; 16; or 32, undilated.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.
        checkpointing: Gradient checkpointing: keep only each block's input for the backward pass and recompute the
            rest.

    Returns:
        The network.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     encoder = wide_resnet38()
        ...     features = encoder.features(torch.empty(1, 3, 64, 128))
        >>> [tuple(feature.shape[1:]) for feature in features]
        [(128, 32, 64), (256, 16, 32), (512, 8, 16), (1024, 8, 16), (4096, 8, 16)]
    """
    model = WideResNet38(num_classes, output_stride)
    set_checkpointing(model, checkpointing)
    parts = [name for name, _ in model.named_children()]
    fit = None if weights is None else encoder_state(weights, parts)
    convert_and_load(model, padding, fallback, fit, f"weights={str(weights)!r}", file=weights)
    return model


class WideResNet38(nn.Module):
    """Seven modules of pre-activation residual blocks, 4096 channels at the end; see `wide_resnet38`.

    The children up to `mod7` form a chain. An encoder ends there, before the normalization (`bn_out`) of a
    pre-activation classifier, as DeepLabV3+'s published weights require.

    Args:
        num_classes: None for an encoder, else the number of logits.
        output_stride: 8, 16 or 32.
    """

    def __init__(self, num_classes: int | None = None, output_stride: int = 8) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            message = f"Expected argument `output_stride` to be 8, 16 or 32, but got {output_stride}"
            raise UserValueError(message)
        check_num_classes(num_classes, optional=True)
        self.mod1 = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 64, 3, padding=1, bias=False)))
        channels = 64
        for index, (count, widths) in enumerate(_STRUCTURE, start=2):
            if index <= 3:
                self.add_module(f"pool{index}", nn.MaxPool2d(3, stride=2, padding=1))
            self.add_module(f"mod{index}", _stage(f"mod{index}", count, channels, widths, output_stride))
            channels = widths[-1]
        if num_classes is not None:
            self.bn_out = _norm_relu(channels)
            self.classifier = nn.Sequential(
                OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, num_classes))
            )
        initialize(self)

    def features(self, image: Tensor, depth: int = 5) -> list[Tensor]:
        """Feature maps for images (N, 3, H, W), fine to coarse.

        Args:
            image: (N, 3, H, W), normalized.
            depth: The number of maps, up to five.

        Returns:
            The outputs of mod2, mod3, mod4, mod5 and mod7, with 128, 256, 512, 1024 and 4096 channels, at strides 2, 4,
            8, 16 and 32, but at most the output stride.
        """
        maps: list[Tensor] = []
        x = image
        for name, part in self.named_children():
            if len(maps) == depth or name == "bn_out":
                break
            x = part(x)
            if name in FEATURES:
                maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes) of a classifier; mod7's map (N, 4096, H', W') of an encoder."""
        x = image
        for part in self.children():
            x = part(x)
        return x


def _stage(name: str, count: int, in_channels: int, widths: tuple[int, ...], output_stride: int) -> Stage:
    after = _STRIDE_AFTER.get(name, 1)  # mod2 and mod3 never dilate; mod7 keeps mod6's final stride and dilation
    dilation = max(1, (32 if name == "mod7" else after) // output_stride)
    stride = 2 if name in _STRIDE_AFTER and after <= output_stride else 1
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(count):
        drop = _DROPOUT.get(name, 0.0)
        first = index == 0
        blocks[f"block{index + 1}"] = PreActivationBlock(
            in_channels if first else widths[-1], widths, stride if first else 1, dilation, drop
        )
    return Stage(blocks)


class PreActivationBlock(nn.Module):
    """Norm and ReLU before each convolution (He et al. 2016, arXiv 1603.05027); no convolution has a bias.

    If channels or resolution change, the shortcut is a 1x1 convolution of the first norm's output, not of the block's
    input.

    Args:
        in_channels: Channels of the input.
        widths: Output channels of two 3x3 convolutions, or of a bottleneck's 1x1, 3x3 and 1x1.
        stride: Stride of the first convolution.
        dilation: Dilation of the 3x3 convolutions.
        dropout: Probability of dropping a channel before a bottleneck's last convolution.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, ...], stride: int = 1, dilation: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        self.bn1 = _norm_relu(in_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for index, (kernel, width) in enumerate(zip(kernels, widths, strict=True), start=1):
            if index > 1:
                layers[f"bn{index}"] = _norm_relu(channels)
            if index == 3 and dropout:
                layers["dropout"] = nn.Dropout2d(dropout)
            step = stride if index == 1 else 1
            spread = dilation if kernel == 3 else 1
            layers[f"conv{index}"] = nn.Conv2d(
                channels, width, kernel, step, padding=spread * (kernel // 2), dilation=spread, bias=False
            )
            channels = width
        self.convs = nn.Sequential(layers)
        if stride != 1 or in_channels != channels:
            self.proj_conv: nn.Conv2d | None = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        else:
            self.proj_conv = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, widths[-1], H / stride, W / stride)."""
        normed = self.bn1(x)
        shortcut = x if self.proj_conv is None else self.proj_conv(normed)
        output: Tensor = self.convs(normed).add_(shortcut)
        return output


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
