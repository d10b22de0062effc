"""Inpainting networks from files of weights: those that the public has, and our own, whichever it is.

`load_inpainter` says by names and shapes whose network a file is for and builds it, with the range of values and the
order of colors that it was trained on. For `InpaintingUNet` alone `load_weights` reads two of the public families, too.
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


class Inpainter(nn.Module):
    """An inpainting network together with the range of values and the order of colors that it is used with.

    Args:
        network: An `InpaintingUNet`, which maps normalized images and their masks to normalized images.
        family: Whose it is.
        context: How many pixels around a hole it should be given.
        mean: Of each channel of images in [0, 1], of RGB.
        std: Likewise, positive.
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
            image: (N, 3, H, W), floats in [0, 1] of RGB; what lies in holes has no influence.
            mask: (N|1, 1, H, W), anything but 0 is valid.

        Returns:
            (N, 3, H, W) in [0, 1], of all pixels.
        """
        mean, std = self.mean.to(image.dtype), self.std.to(image.dtype)
        normalized = (image - mean) / std
        output = self.network(normalized.flip(1) if self.bgr else normalized, mask)
        filled: Tensor = ((output.flip(1) if self.bgr else output) * std + mean).clamp(0, 1)
        return filled

    def reached(self, mask: Tensor) -> Tensor:
        """Say which pixels of the output depend on any valid pixel; see `InpaintingUNet.reached`."""
        assert isinstance(self.network, InpaintingUNet)
        return self.network.reached(mask)

    def extra_repr(self) -> str:
        """Whose network it is."""
        return f"family={self.family!r}, context={self.context}"


def load_inpainter(file: str | Path, *, depth: int | None = None) -> nn.Module:
    """Build the inpainting network that a file of weights is for, and load them.

    Read are checkpoints of `InpaintingTask`; state dicts and safetensors files of `inpainting_unet`, which do not say
    the images' mean and deviation (taken to be the task's default, ImageNet's) nor whether the convolutions are partial
    (taken to be); weights of `restoration_network`; and the files of naoto0804/pytorch-inpainting-with-partial-conv, of
    mmagic's PConv, of tanimutomo/partialconv and, with the extra `keras`, of MathiasGruber/PConv-Keras, whose norms use
    their statistics, as after its `load(…, train_bn=False)`.

    Args:
        file: A local file. It is not trusted: nothing in it is run, and what it claims is checked before memory is
            taken for it.
        depth: How often the network halves the image. Only tanimutomo's files do not say: they hold the layers of 8
            levels, and the number in use is an option of theirs. 7 if None, as their prediction has it.

    Returns:
        The network in evaluation mode: `(image (N, 3, H, W) float in [0, 1], mask (N|1, 1, H, W), 1 = valid)` to an
        image (N, 3, H, W) in [0, 1]. `family` says whose file it is, `context` how many pixels around a hole the
        network should be given.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no weights of an inpainting network that is known, or does not fit the one it is of.
        ModuleNotFoundError: It is of Keras, and h5py is not installed.
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


