"""torchvision's ResNets at output stride 8, as encoders."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from pcpad.models.checkpointing import Stage

if TYPE_CHECKING:
    from torchvision.models.resnet import ResNet

__all__ = ["RESNETS", "dilated_resnet", "from_torchvision"]

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
_DILATION = {"layer3": 2, "layer4": 4}


def dilated_resnet(name: str) -> nn.Sequential:
    """Build a ResNet whose last two layers are dilated by 2 and 4 instead of strided.

    Every 3x3 convolution of these layers is dilated, including the first block's; torchvision's
    `replace_stride_with_dilation` keeps the previous layer's dilation in the first block.

    Args:
        name: One of `RESNETS`.

    Returns:
        The chain `layer0` (stem and max pool, stride 4), `layer1`, `layer2` (stride 8), `layer3`, `layer4`.
    """
    from torchvision import models

    network: ResNet = models.get_model(name, weights=None)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["layer0"] = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        stage = Stage(OrderedDict(network.get_submodule(layer).named_children()))
        if layer in _DILATION:
            _dilate(stage, _DILATION[layer])
        layers[layer] = stage
    return nn.Sequential(layers)


def _dilate(stage: nn.Module, rate: int) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (rate, rate)


def from_torchvision(name: str) -> str:
    """Rename a weight of a torchvision ResNet, whose stem is `layer0` here, as in the published DeepLabV3+ files.

    Args:
        name: `conv1.weight`, `bn1.bias`, `layer1.0.conv1.weight`, ….

    Returns:
        `layer0.0.weight`, `layer0.1.bias`, `layer1.0.conv1.weight`, ….
    """
    for theirs, ours in (("conv1.", "layer0.0."), ("bn1.", "layer0.1.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
