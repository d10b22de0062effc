"""The U-Net of partial convolutions that fills holes in images (2018 inpainting paper; 2022 paper, §4.2).

Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions" (2018, arXiv 1804.07723), and Liu et al.,
"Partial Convolution for Padding, Inpainting, and Image Synthesis" (2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad._border import known_valid
from pcpad.errors import UserValueError
from pcpad.layers import PartialConv2d
from pcpad.models.weights import initialize, load_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["InpaintingUNet", "inpainting_unet"]

_FIRST_KERNELS = (7, 5, 5)  # of the encoder; 3 from there on
_WIDEST = 8  # times the first level's channels
_CHANNELS = 3


def inpainting_unet(
    depth: int = 8, partial: bool = True, width: int = 64, *, weights: str | Path | None = None
) -> InpaintingUNet:
    """Build the inpainting U-Net.

    With the defaults it has 32.85 million convolution weights and takes 38.0 billion multiplications at 512x512.

    Args:
        depth: How often the encoder halves the image: 8 at 512x512, 7 at 256x256, 3 to 5 for small experiments.
        partial: Whether convolutions are partial. False makes them ordinary ones, zero-padded, with the same weights
            and names: the baseline of the 2022 paper's Table 6, which sees the mask only as erased pixels.
        width: Channels of the first level; they double at each level, up to eight times as many.
        weights: A local file for the whole network, see `load_weights`.

    Returns:
        The network, from `(image (N, 3, H, W), mask (N|1, 1, H, W))` of any size to an image (N, 3, H, W).

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> image, mask = torch.rand(1, 3, 50, 70), torch.ones(1, 1, 50, 70)
        >>> mask[:, :, 10:30, 20:40] = 0  # a hole; 1 is valid
        >>> inpainting_unet(depth=3, width=8).eval()(image, mask).shape
        torch.Size([1, 3, 50, 70])
    """
    model = InpaintingUNet(depth, partial, width)
    return model if weights is None else load_weights(model, weights)


class InpaintingUNet(nn.Module):
    """An encoder that halves the image `depth` times, and a decoder with a skip connection from each level.

    Masks are stored as groups of identical channels: one channel for the encoder's features, two for the decoder's,
    which concatenate the upsampled features and the encoder's. So valid inputs are counted by a box filter on one
    channel instead of a convolution over all of the features' channels. Features are kept zero in holes, so that
    convolutions need not erase them there, nor keep an erased copy for the backward pass.

    Sizes that `2**depth` does not divide are padded with holes at the bottom and right, and the output is cropped. In
    training, batch norm includes these and all other holes, as in the published networks.

    Args:
        depth: See `inpainting_unet`, also for the others.
        partial: Whether convolutions are partial or ordinary.
        width: Channels of the first level.
    """

    def __init__(self, depth: int = 8, partial: bool = True, width: int = 64) -> None:
        super().__init__()
        for name, value in (("depth", depth), ("width", width)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                message = f"Expected argument `{name}` to be a positive integer, but got {value!r}"
                raise UserValueError(message)
        self.depth = depth
        self.partial = partial
        kernels = [*_FIRST_KERNELS, *[3] * depth][:depth]
        outs = [width * min(2**level, _WIDEST) for level in range(depth)]
        ins = [_CHANNELS, *outs[:-1]]
        self.encoder = nn.ModuleList(
            _Block(partial, into, out, kernel, stride=2, norm=level > 0, activation=nn.ReLU(inplace=True))
            for level, (into, out, kernel) in enumerate(zip(ins, outs, kernels, strict=True))
        )
        self.decoder = nn.ModuleList(
            _Block(
                partial,
                up + skip,
                skip,
                3,
                stride=1,
                norm=level > 0,
                activation=nn.LeakyReLU(0.2, inplace=True) if level else None,
            )
            for level, (up, skip) in reversed(list(enumerate(zip(outs, ins, strict=True))))
        )
        self._frozen = False
        initialize(self)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes.

        Args:
            image: (N, 3, H, W), normalized to about zero mean: ordinary convolutions see 0 in holes. Values in holes
                have no influence on the output, not even NaN.
            mask: (N|1, 1, H, W) of bools, integers or floats: 1 (anything but 0) is valid, 0 a hole.

        Returns:
            (N, 3, H, W) in the image's range; for all pixels, including valid ones.

        Raises:
            ValueError: A shape does not fit.
        """
        _check(image, mask)
        height, width = image.shape[-2:]
        # Without `%`, which torch.compile cannot trace for dynamic sizes (seen with 2.15).
        fill = (0, _rounded_up(width, 2**self.depth) - width, 0, _rounded_up(height, 2**self.depth) - height)
        valid = F.pad((mask != 0).to(image.dtype), fill)
        features = torch.where(valid != 0, F.pad(image, fill), 0)
        state = _Masked(features, None if not self.partial or known_valid(valid) else valid)
        levels = []
        for block in self.encoder:
            levels.append(state)
            state = block(state)
        for block in self.decoder:
            state = block(*_joined(state, levels.pop()))
        return state.features[..., :height, :width]

    @torch.no_grad()
    def reached(self, mask: Tensor) -> Tensor:
        """Find the pixels of the output that depend on any valid pixel: the others are the same for every picture.

        Args:
            mask: (N, 1, H, W), anything but 0 is valid.

        Returns:
            (N, 1, H, W) bool.
        """
        height, width = mask.shape[-2:]
        fill = (0, _rounded_up(width, 2**self.depth) - width, 0, _rounded_up(height, 2**self.depth) - height)
        known = F.pad((mask != 0).float(), fill)
        levels = []
        for block in self.encoder:
            levels.append(known)
            conv: Any = block.conv
            kernel = conv.kernel_size[0]
            known = F.max_pool2d(known, kernel, stride=2, padding=kernel // 2)
        for skip in reversed(levels):
            up = F.interpolate(known, size=skip.shape[-2:], mode="nearest")
            known = F.max_pool2d(torch.maximum(up, skip), 3, stride=1, padding=1)
        return known[..., :height, :width] != 0

    def freeze_encoder_batch_norm(self, frozen: bool = True) -> InpaintingUNet:
        """Freeze the encoder's batch norm, with statistics, scale and shift: the second stage of training.

        Holes distort the statistics of a batch, so these are no longer used once the features are learned.

        Args:
            frozen: False unfreezes it.

        Returns:
            The network.
        """
        self._frozen = frozen
        for norm in self._encoder_norms():
            norm.requires_grad_(not frozen)
        return self.train(self.training)

    def train(self, mode: bool = True) -> InpaintingUNet:
        """Set the training mode, except for frozen norms."""
        super().train(mode)
        if self._frozen:
            for norm in self._encoder_norms():
                norm.eval()
        return self

    def _encoder_norms(self) -> list[nn.Module]:
        return [module for name, module in self.encoder.named_modules() if name.endswith(".norm")]


class _Masked(NamedTuple):
    """Features (N, C, H, W) that are zero in holes, and their mask (N|1, 1|2, H, W); None if everything is valid."""

    features: Tensor
    mask: Tensor | None


class _Block(nn.Module):
    """A convolution, and optionally batch norm and an activation, which must map 0 to 0."""

    def __init__(
        self,
        partial: bool,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        norm: bool,
        activation: nn.Module | None,
    ) -> None:
        super().__init__()
        kind, options = (PartialConv2d, {"return_mask": True}) if partial else (nn.Conv2d, {})
        shape = (in_channels, out_channels, kernel_size, stride, kernel_size // 2)
        self.conv = kind(*shape, bias=not norm, **options)  # type: ignore[arg-type]
        if norm:
            self.norm = nn.BatchNorm2d(out_channels)
        self.activation = activation
        self.has_norm = norm

    def forward(self, state: _Masked, mask_channels: Sequence[int] | None = None) -> _Masked:
        mask: Tensor | None = None
        if isinstance(self.conv, PartialConv2d):
            y, mask = self.conv(*state, mask_channels=mask_channels, holes_are_zero=True)
            if state.mask is None or known_valid(mask):
                mask = None
        else:
            y = self.conv(state.features)
        if self.has_norm:
            y = self.norm(y)
            if mask is not None:
                # The norm's shift is removed from holes before the activation, in place: neither operation keeps its
                # input for the backward pass, whereas after the activation two copies would be kept.
                y = y.mul_(mask.to(y.dtype))
        return _Masked(y if self.activation is None else self.activation(y), mask)


def _rounded_up(length: int, multiple: int) -> int:
    return (length + multiple - 1) // multiple * multiple


def _joined(below: _Masked, skip: _Masked) -> tuple[_Masked, tuple[int, int] | None]:
    """Upsample to the skip connection's size and concatenate, features with features and masks with masks."""
    size = skip.features.shape[-2:]
    up = F.interpolate(below.features, size=size, mode="nearest")
    features = torch.cat([up, skip.features.to(up.dtype)], dim=1)
    if below.mask is None and skip.mask is None:
        return _Masked(features, None), None
    known = below.mask if skip.mask is None else skip.mask
    assert known is not None
    masks = [
        known.new_ones(len(known), 1, *size)
        if below.mask is None
        else F.interpolate(below.mask, size=size, mode="nearest"),
        known.new_ones(len(known), 1, *size) if skip.mask is None else skip.mask,
    ]
    return _Masked(features, torch.cat(masks, dim=1)), (up.shape[1], skip.features.shape[1])


def _check(image: Tensor, mask: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != _CHANNELS or not image.is_floating_point():
        message = f"Expected `image` to be floats of shape (N, 3, H, W), but got {image.dtype} of {tuple(image.shape)}"
        raise UserValueError(message)
    fits = mask.dim() == 4 and mask.shape[1] == 1 and mask.shape[-2:] == image.shape[-2:]
    if not fits or mask.shape[0] not in (1, image.shape[0]):
        message = (
            f"Expected `mask` of shape ({image.shape[0]} or 1, 1, {image.shape[2]}, {image.shape[3]}), to match the "
            f"image, but got {tuple(mask.shape)}. It is 1 where the image is valid and 0 in holes."
        )
        raise UserValueError(message)
