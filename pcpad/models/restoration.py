"""The network shipped with pcpad that fills holes in damaged pictures."""

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
from pcpad.models.weights import initialize, load_weights

__all__ = ["SHIPPED", "RestorationNetwork", "restoration_network"]

SHIPPED = Path(__file__).with_name("restoration.safetensors")
"""The weights shipped with the package."""

_WIDTHS = (32, 64, 96, 128, 128)  # channels at 1/2, 1/4, … of the picture's size
_CONTEXT = 64


def restoration_network(
    weights: Literal["shipped"] | str | Path | None = "shipped", *, views: Literal[1, 2, 4, 8] = 1
) -> RestorationNetwork:
    """Build the network that fills damage in pictures: scratches, strokes, writing, stamps, blocks.

    Args:
        weights: `shipped` for those of the package (`restoration.md` beside this file describes their training); None
            for random weights, to be trained; or a local file, see `load_weights`.
        views: The number of mirrored and rotated copies of the picture whose outputs are averaged in evaluation mode;
            multiplies the time.

    Returns:
        The network, in evaluation mode unless its weights are random: from `(image (N, 3, H, W) float in [0, 1], mask
        (N|1, 1, H, W), 1 = valid)` of any size to pictures (N, 3, H, W) in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The weights do not fit, or `views` is another number.

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
                f"the weights shipped with pcpad are missing: {SHIPPED}. Reinstall pcpad, or train them: "
                "pcpad fit --config inp_restore.yaml"
            )
            raise UserFileNotFoundError(message)
    return load_weights(network, weights).eval()


class RestorationNetwork(nn.Module):
    """A U-Net of partial convolutions that corrects two initial guesses.

    The holes are first filled by a membrane and by a thin plate (`smooth_guesses`); the network predicts how to mix the
    two and what to add. Its first layer is a partial convolution with two masks: the picture counts where it is valid,
    the guesses count everywhere. After it everything is valid, and partial convolution acts at the picture's border
    only. The layer's stride is 2, so that the rest works at half the picture's size or less. Residual blocks have no
    norm; they are initialized as the identity, and the network as the mean of its guesses.

    Sizes that 32 does not divide are padded by repeating the last row and column, and the output is cropped.

    Args:
        views: See `restoration_network`.

    Attributes:
        family: The kind of inpainter.
        context: The useful number of pixels around a hole.
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
        initialize(self)
        for block in [*self.encoder, *self.decoder]:
            nn.init.zeros_(block.second.weight)
        nn.init.zeros_(self.head.weight)
        self.to(memory_format=torch.channels_last)  # takes a quarter less time on the CPU, also in training

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes.

        Args:
            image: (N, 3, H, W) float in [0, 1]. Values in holes have no influence on the output, not even NaN.
            mask: (N|1, 1, H, W) of bools, integers or floats: 1 (anything but 0) is valid, 0 a hole.

        Returns:
            (N, 3, H, W): the image itself at valid pixels; in holes about in [0, 1], and clamped to it in evaluation
            mode.

        Raises:
            TypeError: The image is not floating-point.
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
        """Find the pixels of the output that depend on any valid pixel: all of them, if there is a valid pixel.

        Args:
            mask: (N, 1, H, W), anything but 0 is valid.

        Returns:
            (N, 1, H, W) bool.
        """
        return (mask != 0).flatten(1).any(dim=1).view(-1, 1, 1, 1).expand_as(mask)

    def _filled(self, known: Tensor, valid: Tensor) -> Tensor:
        membrane, plate = smooth_guesses(known, valid).chunk(2, dim=1)
        middle, half = (membrane + plate) / 2, (plate - membrane) / 2
        # The mean level is subtracted, as there is nothing to learn about it.
        level = membrane.mean(dim=(1, 2, 3), keepdim=True)
        seen = torch.cat([(known - level) * valid, middle - level, 4 * half, 1 - valid], dim=1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        views = [self._turned_back(seen, valid, view) for view in range(1 if self.training else self.views)]
        said = torch.stack(views).mean(dim=0)
        return middle + said[:, :1] * half + said[:, 1:]

    def _turned_back(self, seen: Tensor, valid: Tensor, view: int) -> Tensor:
        """The network's output for a mirrored (1), upside-down (2) or transposed (4) picture, transformed back."""
        mirrored = [axis for axis, bit in ((-1, 1), (-2, 2)) if view & bit]
        if view & 4:
            seen, valid = seen.mT, valid.mT
        said = self._said(seen.flip(mirrored), valid.flip(mirrored)).flip(mirrored)
        return said.mT if view & 4 else said

    def _said(self, seen: Tensor, valid: Tensor) -> Tensor:
        """The weights to mix the guesses and the values to add to them, (N, 4, H, W)."""
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
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = PartialConv2d(width, width, 3, padding=1)
        self.second = PartialConv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.second(F.relu(self.first(x)))
        return output


def _check(image: Tensor, mask: Tensor) -> None:
    if not image.is_floating_point():
        message = f"Expected argument `image` to be floats in [0, 1], but got {image.dtype}: divide uint8 by 255"
        raise UserTypeError(message)
    if image.dim() != 4 or image.shape[1] != 3 or not image.numel():
        message = f"Expected argument `image` to be (N, 3, H, W) and not empty, but got {tuple(image.shape)}"
        raise UserValueError(message)
    if mask.dim() != 4 or mask.shape[0] not in (1, len(image)) or mask.shape[1:] != (1, *image.shape[2:]):
        expected = f"({len(image)} or 1, 1, {image.shape[2]}, {image.shape[3]})"
        message = f"Expected argument `mask` to be {expected}, 1 = valid, but got {tuple(mask.shape)}"
        raise UserValueError(message)
