"""Translate published weights of partial-convolution U-Nets to the names and scales of `InpaintingUNet`.

Four families implement the network of Liu et al. 2018, each differently:

- naoto0804/pytorch-inpainting-with-partial-conv divides by the number of valid inputs without multiplying by the number
  of all inputs, so that its weights are larger by this factor;
- mmagic (mmediting) computes the same as this suite, on BGR images;
- tanimutomo/partialconv has no norms, and its last layer multiplies the sum by the ratio twice and the bias once;
- MathiasGruber/PConv-Keras multiplies by the kernel's area alone, adds biases before its norms (epsilon 1e-3),
  concatenates the skip connection before the upsampled map, adds the last bias in holes too, and ends with a leaky
  ReLU, a 1x1 convolution and a sigmoid.

The first two equal `InpaintingUNet` after a change of scale; the others need a different last layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.models.published_layers import (
    KERAS,
    KERAS_NORM,
    MMAGIC,
    NAOTO0804,
    NORM,
    TANIMUTOMO,
    Family,
    Found,
    layer_table,
    size_text,
)
from pcpad.models.weight_files import listed

__all__ = ["family_of", "from_published", "swap_colors", "translated"]

_EPS = 1e-5  # of nn.BatchNorm2d
_KERAS_EPS = 1e-3
_DEEPEST = 16
# mmagic's files also contain losses, a discriminator and a preprocessor.
_NO_GENERATOR = re.compile(r"(loss|disc|data_preprocessor|vgg|step_counter|perceptual)")


def family_of(state: Mapping[str, Tensor], depth: int | None = None) -> Found | None:
    """Recognize a published network by the names of its weights.

    Args:
        state: Names to tensors, without wrapper dicts.
        depth: How often the network halves the image, for the one family whose files do not say (tanimutomo's, which
            always hold the layers of 8 levels); 7 if None, as in its own prediction.

    Returns:
        The recognized network; None for other names.
    """
    for recognize in (_naoto0804, _mmagic, _tanimutomo, _keras):
        found = recognize(state, depth)
        if found is not None:
            return found
    return None


def from_published(model: nn.Module, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Translate a published network's tensors to the names and the scale of an `InpaintingUNet`.

    Args:
        model: The network to load them into.
        state: Names to tensors, of any network.
        source: The file, for errors.

    Returns:
        The translated tensors; the given ones if their names are of no family, or the model is not an `InpaintingUNet`.

    Raises:
        UserValueError: They are of a network of another size, or of one that computes something else.
    """
    own = model.state_dict()
    found = family_of(state) if {"encoder.0.conv.weight", "decoder.0.conv.weight"} <= own.keys() else None
    if found is None:
        return dict(state)
    if found.family.own_layers:
        message = (
            f"{source} holds weights of {found.family.name}'s network, which has {found.family.own_layers}: "
            "InpaintingUNet cannot use them. Load them with pcpad.models.inpainting_weights.load_inpainter, or with "
            "pcpad fill --weights."
        )
        raise UserValueError(message)
    depth = sum(re.fullmatch(r"encoder\.\d+\.conv\.weight", name) is not None for name in own)
    width = len(own["encoder.0.conv.weight"])
    if (depth, width) != (found.depth, found.width):
        message = (
            f"{source} holds weights of {found.family.name}'s network of depth {found.depth} and width {found.width}, "
            f"but this network has depth {depth} and width {width}: pass depth={found.depth} and width={found.width} "
            f"(--model.depth {found.depth} --model.width {found.width})."
        )
        raise UserValueError(message)
    if getattr(model, "partial", True) is False:
        message = (
            f"{source} holds weights of {found.family.name}'s network of partial convolutions, but this network has "
            "ordinary ones, which compute something else: pass partial=True (--model.partial true)."
        )
        raise UserValueError(message)
    return translated(found, source)


def translated(found: Found, source: str) -> dict[str, Tensor]:
    """Translate all tensors of a file to our names and scale.

    Args:
        found: See `family_of`.
        source: The file, for errors.

    Returns:
        Names of `InpaintingUNet` to tensors. tanimutomo's have no norms; Keras' have `output.weight` and `output.bias`
        of the last 1x1 convolution in addition.

    Raises:
        UserValueError: Tensors are missing, unexpected or of other shapes, or a kernel of ones has other values.
    """
    _check_all(found, source)
    return _from_keras(found) if found.family is KERAS else _from_torch(found)


