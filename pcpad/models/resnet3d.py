"""3D ResNets for clips, as in the papers' action recognition study."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserValueError, did_you_mean
from pcpad.models.heads import check_head, head_of
from pcpad.models.origins import refuse_stated, stated
from pcpad.models.weights import convert_and_load, fit_names, read_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pcpad.models.heads import Head

__all__ = ["ResNet3d", "resnet3d", "resnet3d18", "resnet3d34", "resnet3d50", "resnet3d101"]


def resnet3d(
    depth: int,
    num_classes: int = 400,
    padding: str = "partial",
    weights: str | Path | None = None,
    fallback: str | None = None,
    width: int = 64,
    *,
    variant: Mapping[str, int] | None = None,
    head: Head | None = None,
) -> ResNet3d:
    """Build a 3D ResNet (Hara et al. 2018, arXiv 1711.09577) and give its convolutions a padding.

    Args:
        depth: The number of layers: 18, 34, 50 or 101.
        num_classes: Logits per clip.
        padding: One of `pcpad.padding_names()`.
        weights: None for random weights, or a local file with the names of the public 3D-ResNets-PyTorch, or of
            torchvision's `r3d_18`, which is a variant of `resnet3d18`.
        fallback: The padding for axes of feature maps that are too small for `padding`: clips of 16 frames have one
            frame in the last stage, where `reflect` has nothing to reflect.
        width: Channels of the stem; 64 in the published networks.
        variant: Options of 3D-ResNets-PyTorch that change what is computed, but not, or hardly, the weights' names and
            shapes: `no_max_pool` (default false), `conv1_t_stride` (1) and `conv1_t_size` (7, odd). torchvision's
            `r3d_18` is `{"no_max_pool": True, "conv1_t_size": 3}`.
        head: `new` leaves out the last layer of `weights`, for training on other classes.

    Returns:
        The network, from `(N, 3, T, H, W)` floats to `(N, num_classes)` logits.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> import torch
        >>> resnet3d(18, num_classes=5, width=8).eval()(torch.zeros(1, 3, 16, 32, 32)).shape
        torch.Size([1, 5])
    """
    if depth not in _BLOCKS:
        message = f"Expected argument `depth` to be one of {', '.join(map(str, _BLOCKS))}, but got {depth}"
        raise UserValueError(message)
    check_num_classes(num_classes)
    if width < 1:
        message = f"Expected argument `width` to be a positive integer, but got {width}"
        raise UserValueError(message)
    check_head(head, weights)
    bottleneck, blocks = _BLOCKS[depth]
    stem = full_variant(variant)
    model = ResNet3d(blocks, bottleneck, num_classes, width, **stem)
    fit = None
    if weights is not None:
        content = read_weights(weights)
        _check_stated(stated(content), depth, stem, str(weights))
        fit = partial(fit_names, state=unwrap(content, str(weights)))
    left_out = head_of(model, num_classes) if head else ()
    source = f"weights={str(weights)!r}"
    convert_and_load(model, padding, fallback, fit, source, left_out=left_out, file=weights)
    return model


_VARIANT: dict[str, int] = {"no_max_pool": False, "conv1_t_stride": 1, "conv1_t_size": 7}


def full_variant(variant: Mapping[str, int] | None) -> dict[str, int]:
    """Complete the options of a variant with the defaults.

    Args:
        variant: Some of the options, see `resnet3d`.

    Returns:
        All options.

    Raises:
        ValueError: An unknown option, or a value out of range.
    """
    given = dict(variant or {})
    for name in given:
        if name not in _VARIANT:
            hint = did_you_mean(name, list(_VARIANT), cutoff=0.5)
            message = f"Expected argument `variant` to have {', '.join(_VARIANT)}, but got {name!r}.{hint}"
            raise UserValueError(message)
    full = _VARIANT | given
    sizes = all(type(full[name]) is int and full[name] >= 1 for name in ("conv1_t_stride", "conv1_t_size"))
    if type(full["no_max_pool"]) is not bool or not sizes or full["conv1_t_size"] % 2 == 0:
        message = (
            "Expected argument `variant` to have no_max_pool: true or false, conv1_t_stride: at least 1, "
            f"conv1_t_size: odd, but got {given}"
        )
        raise UserValueError(message)
    return full


def _check_stated(said: dict[str, Any], depth: int, stem: dict[str, int], source: str) -> None:
    """Compare the options that a file states with the built network; options that it does not state are not checked."""
    if isinstance(said.get("variant"), dict):  # a checkpoint of this suite's
        said |= _VARIANT | said["variant"]
    elif "network" in said and "_class_path" in said:
        said |= _VARIANT
    arch = re.fullmatch(r"(\w*?)[-_]?(\d+)", str(said.pop("arch", "")))
    kind = said.pop("model", None) if isinstance(said.get("model"), str) else None
    name = f"{arch[1]}-{arch[2]}" if arch else f"{kind}-{said['model_depth']}" if kind and "model_depth" in said else ""
    if name and name.split("-")[0] in _OTHERS:
        said["arch"] = name
    ways = {"arch": "use a network of that kind.", **{one: f"--model.variant.{one} {{}}" for one in _VARIANT}}
    if said.get("resnet_shortcut") in (None, "B"):
        said.pop("resnet_shortcut", None)
    refuse_stated(said, {"arch": f"resnet-{depth}", "resnet_shortcut": "B", **stem}, source, ways)


# The possible `arch` and `model` of 3D-ResNets-PyTorch.
_OTHERS = ("resnet", "resnet2p1d", "preresnet", "wideresnet", "resnext", "densenet")

# Whether blocks are bottlenecks, and the number of blocks per stage.
_BLOCKS: dict[int, tuple[bool, tuple[int, ...]]] = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
}

resnet3d18 = partial(resnet3d, 18)
resnet3d34 = partial(resnet3d, 34)
resnet3d50 = partial(resnet3d, 50)
resnet3d101 = partial(resnet3d, 101)


class ResNet3d(nn.Module):
    """A stem with stride (1, 2, 2), a max pool, four stages of residual blocks, and global average pooling.

    For clips of 16 frames at 112 x 112, the maps are 16 x 56² after the stem, 8 x 28² after the pool and `layer1`, 4 x
    14² after `layer2`, 2 x 7² after `layer3` and 1 x 4² after `layer4`.

    Args:
        blocks: The number of residual blocks of each of the four stages.
        bottleneck: Whether a block has kernel sizes 1, 3 and 1 with four times the channels at its end, or 3 and 3.
        num_classes: Logits per clip.
        width: Channels of the stem.
        no_max_pool: Whether to leave out the max pool.
        conv1_t_stride: The stem's stride in time.
        conv1_t_size: The stem's kernel size in time, odd.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        bottleneck: bool,
        num_classes: int = 400,
        width: int = 64,
        *,
        no_max_pool: bool | int = False,
        conv1_t_stride: int = 1,
        conv1_t_size: int = 7,
    ) -> None:
        super().__init__()
        kernel, stride = (conv1_t_size, 7, 7), (conv1_t_stride, 2, 2)
        self.conv1 = nn.Conv3d(3, width, kernel, stride=stride, padding=(conv1_t_size // 2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if no_max_pool else nn.MaxPool3d(3, stride=2, padding=1)
        channels = width
        for stage, count in enumerate(blocks):
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            inner = width * 2**stage
            widths = (inner, inner, 4 * inner) if bottleneck else (inner, inner)
            layers = []
            for index in range(count):
                layers.append(ResidualBlock3d(channels, widths, kernels, 2 if stage and not index else 1))
                channels = widths[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, clip: Tensor) -> list[Tensor]:
        """The stem's and the four stages' maps for clips (N, 3, T, H, W), fine to coarse."""
        maps = [self.relu(self.bn1(self.conv1(clip)))]
        x = self.maxpool(maps[0])
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Compute logits.

        Args:
            clip: (N, 3, T, H, W), normalized, of any length and size whose feature maps the padding can pad.

        Returns:
            (N, num_classes).
        """
        logits: Tensor = self.fc(self.avgpool(self.features(clip)[-1]).flatten(1))
        return logits


class ResidualBlock3d(nn.Module):
    """Two or three convolutions with batch norm and a shortcut, which is a 1x1x1 convolution if the shape changes.

    Args:
        in_channels: Channels of the input.
        widths: Output channels of each convolution.
        kernels: Kernel size of each convolution.
        stride: Stride of the first convolution with kernel size 3, in time and space.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], kernels: Sequence[int], stride: int) -> None:
        super().__init__()
        self.depth = len(widths)
        channels = in_channels
        for index, (width, kernel) in enumerate(zip(widths, kernels, strict=True), start=1):
            step = stride if index == kernels.index(3) + 1 else 1
            self.add_module(f"conv{index}", nn.Conv3d(channels, width, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm3d(width))
            channels = width
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            projection = nn.Conv3d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, widths[-1], T / stride, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for index in range(1, self.depth + 1):
            x = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x))
            if index < self.depth:
                x = self.relu(x)
        output: Tensor = self.relu(x + shortcut)
        return output
