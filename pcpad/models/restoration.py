"""The network that comes with pcpad and fills holes in damaged pictures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError
from pcpad.layers import PartialConv2d
from pcpad.models.restoration_guess import smooth_guesses
from pcpad.models.weights import initialise, load_weights

__all__ = ["SHIPPED", "RestorationNetwork", "restoration_network"]

SHIPPED = Path(__file__).with_name("restoration.safetensors")
"""The weights that come with the package."""

_WIDTHS = (32, 64, 96, 128, 128)  # channels at 1/2, 1/4, … of the picture's size
_CONTEXT = 64


def restoration_network(
    weights: Literal["shipped"] | str | Path | None = "shipped", *, views: Literal[1, 2, 4, 8] = 1
) -> RestorationNetwork:
    """Build the network that fills damage in pictures: scratches, strokes, writing, stamps, blocks.

    Args:
        weights: `shipped`, those that come with the package, see `restoration.md` beside this file for what they were
            trained on; None for random ones, which are to be trained; or a local file, see `load_weights`.
        views: Of how many mirror images and turns of the picture the answer is the mean, in evaluation mode; takes as
            many times as long.

    Returns:
        The network, in evaluation mode unless its weights are random: `(image (N, 3, H, W) float in [0, 1],
        mask (N|1, 1, H, W), 1 = valid)` of any size to pictures (N, 3, H, W) in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The weights do not fit, or another number of views.

    Example:
        >>> image, mask = torch.rand(1, 3, 50, 70), torch.ones(1, 1, 50, 70)
        >>> mask[:, :, 10:30, 20:40] = 0  # a hole; 1 is valid
        >>> filled = restoration_network(weights=None)(image, mask)
        >>> filled.shape, torch.equal(filled[..., :10, :], image[..., :10, :])
        (torch.Size([1, 3, 50, 70]), True)
    """
    network = RestorationNetwork(views)
    if weights is None:
        return network
    if weights == "shipped":
        weights = SHIPPED
        if not SHIPPED.is_file():
            message = (
                f"the weights that come with pcpad are missing: {SHIPPED}. Reinstall pcpad, or train them: "
                "pcpad fit --config inp_restore.yaml"
            )
            raise UserFileNotFoundError(message)
    return load_weights(network, weights).eval()


class RestorationNetwork(nn.Module):
    """A U-Net of partial convolutions that corrects two first guesses.

    The holes are first filled by a membrane and by a thin plate (`smooth_guesses`), from which the network says how to
    mix them and what to add. Its first layer is a partial convolution with two masks: the picture counts where it is
    valid, guesses count everywhere. From there on all is known, and partial convolution is what happens at the
    picture's border. The layer's stride is 2, so that the rest works at half the picture's size or less; residual
    blocks have no norm, and begin as the identity, the network as the mean of its guesses.

    Sizes that 32 does not divide are filled up by repeating the last row and column, and the output is cropped.

    Args:
        views: See `restoration_network`.

    Attributes:
        family: What kind of inpainter this is.
        context: How many pixels around a hole are worth giving to it.
    """

    family = "restoration"
    context = _CONTEXT

    def __init__(self, views: Literal[1, 2, 4, 8] = 1) -> None:
        super().__init__()
        if views not in (1, 2, 4, 8):
            message = f"Expected argument `views` to be 1, 2, 4 or 8, but got {views!r}"
            raise UserValueError(message)
        self.views = views
        self.stem = PartialConv2d(10, _WIDTHS[0], 6, stride=2, padding=2)
        pairs = list(pairwise(_WIDTHS))
        self.down = nn.ModuleList(PartialConv2d(above, below, 2, stride=2) for above, below in pairs)
        self.encoder = nn.ModuleList(_Residual(width) for width in _WIDTHS)
        self.up = nn.ModuleList(nn.Conv2d(below, above, 1) for above, below in pairs)
        self.decoder = nn.ModuleList(_Residual(width) for width in _WIDTHS[:-1])
        self.head = PartialConv2d(_WIDTHS[0], 4 * 4, 3, padding=1)
        initialise(self)
        for block in [*self.encoder, *self.decoder]:
            nn.init.zeros_(block.second.weight)
        nn.init.zeros_(self.head.weight)
        self.to(memory_format=torch.channels_last)  # a quarter less time on the CPU, training included

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes.

        Args:
            image: (N, 3, H, W) float in [0, 1]. What lies in holes has no influence on the output, NaN included.
            mask: (N|1, 1, H, W) of bool, integers or floats: 1 (anything but 0) valid, 0 a hole.

        Returns:
            (N, 3, H, W): the image itself at valid pixels. In holes about in [0, 1], in evaluation mode clamped to it.

        Raises:
            TypeError: The image is not of floating point.
            ValueError: A shape does not fit.
        """
        _check(image, mask)
        height, width = image.shape[-2:]
        valid = (mask != 0).expand(len(image), 1, height, width)
        known = torch.where(valid, image, 0)
        fill = (0, -width % 2 ** len(_WIDTHS), 0, -height % 2 ** len(_WIDTHS))
        if any(fill):
            known, valid = F.pad(known, fill, mode="replicate"), F.pad(valid.to(image.dtype), fill, mode="replicate")
        valid = valid.to(image.dtype)
        filled = self._filled(known, valid)[..., :height, :width]
        if not self.training:
            filled = filled.clamp(0, 1)
        return torch.where(mask != 0, image, filled.to(image.dtype))

    @torch.no_grad()
    def reached(self, mask: Tensor) -> Tensor:
        """Say which pixels of the output depend on any valid pixel: all, in a picture that has one.

        Args:
            mask: (N, 1, H, W), anything but 0 is valid.

        Returns:
            (N, 1, H, W) bool.
        """
        return (mask != 0).flatten(1).any(dim=1).view(-1, 1, 1, 1).expand_as(mask)

    def _filled(self, known: Tensor, valid: Tensor) -> Tensor:
        membrane, plate = smooth_guesses(known, valid).chunk(2, dim=1)
        middle, half = (membrane + plate) / 2, (plate - membrane) / 2
        # What is the same everywhere is nothing to learn.
        level = membrane.mean(dim=(1, 2, 3), keepdim=True)
        seen = torch.cat([(known - level) * valid, middle - level, 4 * half, 1 - valid], dim=1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        views = [self._turned_back(seen, valid, view) for view in range(1 if self.training else self.views)]
        said = torch.stack(views).mean(dim=0)
        return middle + said[:, :1] * half + said[:, 1:]

    def _turned_back(self, seen: Tensor, valid: Tensor, view: int) -> Tensor:
        """What the network says of a mirror image: across (1), upside down (2), with its axes exchanged (4)."""
        mirrored = [axis for axis, bit in ((-1, 1), (-2, 2)) if view & bit]
        if view & 4:
            seen, valid = seen.mT, valid.mT
        said = self._said(seen.flip(mirrored), valid.flip(mirrored)).flip(mirrored)
        return said.mT if view & 4 else said

    def _said(self, seen: Tensor, valid: Tensor) -> Tensor:
        """How to mix the guesses and what to add to them, (N, 4, H, W)."""
        x = F.relu(self.stem(seen, torch.cat([valid, torch.ones_like(valid)], dim=1), mask_channels=(3, 7)))
        levels = []
        for block, down in zip(self.encoder, [*self.down, None], strict=True):
            x = block(x)
            if down is not None:
                levels.append(x)
                x = F.relu(down(x))
        for block, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = block(levels.pop() + F.interpolate(up(x), scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.head(x), 2)


class _Residual(nn.Module):
    """`x` and what two convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = PartialConv2d(width, width, 3, padding=1)
        self.second = PartialConv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.second(F.relu(self.first(x)))
        return output


def _check(image: Tensor, mask: Tensor) -> None:
    if not image.is_floating_point():
        message = f"Expected argument `image` to be of floats in [0, 1], but got {image.dtype}: divide uint8 by 255"
        raise UserTypeError(message)
    if image.dim() != 4 or image.shape[1] != 3 or not image.numel():
        message = f"Expected argument `image` to be (N, 3, H, W) and not empty, but got {tuple(image.shape)}"
        raise UserValueError(message)
    if mask.dim() != 4 or mask.shape[0] not in (1, len(image)) or mask.shape[1:] != (1, *image.shape[2:]):
        expected = f"({len(image)} or 1, 1, {image.shape[2]}, {image.shape[3]})"
        message = f"Expected argument `mask` to be {expected}, 1 = valid, but got {tuple(mask.shape)}"
        raise UserValueError(message)
