"""Load inpainting networks from weight files, public ones and our own.

`load_inpainter` recognizes a file's network by names and shapes, and builds it with the value range and color order
that it was trained with. For `InpaintingUNet`, `load_weights` also reads two of the public families.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.layers import PartialConv2d
from pcpad.models.inpainting_unet import InpaintingUNet, _Block, _Masked
from pcpad.models.origins import stated_here
from pcpad.models.padded_weights import apply_exponents, read_metadata
from pcpad.models.published_inpainting import family_of, swap_colors, translated
from pcpad.models.published_layers import KERAS, NAOTO0804, TANIMUTOMO, Found, layer_table, size_text
from pcpad.models.restoration import restoration_network
from pcpad.models.weight_files import listed, read_weights
from pcpad.models.weights import load_state, load_weights, unwrap

__all__ = ["Inpainter", "load_inpainter", "load_start"]

_OWN = "pcpad"
_IMAGENET = (NAOTO0804.mean, NAOTO0804.std)
_DEEPEST, _WIDEST = 16, 4096
# The two networks in a checkpoint of a task that keeps a running average.
_NETWORK, _AVERAGE = "network.", "average.network."


class Inpainter(nn.Module):
    """An inpainting network together with its value range and color order.

    Args:
        network: An `InpaintingUNet`, which maps normalized images and their masks to normalized images.
        family: The name of its family.
        context: The number of pixels around a hole that it should see.
        mean: Mean per channel of RGB images in [0, 1].
        std: Standard deviation per channel, positive.
        bgr: Whether the network's first channel is blue.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        family: str,
        context: int,
        mean: Sequence[float],
        std: Sequence[float],
        bgr: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.family = family
        self.context = context
        self.bgr = bgr
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes.

        Args:
            image: (N, 3, H, W), RGB floats in [0, 1]; values in holes have no influence.
            mask: (N|1, 1, H, W), anything but 0 is valid.

        Returns:
            (N, 3, H, W) in [0, 1], for all pixels.
        """
        mean, std = self.mean.to(image.dtype), self.std.to(image.dtype)
        normalized = (image - mean) / std
        output = self.network(normalized.flip(1) if self.bgr else normalized, mask)
        filled: Tensor = ((output.flip(1) if self.bgr else output) * std + mean).clamp(0, 1)
        return filled

    def reached(self, mask: Tensor) -> Tensor:
        """Find the pixels of the output that depend on any valid pixel; see `InpaintingUNet.reached`."""
        assert isinstance(self.network, InpaintingUNet)
        return self.network.reached(mask)

    def extra_repr(self) -> str:
        """Show the family and the context."""
        return f"family={self.family!r}, context={self.context}"


def load_inpainter(file: str | Path, *, depth: int | None = None) -> nn.Module:
    """Build the inpainting network of a weight file, and load the weights.

    Supported are checkpoints of `InpaintingTask`; state dicts and safetensors files of `inpainting_unet`, which do not
    state the images' mean and deviation (ImageNet's, the task's default, is assumed) or whether the convolutions are
    partial (assumed); weights of `restoration_network`; and the files of
    naoto0804/pytorch-inpainting-with-partial-conv, mmagic's PConv, tanimutomo/partialconv and, with the extra `keras`,
    MathiasGruber/PConv-Keras, whose norms use their statistics as after its `load(…, train_bn=False)`.

    Args:
        file: A local file. It is not trusted: no code in it is run, and its claims are checked before memory is
            allocated.
        depth: How often the network halves the image. Only needed for tanimutomo's files, which always hold the layers
            of 8 levels; 7 if None, as in its own prediction.

    Returns:
        The network in evaluation mode, from `(image (N, 3, H, W) float in [0, 1], mask (N|1, 1, H, W), 1 = valid)` to
        an image (N, 3, H, W) in [0, 1]. `family` is the name of the file's family, `context` the number of pixels
        around a hole that the network should see.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no weights of a known inpainting network, or they do not fit.
        ModuleNotFoundError: It is a Keras file, and h5py is not installed.
    """
    if depth is not None and (type(depth) is not int or depth < 1):
        message = f"Expected argument `depth` to be a positive integer or None, but got {depth!r}"
        raise UserValueError(message)
    source = str(file)
    content = read_weights(file)
    state = unwrap(content, source)
    found = family_of(state, depth)
    if found is not None:
        _refuse_depth(found.depth, depth, source)
        network = _published(found, source)
        family = found.family
        return Inpainter(network, family.name, 2**found.depth, family.mean, family.std, family.bgr).eval()
    own = _network(state, _RESTORATION)
    if own is not None:
        return load_state(restoration_network(weights=None), own, source).eval()
    own = _network(state, _UNET)
    if own is None:
        raise UserValueError(_unknown(state, content, source))
    said = stated_here(content)
    metadata = read_metadata(file)
    partial = said.get("partial", metadata.get("padding", "partial") == "partial")
    mean, std = _statistics(said, source)
    network = _unet(own, partial is not False, source)
    apply_exponents(network, metadata)
    _refuse_depth(network.depth, depth, source)
    return Inpainter(network, _OWN, 2**network.depth, mean, std).eval()


def load_start(
    network: nn.Module, file: str | Path, mean: Sequence[float], std: Sequence[float], *, averaged: bool = False
) -> str | None:
    """Load weights, including public ones, into a network of RGB images with this mean and deviation.

    A checkpoint of `InpaintingTask` with `ema` holds two networks, of which one is taken: the network itself, from
    which training goes on, or its running average.

    Args:
        network: The network to fill in place; an `InpaintingUNet` for public weights.
        file: A local file.
        mean: Mean per channel of images in [0, 1].
        std: Standard deviation per channel, likewise.
        averaged: Whether to take the average, where the file has both.

    Returns:
        Which was taken of two, `network` or `average`; None for a file with one network.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The weights do not fit, or are of a family with another normalization.
    """
    source = str(file)
    state = unwrap(read_weights(file), source)
    if any(name.startswith(_AVERAGE) for name in state):
        prefix = _AVERAGE if averaged else _NETWORK
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        load_state(network, own, source)
        return prefix.partition(".")[0]
    found = family_of(state)
    if found is None or found.family.own_layers:
        load_weights(network, file)
        return None
    family = found.family
    given, meant = [*mean, *std], [*family.mean, *family.std]
    if not all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(given, meant, strict=True)):
        message = (
            f"{source} holds weights of {family.name}'s network, which was trained on images of mean "
            f"{list(family.mean)} and deviation {list(family.std)}, but the task uses {_rounded(mean)} and "
            f"{_rounded(std)}: pass --model.mean '{list(family.mean)}' --model.std '{list(family.std)}'."
        )
        raise UserValueError(message)
    # First loaded unchanged, which refuses weights that do not fit.
    load_weights(network, file)
    if family.bgr:
        network.load_state_dict(swap_colors(network.state_dict()), strict=True)
    return None


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


# Public families


def _published(found: Found, source: str) -> nn.Module:
    state = translated(found, source)
    network = InpaintingUNet(found.depth, True, found.width)
    last = network.decoder[-1].conv
    assert isinstance(last, PartialConv2d)
    if found.family is TANIMUTOMO:
        for block in (*network.encoder, *network.decoder):
            _drop_norm(block)
        network.decoder[-1] = _TwiceScaled(last)
    elif found.family is KERAS:
        network.decoder[-1] = _SigmoidEnd(last)
        state |= {f"decoder.{found.depth - 1}.{name}": state.pop(name) for name in ("output.weight", "output.bias")}
    return load_state(network, state, source)


def _drop_norm(block: nn.Module) -> None:
    assert isinstance(block, _Block)
    if block.has_norm:
        del block.norm
        block.has_norm = False


class _TwiceScaled(nn.Module):
    """tanimutomo's last layer: (W·(x ⊙ m) r + b) r, where r is the ratio of all inputs to the valid ones."""

    def __init__(self, conv: PartialConv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, state: _Masked, mask_channels: Sequence[int] | None = None) -> _Masked:
        features, mask = state
        channels = [features.shape[1]] if mask_channels is None else list(mask_channels)
        if mask is None:
            mask, channels = features.new_ones(1, 1, *features.shape[-2:]), [features.shape[1]]
        kernel = features.new_tensor(channels).view(1, -1, 1, 1).expand(1, -1, 3, 3)
        count = F.conv2d(mask.to(features.dtype), kernel, padding=1)
        ratio = torch.where(count > 0, self.conv.weight[0].numel() / count.clamp(min=1), 0)
        bias = self.conv.bias
        assert bias is not None
        y = F.conv2d(features, self.conv.weight, padding=1) * ratio + bias.view(-1, 1, 1)
        return _Masked(y * ratio, None)


