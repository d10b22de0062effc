"""Contents of the published partial-convolution U-Nets' files: families, layers, names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = [
    "FAMILIES",
    "KERAS",
    "KERAS_NORM",
    "MMAGIC",
    "NAOTO0804",
    "NORM",
    "TANIMUTOMO",
    "Family",
    "Found",
    "Layer",
    "layer_table",
    "size_text",
]

_KERNELS = (7, 5, 5)
_WIDEST = 8
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
KERAS_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


class Family(NamedTuple):
    """A published network.

    Attributes:
        name: The family's name.
        mean: The mean per channel of RGB images in [0, 1].
        std: The standard deviation per channel, likewise.
        bgr: Whether its first channel is blue.
        own_layers: Its layers that `InpaintingUNet` does not have; empty if there are none.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False
    own_layers: str = ""


_RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NAOTO0804 = Family("naoto0804", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MMAGIC = Family("mmagic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bgr=True)
TANIMUTOMO = Family(
    "tanimutomo", *_RAW, own_layers="no norms, and a last layer that multiplies by the ratio of valid inputs twice"
)
KERAS = Family("PConv-Keras", *_RAW, own_layers="a leaky ReLU, a 1x1 convolution and a sigmoid after our last layer")
FAMILIES = (NAOTO0804, MMAGIC, TANIMUTOMO, KERAS)


class Layer(NamedTuple):
    """A layer of the papers' network.

    Attributes:
        ours: Its name in `InpaintingUNet`.
        conv: The name of its convolution in the file.
        norm: The name of its norm in the file; None without a norm.
        shape: The shape of its weight.
        skip: The number of its input channels that come from the skip connection.
    """

    ours: str
    conv: str
    norm: str | None
    shape: tuple[int, int, int, int]
    skip: int


@dataclass(frozen=True)
class Found:
    """A published network's weights, recognized but not yet checked.

    Attributes:
        family: The family they belong to.
        state: Names to tensors as in the file, without a common prefix.
        depth: How often the network halves the image.
        width: Channels of its first level.
        layers: The layers that the file should have, in order of execution.
    """

    family: Family
    state: dict[str, Tensor]
    depth: int
    width: int
    layers: list[Layer]

    def needed(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name of the tensors that the file must have."""
        keras = self.family is KERAS
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            outs, ins, *kernel = layer.shape
            shapes[f"{layer.conv}.{'img_kernel' if keras else 'weight'}"] = (
                (*kernel, ins, outs) if keras else layer.shape
            )
            if keras or self._has_bias(layer):
                shapes[f"{layer.conv}.bias"] = (outs,)
            if layer.norm is not None:
                shapes |= {f"{layer.norm}.{part}": (outs,) for part in (KERAS_NORM if keras else NORM[:4])}
        if keras:
            shapes |= {"outputs.kernel": (1, 1, 3, 3), "outputs.bias": (3,)}
        return shapes

    def allowed(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name of the tensors that the file may have in addition."""
        shapes: dict[str, tuple[int, ...]] = {}
        # tanimutomo's layer computes something else with a bias, and only the last layer has one.
        for layer in self.layers if self.family in (NAOTO0804, MMAGIC) else []:
            shapes[f"{layer.conv}.bias"] = layer.shape[:1]
            if layer.norm is not None:
                shapes[f"{layer.norm}.num_batches_tracked"] = ()
        return shapes

    def ones(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name of the kernels of ones that count valid inputs, which may be missing."""
        if self.family is NAOTO0804:
            names = [layer.conv.replace("input_conv", "mask_conv").replace("conv2d", "mask2d") for layer in self.layers]
            return {f"{name}.weight": layer.shape for name, layer in zip(names, self.layers, strict=True)}
        return {f"{layer.conv}.weight_mask_updater": layer.shape for layer in self.layers}

    def _has_bias(self, layer: Layer) -> bool:
        """Whether this layer has a bias in the family's definition."""
        return layer is self.layers[-1] or (layer.norm is None and self.family is MMAGIC)


def layer_table(
    depth: int, width: int, conv: Callable[[bool, int], str], norm: Callable[[bool, int], str] | None
) -> list[Layer]:
    """List the layers of the papers' network.

    Args:
        depth: Its number of levels.
        width: Channels of the first level.
        conv: Returns the name of a convolution in the file, given whether it is in the encoder, and its level from 1.
        norm: Likewise for the norm; None for a family without norms.
    """
    outs = [width * min(2**level, _WIDEST) for level in range(depth)]
    ins = [3, *outs[:-1]]
    kernels = [*_KERNELS, *[3] * depth]
    table = []
    for level in range(depth):
        shape = (outs[level], ins[level], kernels[level], kernels[level])
        named = None if norm is None or level == 0 else norm(True, level + 1)
        table.append(Layer(f"encoder.{level}", conv(True, level + 1), named, shape, 0))
    for level in reversed(range(depth)):
        shape = (ins[level], outs[level] + ins[level], 3, 3)
        named = None if norm is None or level == 0 else norm(False, level + 1)
        table.append(Layer(f"decoder.{depth - 1 - level}", conv(False, level + 1), named, shape, ins[level]))
    return table


def size_text(shape: Sequence[int]) -> str:
    """Format a shape for an error: `64 x 3 x 7 x 7`."""
    return " x ".join(map(str, shape)) or "scalar"