def load_start(network: nn.Module, file: str | Path, mean: Sequence[float], std: Sequence[float]) -> None:
    """Load weights into a network of RGB that is to be used with this mean and deviation, public ones included.

    Args:
        network: Filled in place; public weights are for an `InpaintingUNet`.
        file: A local file.
        mean: Of each channel of images in [0, 1].
        std: Likewise.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: They do not fit, or are of a family that normalizes otherwise.
    """
    source = str(file)
    found = family_of(unwrap(read_weights(file), source))
    if found is None or found.family.own_layers:
        load_weights(network, file)
        return
    family = found.family
    given, meant = [*mean, *std], [*family.mean, *family.std]
    if not all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(given, meant, strict=True)):
        message = (
            f"{source} holds weights of {family.name}'s network, which was trained on images of mean "
            f"{list(family.mean)} and deviation {list(family.std)}, and the task is to use {_rounded(mean)} and "
            f"{_rounded(std)}: pass --model.mean '{list(family.mean)}' --model.std '{list(family.std)}'."
        )
        raise UserValueError(message)
    # Loaded as they are first, which refuses what does not fit.
    load_weights(network, file)
    if family.bgr:
        network.load_state_dict(swap_colors(network.state_dict()), strict=True)


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
    """tanimutomo's last layer: (W·(x ⊙ m) r + b) r, where r is the ratio of all taps over the valid ones."""

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
    """The end of Keras' network: the last partial convolution has its bias in holes, too, and more follows."""

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
    """The tensors of a network of ours without what stands in front of them and beside them.

    Of a task that keeps a running average of its weights it is the average, which is what such a task applies.

    Args:
        state: Names to tensors.
        signs: Names that it has; None is returned where one is missing.
    """
    prefixes = [name.removesuffix(signs[0]) for name in state if f".{name}".endswith(f".{signs[0]}")]
    prefixes = [prefix for prefix in prefixes if all(prefix + sign in state for sign in signs)]
    if not prefixes:
        return None
    prefix = max(prefixes, key=lambda prefix: "average." in prefix)
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _unet(state: dict[str, Tensor], partial: bool, source: str) -> InpaintingUNet:
    """An `inpainting_unet` of the depth and width that the weights have."""
    levels = [int(found[1]) for name in state if (found := re.fullmatch(r"encoder\.(\d{1,4})\.conv\.weight", name))]
    first = state["encoder.0.conv.weight"]
    depth, width = len(levels), len(first) if first.dim() else 0
    if sorted(levels) != list(range(depth)) or depth > _DEEPEST or not 0 < width <= _WIDEST:
        message = (
            f"{source} has the names of an inpainting_unet, but is none: its encoder has the levels {sorted(levels)}, "
            f"the first of {width} channels; expected up to {_DEEPEST} levels without a gap and up to {_WIDEST}."
        )
        raise UserValueError(message)
    # Compared before memory is taken for what the first layer claims of all others.
    wrong = []
    for layer in layer_table(depth, width, _unnamed, None):
        name = f"{layer.ours}.conv.weight"
        if name not in state:
            wrong.append(f"{name} is missing")
        elif state[name].shape != layer.shape:
            wrong.append(f"{name} is {size_text(state[name].shape)}, expected {size_text(layer.shape)}")
    if wrong:
        message = (
            f"{source} has the names of an inpainting_unet (here of depth {depth} and width {width}), but does not fit "
            f"it: {listed(wrong)}."
        )
        raise UserValueError(message)
    return load_state(InpaintingUNet(depth, partial, width), state, source)


def _unnamed(encodes: bool, level: int) -> str:
    return ""


def _statistics(said: Mapping[str, Any], source: str) -> tuple[list[float], list[float]]:
    """Mean and deviation that a checkpoint's task used; the default ones of a file that does not say."""
    found = []
    for name, default in zip(("mean", "std"), _IMAGENET, strict=True):
        values = said.get(name, default)
        plain = isinstance(values, (list, tuple)) and len(values) == 3
        if not plain or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            message = f"{source} says of its images `{name}={values!r}`, expected three numbers."
            raise UserValueError(message)
        found.append([float(value) for value in values])
    if min(found[1]) <= 0:
        message = f"{source} says of its images `std={found[1]!r}`, expected numbers > 0."
        raise UserValueError(message)
    return found[0], found[1]


def _refuse_depth(found: int, asked: int | None, source: str) -> None:
    if asked is not None and asked != found:
        message = f"{source} holds a network of depth {found}, and depth={asked} was asked for."
        raise UserValueError(message)


_KNOWN = (
    "checkpoints of InpaintingTask, weights of inpainting_unet and restoration_network; "
    "naoto0804/pytorch-inpainting-with-partial-conv; mmagic's (mmediting's) PConv; tanimutomo/partialconv; "
    "MathiasGruber/PConv-Keras (.h5)"
)


def _unknown(state: Mapping[str, Tensor], content: Mapping[str, Any], source: str) -> str:
    """What to say of a file that holds weights of something else."""
    kind = str(stated_here(content).get("_class_path", "")).rpartition(".")[2]
    made = f" It is a checkpoint of {kind}." if kind else ""
    if any("p_conv2d" in name for name in state):
        made = (
            " It is of a later version of PConv-Keras, whose convolutions pad more at the bottom and right than at the "
            "top and left: such a network cannot be read."
        )
    return (
        f"{source} holds no inpainting network that is known: it has {len(state)} tensors, {listed(list(state))}."
        f"{made} Known are: {_KNOWN}."
    )