class _SigmoidEnd(nn.Module):
    """The end of Keras' network: a partial convolution with its bias in holes too, and the layers after it."""

    def __init__(self, conv: PartialConv2d) -> None:
        super().__init__()
        self.conv = conv
        self.output = nn.Conv2d(3, 3, 1)

    def forward(self, state: _Masked, mask_channels: Sequence[int] | None = None) -> _Masked:
        y, mask = self.conv(*state, mask_channels=mask_channels, holes_are_zero=True)
        bias = self.conv.bias
        assert bias is not None
        y = torch.where(mask != 0, y, bias.view(-1, 1, 1))
        return _Masked(torch.sigmoid(self.output(F.leaky_relu(y, 0.2))), None)


# Our own files


_UNET = ("encoder.0.conv.weight", "decoder.0.conv.weight")
_RESTORATION = ("stem.weight", "down.0.weight", "up.0.weight", "head.weight")


def _network(state: Mapping[str, Tensor], signs: Sequence[str]) -> dict[str, Tensor] | None:
    """The tensors of one of our networks, without their prefix and without other tensors.

    For a task that keeps a running average of its weights these are the averages, which such a task uses too.

    Args:
        state: Names to tensors.
        signs: Names that the network has; None is returned if one is missing.
    """
    prefixes = [name.removesuffix(signs[0]) for name in state if f".{name}".endswith(f".{signs[0]}")]
    prefixes = [prefix for prefix in prefixes if all(prefix + sign in state for sign in signs)]
    if not prefixes:
        return None
    prefix = max(prefixes, key=lambda prefix: "average." in prefix)
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _unet(state: dict[str, Tensor], partial: bool, source: str) -> InpaintingUNet:
    """Build an `inpainting_unet` with the weights' depth and width."""
    levels = [int(found[1]) for name in state if (found := re.fullmatch(r"encoder\.(\d{1,4})\.conv\.weight", name))]
    first = state["encoder.0.conv.weight"]
    depth, width = len(levels), len(first) if first.dim() else 0
    if sorted(levels) != list(range(depth)) or depth > _DEEPEST or not 0 < width <= _WIDEST:
        message = (
            f"{source} has the names of an inpainting_unet, but its encoder has the levels {sorted(levels)}, the first "
            f"with {width} channels: expected up to {_DEEPEST} levels without a gap and up to {_WIDEST} channels."
        )
        raise UserValueError(message)
    # Compared before memory is allocated for layers of the sizes that the first layer implies.
    wrong = []
    for layer in layer_table(depth, width, _unnamed, None):
        name = f"{layer.ours}.conv.weight"
        if name not in state:
            wrong.append(f"{name} is missing")
        elif state[name].shape != layer.shape:
            wrong.append(f"{name} is {size_text(state[name].shape)}, expected {size_text(layer.shape)}")
    if wrong:
        message = (
            f"{source} has the names of an inpainting_unet (with depth {depth} and width {width}), but does not fit "
            f"it: {listed(wrong)}."
        )
        raise UserValueError(message)
    return load_state(InpaintingUNet(depth, partial, width), state, source)


