"""What files of the published partial-convolution U-Nets hold: their families, layers, names and shapes."""

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
        name: Of the family.
        mean: Of each channel, of images in [0, 1] of RGB.
        std: Of each channel, likewise.
        bgr: Whether its first channel is blue.
        own_layers: What of it `InpaintingUNet` does not have; empty where it has all.
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
    "tanimutomo", *_RAW, own_layers="no norms, and a last layer that multiplies by the ratio of valid taps twice"
)
KERAS = Family(
    "PConv-Keras", *_RAW, own_layers="a leaky ReLU, a 1x1 convolution and a sigmoid after what is the last layer here"
)
FAMILIES = (NAOTO0804, MMAGIC, TANIMUTOMO, KERAS)


class Layer(NamedTuple):
    """A layer of the papers' network.

    Attributes:
        ours: Its name here.
        conv: The name of its convolution in the file.
        norm: The name of its norm in the file; None where it has none.
        shape: Of its weight.
        skip: How many of its input channels the skip connection brings.
    """

    ours: str
    conv: str
    norm: str | None
    shape: tuple[int, int, int, int]
    skip: int


@dataclass(frozen=True)
class Found:
    """A published network's weights, recognized and not yet checked.

    Attributes:
        family: Whose they are.
        state: Names to tensors as the file has them, without what stands in front of all of them.
        depth: How often the network halves the image.
        width: Channels of its first level.
        layers: What the file should have, in the order of the forward pass.
    """

    family: Family
    state: dict[str, Tensor]
    depth: int
    width: int
    layers: list[Layer]

    def needed(self) -> dict[str, tuple[int, ...]]:
        """Shapes by the names that the file must have."""
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
        """Shapes by the names that it may have besides."""
        shapes: dict[str, tuple[int, ...]] = {}
        # tanimutomo's layer computes something else with a bias, and has one at the end alone.
        for layer in self.layers if self.family in (NAOTO0804, MMAGIC) else []:
            shapes[f"{layer.conv}.bias"] = layer.shape[:1]
            if layer.norm is not None:
                shapes[f"{layer.norm}.num_batches_tracked"] = ()
        return shapes

    def ones(self) -> dict[str, tuple[int, ...]]:
        """Shapes by the names of what counts the valid taps, which holds no weights and may be left out."""
        if self.family is NAOTO0804:
            names = [layer.conv.replace("input_conv", "mask_conv").replace("conv2d", "mask2d") for layer in self.layers]
            return {f"{name}.weight": layer.shape for name, layer in zip(names, self.layers, strict=True)}
        return {f"{layer.conv}.weight_mask_updater": layer.shape for layer in self.layers}

    def _has_bias(self, layer: Layer) -> bool:
        """Whether the family's definition gives this layer a bias."""
        return layer is self.layers[-1] or (layer.norm is None and self.family is MMAGIC)


def layer_table(
    depth: int, width: int, conv: Callable[[bool, int], str], norm: Callable[[bool, int], str] | None
) -> list[Layer]:
    """The table of the papers' network.

    Args:
        depth: Its number of levels.
        width: Channels of the first.
        conv: The file's name of the convolution, whether in the encoder, of a level from 1 on.
        norm: Likewise of the norm; None for a family without.
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
    """A shape in an error: `64 x 3 x 7 x 7`."""
    return " x ".join(map(str, shape)) or "scalar"
