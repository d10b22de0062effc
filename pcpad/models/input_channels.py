"""Networks for images of other channels than RGB: the first convolution is summed or widened, as timm does."""

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
    """Have a network for RGB images take images of so many channels.

    Of a trained convolution, gray gets the sum of the filters of red, green and blue, which gives for gray images the
    output that they have as RGB; n channels get the three filters in turn, times 3/n, so that outputs keep their size
    (timm's `adapt_input_conv`). Random ones are drawn again, with the spread that keeps their outputs' size.

    Args:
        model: The network, changed in place: its first convolution, and nothing else.
        in_channels: The images' channels, from 1.
        trained: Whether the convolution's weights come from training.

    Returns:
        `in_channels`.

    Raises:
        ValueError: A number out of range, or a network that has no convolution of three channels, or several groups.

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
            f"`in_channels` {in_channels} is for networks that begin with a convolution of the three channels of RGB "
            f"images; {name} does not: choose another network, or in_channels=3"
        )
        raise UserValueError(message)
    for name in ("weight", "border_weight"):  # explicit padding has filters for borders, too
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
    """Mean and spread of each channel.

    Args:
        mean: Of each channel, or one for all; ImageNet's three stand for their average where there are others.
        std: Likewise.
        in_channels: How many there are to be.

    Returns:
        As many of both.

    Raises:
        ValueError: Another number of values.

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
                f"Expected argument `{name}` to be {in_channels} numbers, one for each of the images' channels "
                f"(`in_channels`), or one for all, but got {list(values)}"
            )
            raise UserValueError(message)
        found.append(values * in_channels if len(values) == 1 else values)
    return found[0], found[1]