def _unnamed(encodes: bool, level: int) -> str:
    return ""


def _statistics(said: Mapping[str, Any], source: str) -> tuple[list[float], list[float]]:
    """Mean and deviation that a checkpoint's task used; the defaults for a file that does not state them."""
    found = []
    for name, default in zip(("mean", "std"), _IMAGENET, strict=True):
        values = said.get(name, default)
        plain = isinstance(values, (list, tuple)) and len(values) == 3
        if not plain or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            message = f"Expected `{name}` of the images in {source} to be three numbers, but got {values!r}."
            raise UserValueError(message)
        found.append([float(value) for value in values])
    if min(found[1]) <= 0:
        message = f"Expected `std` of the images in {source} to be numbers > 0, but got {found[1]!r}."
        raise UserValueError(message)
    return found[0], found[1]


def _refuse_depth(found: int, asked: int | None, source: str) -> None:
    if asked is not None and asked != found:
        message = f"{source} holds a network of depth {found}, but got depth={asked}."
        raise UserValueError(message)


_KNOWN = (
    "checkpoints of InpaintingTask, weights of inpainting_unet and restoration_network; "
    "naoto0804/pytorch-inpainting-with-partial-conv; mmagic's (mmediting's) PConv; tanimutomo/partialconv; "
    "MathiasGruber/PConv-Keras (.h5)"
)


def _unknown(state: Mapping[str, Tensor], content: Mapping[str, Any], source: str) -> str:
    """The message for a file that holds other weights."""
    kind = str(stated_here(content).get("_class_path", "")).rpartition(".")[2]
    made = f" It is a checkpoint of {kind}." if kind else ""
    if any("p_conv2d" in name for name in state):
        made = (
            " It is of a later version of PConv-Keras, whose convolutions pad more at the bottom and right than at the "
            "top and left, which is not supported."
        )
    return (
        f"{source} holds no known inpainting network: it has {len(state)} tensors, {listed(list(state))}."
        f"{made} Known are: {_KNOWN}."
    )