def swap_colors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an `InpaintingUNet` from BGR to RGB images, or the other way.

    Args:
        state: Our names to tensors.

    Returns:
        Weights of the same function of images with the channels in the other order, outputs likewise.
    """
    last = max(int(name.split(".")[1]) for name in state if re.fullmatch(r"decoder\.\d+\.conv\.weight", name))
    swapped = dict(state)
    swapped["encoder.0.conv.weight"] = state["encoder.0.conv.weight"].flip(1)
    weight = state[f"decoder.{last}.conv.weight"]
    swapped[f"decoder.{last}.conv.weight"] = torch.cat([weight[:, :-3], weight[:, -3:].flip(1)], dim=1).flip(0)
    swapped[f"decoder.{last}.conv.bias"] = state[f"decoder.{last}.conv.bias"].flip(0)
    return swapped


def _naoto0804(state: Mapping[str, Tensor], depth: int | None) -> Found | None:
    # Until August 2018 the convolutions had other names, and biases before their norms.
    for conv in ("input_conv", "conv2d"):
        own = _without_prefix(state, f"enc_1.conv.{conv}.weight")
        if own is None:
            continue
        own = {name: value for name, value in own.items() if not (name.endswith("mask2d.bias") and not value.any())}
        count = _count(own, "enc_{}.conv." + conv + ".weight")

        def named(encodes: bool, level: int, conv: str = conv) -> str:
            return f"{'enc' if encodes else 'dec'}_{level}.conv.{conv}"

        return _found(NAOTO0804, own, count, named, lambda encodes, level: _torch_name(encodes, level) + ".bn")
    return None


def _tanimutomo(state: Mapping[str, Tensor], depth: int | None) -> Found | None:
    own = _without_prefix(state, "enc_1.conv.weight")
    if own is None or not any(name.startswith("dec_1.conv.") for name in own):
        return None
    count = _count(own, "enc_{}.conv.weight")
    depth = min(7, count) if depth is None else depth
    unused = [name for name in own if (level := re.match(r"(?:enc|dec)_(\d+)\.", name)) and depth < int(level[1]) <= 8]
    own = {name: value for name, value in own.items() if name not in unused}
    return _found(TANIMUTOMO, own, depth, lambda encodes, level: _torch_name(encodes, level) + ".conv", None)


def _torch_name(encodes: bool, level: int) -> str:
    return f"{'enc' if encodes else 'dec'}_{level}"


def _mmagic(state: Mapping[str, Tensor], depth: int | None) -> Found | None:
    sign = "encoder.enc1.conv.weight"
    whole = next((name.removesuffix(sign) for name in state if f".{name}".endswith("." + sign)), None)
    if whole is None or f"{whole}decoder.dec1.conv.weight" not in state:
        return None
    around = whole.removesuffix("generator.")
    own = {}
    for name, value in state.items():
        if name.startswith(whole) and not (whole == around and _NO_GENERATOR.match(name.removeprefix(whole))):
            own[name.removeprefix(whole)] = value
        elif not _NO_GENERATOR.match(name.removeprefix(around)):
            own[name] = value

    def named(encodes: bool, level: int) -> str:
        return f"encoder.enc{level}" if encodes else f"decoder.dec{level}"

    return _found(
        MMAGIC,
        own,
        _count(own, "encoder.enc{}.conv.weight"),
        lambda encodes, level: named(encodes, level) + ".conv",
        lambda encodes, level: named(encodes, level) + ".bn",
    )


def _keras(state: Mapping[str, Tensor], depth: int | None) -> Found | None:
    """Recognize Keras' network by its layers' order, as their numbers continue through a session's networks."""
    convs = _numbered(state, "img_kernel")
    if not convs:
        return None
    names = {conv: f"p_conv2d.{place}" for place, conv in enumerate(convs)}
    norms = [name for name in _numbered(state, "gamma") if "EncBN" not in name]
    names |= {norm: f"norm.{place}" for place, norm in enumerate(norms)}
    # A second network of a session has EncBN1_1 instead of EncBN1.
    encoder = {name: re.search(r"EncBN(\d+)", name) for name in _numbered(state, "gamma")}
    names |= {name: found[0] for name, found in encoder.items() if found}
    last = [name for name in _numbered(state, "kernel") if tuple(state[f"{name}.kernel"].shape[:2]) == (1, 1)]
    names |= {name: "outputs" for name in last[-1:]}
    own = {}
    for name, value in state.items():
        layer, _, part = name.rpartition(".")
        own[f"{names.get(layer, layer)}.{part}"] = value
    depth = len(convs) // 2

    def conv(encodes: bool, level: int) -> str:
        return f"p_conv2d.{level - 1 if encodes else 2 * depth - level}"

    def norm(encodes: bool, level: int) -> str:
        return f"EncBN{level - 1}" if encodes else f"norm.{depth - level}"

    return _found(KERAS, own, depth, conv, norm)


def _numbered(state: Mapping[str, Tensor], part: str) -> list[str]:
    """The layers that have this tensor, ordered by the numbers at the end of their names."""
    layers = [name.rpartition(".")[0] for name in state if name.rpartition(".")[2] == part]

    def number(layer: str) -> int:
        digits = re.search(r"(\d{1,9})$", layer)
        return int(digits[1]) if digits else 0

    return sorted(layers, key=number)


