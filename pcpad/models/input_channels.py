"""Adapt networks to images with other channels than RGB: the first convolution is summed or widened, as in timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pcpad.errors import UserValueError

__all__ = ["adapt_input_channels", "channel_statistics"]

_RGB = 3
_MOST = 512
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def adapt_input_channels(model: nn.Module, in_channels: int, *, trained: bool) -> int:
    """Adapt a network for RGB images to another number of channels.

    For one channel, the filters of a trained convolution for red, green and blue are summed, so that gray images give
    the same output as in RGB; n channels get the three filters in turn, times 3/n, which keeps the outputs' magnitude
    (timm's `adapt_input_conv`). Random filters are drawn again, with a standard deviation that keeps it too.

    Args:
        model: The network, changed in place: its first convolution, and nothing else.
        in_channels: The images' channels, at least 1.
        trained: Whether the convolution's weights come from training.

    Returns:
        `in_channels`.

    Raises:
        ValueError: A number out of range, or a first convolution without three channels or with several groups.

    Example:
        >>> from pcpad.models import classifier
        >>> network = classifier("resnet18", 4).eval()
        >>> adapt_input_channels(network, 5, trained=False)
        5
        >>> network(torch.zeros(1, 5, 32, 32)).shape, network.conv1.weight.shape
        (torch.Size([1, 4]), torch.Size([64, 5, 7, 7]))
    """
    if not 1 <= in_channels <= _MOST:
        message = f"Expected argument `in_channels` to be in 1 … {_MOST}, but got {in_channels}"
        raise UserValueError(message)
    if in_channels == _RGB:
        return in_channels
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != _RGB or first.groups != 1 or getattr(model, "transform_input", False):
        name = type(model).__name__
        message = (
            f"Expected a network that begins with a convolution of RGB's three channels for in_channels={in_channels}, "
            f"but {name} does not: choose another network, or in_channels=3"
        )
        raise UserValueError(message)
    for name in ("weight", "border_weight"):  # explicit padding also has filters for borders
        weight = getattr(first, name, None)
        if isinstance(weight, torch.Tensor):
            setattr(first, name, nn.Parameter(_adapted(weight.detach(), in_channels, trained)))
    first.in_channels = in_channels
    encoder: Any = getattr(model, "encoder", None)
    if hasattr(encoder, "_out_channels"):  # smp's, whose decoders may count the image's channels
        encoder._in_channels = in_channels
        encoder._out_channels = [in_channels, *list(encoder._out_channels)[1:]]
    return in_channels


def _adapted(weight: torch.Tensor, in_channels: int, trained: bool) -> torch.Tensor:
    *outer, _, height, width = weight.shape
    if not trained:
        spread = float(weight.std()) * (_RGB / in_channels) ** 0.5
        drawn = torch.randn(*outer, in_channels, height, width, dtype=weight.dtype, device=weight.device)
        scaled: torch.Tensor = drawn * spread
        return scaled
    from timm.models import adapt_input_conv

    adapted = adapt_input_conv(in_channels, weight.reshape(-1, _RGB, height, width))
    return adapted.reshape(*outer, in_channels, height, width)


def channel_statistics(
    mean: Sequence[float], std: Sequence[float], in_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel.

    Args:
        mean: Mean per channel, or one for all; ImageNet's three are replaced by their average for other numbers of
            channels.
        std: Standard deviation, likewise.
        in_channels: The number of channels.

    Returns:
        Both, with one value per channel.

    Raises:
        ValueError: The number of values is neither 1 nor `in_channels`.

    Example:
        >>> channel_statistics([0.5], [0.25], 2)
        ((0.5, 0.5), (0.25, 0.25))
    """
    given = (tuple(map(float, mean)), tuple(map(float, std)))
    if in_channels != _RGB and given == _IMAGENET:
        given = tuple((sum(values) / _RGB,) for values in _IMAGENET)  # type: ignore[assignment]
    found = []
    for name, values in zip(("mean", "std"), given, strict=True):
        if len(values) not in (1, in_channels):
            message = (
                f"Expected argument `{name}` to be {in_channels} numbers, one per channel of the images "
                f"(`in_channels`), or one for all, but got {list(values)}"
            )
            raise UserValueError(message)
        found.append(values * in_channels if len(values) == 1 else values)
    return found[0], found[1]
