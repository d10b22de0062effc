"""Probes from the literature: position information that padding gives a network, and its traces in feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.adaptation.observing import Observed, OutputKey, observe, shared_copy
from pcpad.errors import UserValueError

__all__ = [
    "PositionProbe",
    "PositionTarget",
    "UnevenPadding",
    "blind_spots",
    "position_information",
    "position_pattern",
    "uneven_padding",
]

_LAYERS = 5  # evenly spaced layers whose maps the position probe reads together
_READ = 28  # the side that their maps are resized to, as in PosENet
_FOLDS = 2
_RIDGE = 1e-3
_MOST_FEATURES = 2048


@dataclass(frozen=True)
class PositionTarget:
    """How well positions are predicted from feature maps.

    Args:
        name: `horizontal`, `vertical`, or `gaussian` (a bump in the middle).
        correlation: Spearman's correlation between predicted and true positions on held-out images (PosENet's SPC): 1
            if the maps determine the position, near 0 if they do not.
        error: Mean absolute error of positions in [0, 1].
        control: The same correlation predicted from the images themselves, in which the sky tends to be at the top.
    """

    name: str
    correlation: float
    error: float
    control: float


@dataclass(frozen=True)
class PositionProbe:
    """Results of `position_information` by kind of position; what exceeds the control, the network adds."""

    targets: tuple[PositionTarget, ...]


def position_information(
    model: nn.Module, images: Tensor, *, size: int = _READ, output_key: OutputKey = None, batch_size: int = 8
) -> PositionProbe:
    """Predict positions from a frozen network's feature maps (PosENet: Islam et al. 2020, arXiv 2001.08248).

    The maps of five layers, resized to `size` × `size`, are the input of one linear 3×3 convolution without padding,
    fitted in closed form (ridge regression) with two-fold cross-validation over images. It replaces PosENet's readout,
    which is trained by gradient descent for the same target, and cannot be stopped too early. For a network without
    information about its borders the result equals the control's.

    Args:
        model: The network, which is not changed.
        images: At least 4 images (N, C, H, W) of one size, as the network takes them. Random noise as images gives a
            control without sky and ground.
        size: Height and width that the maps are resized to.
        output_key: See `pcpad.adaptation.observing.pick`.
        batch_size: Images per forward pass.

    Returns:
        Results by kind of position.
    """
    if len(images) < 2 * _FOLDS:
        message = f"Expected at least {2 * _FOLDS} images, but got {len(images)}"
        raise UserValueError(message)
    network = shared_copy(model)
    keys = _spread(network, images[:1], output_key)
    features = []
    for batch in images.split(batch_size):
        maps = observe(network, batch, keys, output_key).maps
        joined = torch.cat([_resized(maps[key], size) for key in keys], 1)
        features.append(joined.float().cpu())
    read = _few(torch.cat(features))
    plain = _resized(images.float(), size).cpu()
    found = []
    for name, target in _targets(size).items():
        correlation, error = _readout(read, target)
        found.append(PositionTarget(name, correlation, error, _readout(plain, target)[0]))
    return PositionProbe(tuple(found))


def _spread(network: nn.Module, image: Tensor, output_key: OutputKey) -> list[str]:
    """Names of the maps of a few layers, evenly spaced up to the last."""
    maps = observe(network, image, None, output_key).maps
    names = [key for key, value in maps.items() if min(value.shape[-2:]) > 2]
    if not names:
        message = "The network has no feature map to read positions from"
        raise UserValueError(message)
    count = min(_LAYERS, len(names))
    return list(dict.fromkeys(names[round((index + 1) * len(names) / count) - 1] for index in range(count)))


def _resized(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)


def _few(features: Tensor) -> Tensor:
    """Limit the number of channels, for a small fit: random mixtures of all, the same for all images."""
    most = _MOST_FEATURES // 9
    if features.shape[1] <= most:
        return features
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(features.shape[1], most, generator=generator) / features.shape[1] ** 0.5
    scaled = features / features.std((0, 2, 3), keepdim=True).clamp_min(1e-12)
    return torch.einsum("nchw,cm->nmhw", scaled, mixture)


def _targets(size: int) -> dict[str, Tensor]:
    """Positions (size, size) in [0, 1]."""
    line = torch.linspace(0, 1, size, dtype=torch.float64)
    bump = torch.exp(-((line - 0.5) ** 2) / (2 * 0.25**2))
    return {
        "horizontal": line[None, :].expand(size, size),
        "vertical": line[:, None].expand(size, size),
        "gaussian": bump[:, None] * bump[None, :],
    }


def _readout(features: Tensor, target: Tensor) -> tuple[float, float]:
    """Correlation and error of a linear 3×3 readout on held-out images."""
    windows = F.unfold(features.double(), 3).transpose(1, 2)  # (N, places, C * 9), without padding
    wanted = target[1:-1, 1:-1].flatten()
    found, errors = [], []
    for fold in range(_FOLDS):
        seen = torch.arange(len(features)) % _FOLDS != fold
        train, test = windows[seen].flatten(0, 1), windows[~seen]
        mean, spread = train.mean(0), train.std(0).clamp_min(1e-12)
        known = torch.cat([(train - mean) / spread, torch.ones(len(train), 1, dtype=torch.float64)], 1)
        square = known.T @ known / len(known)
        square += _RIDGE * torch.eye(len(square), dtype=torch.float64)
        weight = torch.linalg.solve(square, known.T @ wanted.repeat(int(seen.sum())) / len(known))
        read = ((test - mean) / spread) @ weight[:-1] + weight[-1]
        found += [_spearman(image, wanted) for image in read]
        errors += [float((image - wanted).abs().mean()) for image in read]
    return sum(found) / len(found), sum(errors) / len(errors)


def _spearman(one: Tensor, other: Tensor) -> float:
    from scipy.stats import spearmanr

    if float(one.std()) < 1e-9:
        return 0.0
    return float(spearmanr(one.numpy(), other.numpy()).statistic)


def position_pattern(
    model: nn.Module,
    crops: Tensor,
    with_context: Tensor,
    cut: Callable[[Observed], Tensor],
    key: str,
    output_key: OutputKey = None,
) -> tuple[Tensor, float]:
    """The pattern that padding adds to a feature map for any image (Feng et al. 2022, arXiv 2206.12893).

    The difference between maps of crops without and with context, averaged over images, is the position-information
    pattern from padding. Its strength is a signal-to-noise ratio: the pattern's mean magnitude over channels and
    positions, divided by the standard error of the mean over images.

    Args:
        model: The network, which is not changed.
        crops: (N, C, h, w).
        with_context: The same crops with true context around them, (N, C, H, W).
        cut: Extracts the crops' part of the map from a run on `with_context`.
        key: The map's name.
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        The pattern (C', h', w'), and its strength: about 0.8 without any pattern (a normal variable's mean magnitude).
    """
    network = shared_copy(model)
    total: Tensor | None = None
    squares: Tensor | None = None
    for small, large in zip(crops.split(4), with_context.split(4), strict=True):
        found = observe(network, small, [key], output_key).maps[key]
        difference = (found - cut(observe(network, large, [key], output_key))).double().cpu()
        total = difference.sum(0) if total is None else total + difference.sum(0)
        squares = difference.square().sum(0) if squares is None else squares + difference.square().sum(0)
    assert total is not None
    assert squares is not None
    pattern = total / len(crops)
    spread = (squares / len(crops) - pattern.square()).clamp_min(0).sum().sqrt() / pattern.numel() ** 0.5
    strength = float(pattern.abs().mean() / (spread / len(crops) ** 0.5)) if float(spread) > 0 else 0.0
    return pattern.float(), strength


class UnevenPadding(NamedTuple):
    """A convolution or pooling layer that pads its sides unevenly at one image size.

    Attributes:
        name: The module's name.
        size: Height and width of its input.
        read: Padded pixels that its windows read before and after the input, as ((top, bottom), (left, right)).
        fits: The nearest image sizes at which no layer is uneven; empty if none is near.
    """

    name: str
    size: tuple[int, int]
    read: tuple[tuple[int, int], tuple[int, int]]
    fits: tuple[int, ...] = ()


def uneven_padding(model: nn.Module, image: Tensor, output_key: OutputKey = None) -> list[UnevenPadding]:
    """Find layers whose stride leaves a remainder, so that they read the padding of one side but not of the other.

    Alsallakh et al. 2021, "Mind the pad" (arXiv 2010.02178): such layers skew feature maps and cause blind spots; with
    kernel size 3, stride 2 and padding 1 this happens for all inputs of even size, and for none of odd size.

    Args:
        model: The network, which is not changed.
        image: (1, C, H, W).
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        The uneven layers in order of execution, each with nearby image sizes without uneven layers.
    """
    network = shared_copy(model)
    found = _uneven(network, image, output_key)
    if not found:
        return []
    height, width = image.shape[-2:]
    fits = []
    for size in range(max(1, width - 32), width + 33):
        other = image.new_zeros(1, image.shape[1], max(1, height - width + size), size)
        try:
            if not _uneven(network, other, output_key):
                fits.append(size)
        except (RuntimeError, ValueError):  # the network does not support this size
            continue
    near = tuple(sorted(sorted(fits, key=lambda size: abs(size - width))[:2]))
    return [layer._replace(fits=near) for layer in found]


def _uneven(network: nn.Module, image: Tensor, output_key: OutputKey) -> list[UnevenPadding]:
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    layers = {name: module for name, module in network.named_modules() if name and isinstance(module, kinds)}
    sizes: dict[str, tuple[int, int]] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: sizes.update({name: (inputs[0].shape[-2], inputs[0].shape[-1])})

    handles = [module.register_forward_pre_hook(record(name)) for name, module in layers.items()]
    try:
        observe(network, image, (), output_key)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for name, size in sizes.items():
        read = tuple(_read(layers[name], axis, length) for axis, length in enumerate(size))
        if any(before != after for before, after in read):
            found.append(UnevenPadding(name, size, read))  # type: ignore[arg-type]
    return found


def _read(module: nn.Module, axis: int, length: int) -> tuple[int, int]:
    """The number of padded pixels that the first window reads before the input, and the last one after it."""

    def of(value: int | Sequence[int]) -> int:
        return int(value if isinstance(value, int) else value[axis])

    kernel, stride = of(module.kernel_size), of(module.stride)  # type: ignore[arg-type]
    dilation = of(getattr(module, "dilation", 1))
    extent = dilation * (kernel - 1) + 1
    padding = module.padding
    if isinstance(padding, str) or type(module).__name__.endswith("Same"):
        # "same": as little padding as gives an output of input / stride, the odd pixel at the end.
        total = 0 if padding == "valid" else max(0, (-(-length // stride) - 1) * stride + extent - length)
        return total // 2, total - total // 2
    before = of(padding)  # type: ignore[arg-type]
    windows = (length + 2 * before - extent) // stride + 1
    return before, max(0, (windows - 1) * stride + extent - before - length)


def blind_spots(
    model: nn.Module, size: int, channels: int = 3, key: str | None = None, output_key: OutputKey = None
) -> Tensor:
    """How far a constant image's last feature map is from constant, which is caused by padding alone.

    Alsallakh et al. 2021 use it to show where a network is blind, or sees objects that are not there.

    Args:
        model: The network, which is not changed.
        size: The image's height and width.
        channels: Its channels, all zero: the mean color of normalized images.
        key: The map's name; if None, the last one that grows with the image.
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        (H', W'): the mean over channels of |map − its center value|, relative to the mean |center value|.
    """
    network = shared_copy(model)
    like = next(network.parameters(), torch.empty(0))
    found = observe(network, like.new_zeros(1, channels, size, size), None, output_key)
    if key is None:
        maps = [value for value in found.maps.values() if min(value.shape[-2:]) > 1]
        value = found.output if found.output.dim() == 4 else maps[-1]
    else:
        value = found.maps[key]
    value = value[0].double().cpu()
    center = value[:, value.shape[1] // 2, value.shape[2] // 2][:, None, None]
    return (value - center).abs().mean(0) / center.abs().mean().clamp_min(1e-12)
