"""Networks small enough for dozens of runs on one CPU core, for `benchmarks/protocols`; loaded by `--import`.

Each has last feature maps of 8×8, so that most of their positions are at borders, but not all.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import segmentation_models_pytorch as smp
from timm.models import register_model
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.tasks import SegmentationTask

__all__ = [
    "NormedSegmentationTask",
    "SmallDeepLab",
    "SmallResNet",
    "replace_norms",
    "small_resnet_s4",
    "small_resnet_s8",
]

Norm = Literal["batch", "group", "instance"]
_GROUPS = 8


class _Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(inner + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network of three stages, seven padded convolutions.

    Args:
        num_classes: Number of logits.
        stride: Of the first convolution; the last features have stride `4 * stride`.
        widths: Channels of the stages.
    """

    def __init__(self, num_classes: int = 10, stride: int = 1, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stride, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        before = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(_Block(*each) for each in zip(before, widths, (1, 2, 2), strict=True)),
        )
        self.num_features = widths[-1]
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W) to the last maps (N, C, H', W')."""
        return self.stages(self.stem(image))

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, num_classes)."""
        return self.fc(self.forward_features(image).mean(dim=(2, 3)))


@register_model
def small_resnet_s4(pretrained: bool = False, num_classes: int = 10, **_: Any) -> nn.Module:
    """At stride 4: 8×8 features for 32²."""
    return SmallResNet(num_classes)


@register_model
def small_resnet_s8(pretrained: bool = False, num_classes: int = 10, **_: Any) -> nn.Module:
    """At stride 8: 8×8 features for 64²."""
    return SmallResNet(num_classes, stride=2)


class SmallDeepLab(smp.DeepLabV3Plus):
    """smp's DeepLabV3+, with dilations 2, 4 and 6 instead of 12, 24 and 36: last maps are 6×6 instead of 56×56."""

    def __init__(self, encoder_name: str = "tu-test_resnet", **options: Any) -> None:
        options = {"decoder_channels": 64, "decoder_atrous_rates": (2, 4, 6)} | options
        super().__init__(encoder_name, **options)


# smp looks up an architecture by its name here; `SegmentationTask` takes every name in this table.
smp.MODEL_ARCHITECTURES_MAPPING["smalldeeplab"] = SmallDeepLab


class NormedSegmentationTask(SegmentationTask):
    """Segmentation whose batch norms are replaced by another norm, with all other initial weights unchanged.

    Args:
        norm: `batch` leaves the network as it is; `group` takes 8 groups; `instance` has learned factors and no
            running statistics.
        options: `SegmentationTask`'s.
    """

    def __init__(self, norm: Norm = "batch", **options: Any) -> None:
        super().__init__(**options)
        if norm not in get_args(Norm):
            message = f"Expected argument `norm` to be one of {', '.join(get_args(Norm))}, but got {norm!r}"
            raise UserValueError(message)
        if norm != "batch":
            replace_norms(self.network, norm)


def replace_norms(network: nn.Module, norm: Norm) -> None:
    """Replace a network's batch norms by group or instance norms, in place.

    After a global pooling there is one pixel, which an instance norm would set to zero: the norm is left out there.
    """
    for parent in list(network.modules()):
        pooled = any(isinstance(child, nn.AdaptiveAvgPool2d) for child in parent.children())
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.BatchNorm2d):
                continue
            made: nn.Module = nn.GroupNorm(_GROUPS, child.num_features)
            if norm == "instance":
                made = nn.Identity() if pooled else nn.InstanceNorm2d(child.num_features, affine=True)
            setattr(parent, name, made)