def _found(
    family: Family,
    state: dict[str, Tensor],
    depth: int,
    conv: Callable[[bool, int], str],
    norm: Callable[[bool, int], str] | None,
) -> Found:
    depth = min(max(depth, 1), _DEEPEST)
    first = state.get(f"{conv(True, 1)}.{'img_kernel' if family is KERAS else 'weight'}")
    width = 64 if first is None or first.dim() != 4 else int(first.shape[-1 if family is KERAS else 0])
    return Found(family, state, depth, width, layer_table(depth, width, conv, norm))


def _without_prefix(state: Mapping[str, Tensor], sign: str) -> dict[str, Tensor] | None:
    """The tensors without the prefix that this name has in the file; None if there is no such name."""
    prefix = next((name.removesuffix(sign) for name in state if f".{name}".endswith("." + sign)), None)
    return None if prefix is None else {name.removeprefix(prefix): value for name, value in state.items()}


def _count(state: Mapping[str, Tensor], name: str) -> int:
    """The highest number of the numbered names in the file, which may have gaps; 0 without any."""
    return max((level for level in range(1, _DEEPEST + 1) if name.format(level) in state), default=0)


def _check_all(found: Found, source: str) -> None:
    needed, ones = found.needed(), found.ones()
    known = {**ones, **found.allowed(), **needed}
    missing = [name for name in needed if name not in found.state]
    strays = [name for name in found.state if name not in known]
    shapes = [
        f"{name} is {size_text(found.state[name].shape)}, expected {size_text(shape)}"
        for name, shape in known.items()
        if name in found.state and tuple(found.state[name].shape) != tuple(shape)
    ]
    lines = [
        f"  {what} ({len(names)}): {listed(names)}"
        for what, names in (("missing", missing), ("not in that network", strays), ("of another shape", shapes))
        if names
    ]
    if not lines:
        other = [name for name in ones if name in found.state and not bool((found.state[name] == 1).all())]
        if other:
            lines = [f"  not all ones, as the kernels that count valid inputs must be ({len(other)}): {listed(other)}"]
    if lines:
        message = (
            f"{source} has the names of {found.family.name}'s network (with depth {found.depth} and width "
            f"{found.width}), but does not fit it.\n" + "\n".join(lines)
        )
        raise UserValueError(message)


def _from_torch(found: Found) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for layer in found.layers:
        weight = _wide(found.state[f"{layer.conv}.weight"])
        bias = found.state.get(f"{layer.conv}.bias")
        # naoto0804's layer divides by the number of valid inputs; ours also multiplies by the number of all inputs.
        state[f"{layer.ours}.conv.weight"] = weight / weight[0].numel() if found.family is NAOTO0804 else weight
        first_or_last = layer.ours == "encoder.0" or layer is found.layers[-1]
        if first_or_last:
            state[f"{layer.ours}.conv.bias"] = weight.new_zeros(len(weight)) if bias is None else _wide(bias)
        if layer.norm is not None:
            parts = {part: found.state[f"{layer.norm}.{part}"] for part in NORM[:4]}
            if bias is not None:
                parts["running_mean"] = _wide(parts["running_mean"]) - _wide(bias)
            state |= _norm(layer.ours, parts, found.state.get(f"{layer.norm}.num_batches_tracked"))
    return state


def _from_keras(found: Found) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for layer in found.layers:
        # (height, width, in, out); the ratio there is the kernel's area over the number of valid inputs of all
        # channels.
        weight = _wide(found.state[f"{layer.conv}.img_kernel"]).permute(3, 2, 0, 1) / layer.shape[1]
        weight = torch.cat([weight[:, layer.skip :], weight[:, : layer.skip]], dim=1)
        state[f"{layer.ours}.conv.weight"] = weight.contiguous()
        bias = _wide(found.state[f"{layer.conv}.bias"])
        if layer.norm is None:
            state[f"{layer.ours}.conv.bias"] = bias
            continue
        gamma, beta, mean, variance = (_wide(found.state[f"{layer.norm}.{part}"]) for part in KERAS_NORM)
        # The difference to our smaller epsilon is added to the variance.
        parts = {
            "weight": gamma,
            "bias": beta,
            "running_mean": mean - bias,
            "running_var": variance + (_KERAS_EPS - _EPS),
        }
        state |= _norm(layer.ours, parts, None)
    state["output.weight"] = _wide(found.state["outputs.kernel"]).permute(3, 2, 0, 1).contiguous()
    state["output.bias"] = _wide(found.state["outputs.bias"])
    return state


def _wide(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _norm(layer: str, parts: Mapping[str, Tensor], batches: Tensor | None) -> dict[str, Tensor]:
    named = {f"{layer}.norm.{part}": _wide(value) for part, value in parts.items()}
    return {**named, f"{layer}.norm.num_batches_tracked": torch.tensor(0) if batches is None else batches}
