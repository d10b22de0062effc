"""The six losses of the partial-convolution inpainting network (2018 inpainting paper, Eq. 3-7; 2022 paper, §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.losses.vgg import VGG16Features
from pcpad.metrics.inpainting import composite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["InpaintingLoss", "gram_matrix", "hole_variation"]

# Equation 7 of the inpainting paper; found there by a search on 100 validation images.
_PUBLISHED = {"valid": 1.0, "hole": 6.0, "perceptual": 0.05, "style": 120.0, "tv": 0.1}
_OURS = {"each": 0.0, "level": 0.0}
_LEAST_ERROR = 3e-5  # mean square, 45 dB: what is nearly right already, a plain sky, should not outweigh the rest


class InpaintingLoss(nn.Module):
    """`valid + 6 hole + 0.05 perceptual + 120 (style_out + style_comp) + 0.1 tv`.

    Every L1 term is a mean over *all* elements: `hole` and `valid` over all pixels of the batch, not over those in the
    hole. Perceptual and style terms are summed over VGG16's three pooling layers and compare the raw output and the
    composite with the truth. Every sum is taken in float32, under autocast too.

    Args:
        weights: Of the terms `valid`, `hole`, `perceptual`, `style` and `tv`; those not named keep the published ones.
            Also of two that the papers do not have, by which a scratch counts as much as a block: `each`, L1 over the
            holes of each picture, and `level`, minus the PSNR over the holes of each picture in units of 10 dB. A term
            with weight 0 is not computed; with both `perceptual` and `style` at 0, VGG16 is not needed.
        vgg: VGG16's ImageNet weights, see `VGG16Features`.

    Raises:
        ValueError: A weight is unknown or negative, or the VGG16 file is another network's.
        FileNotFoundError: The VGG16 file is not there.

    Example:
        >>> loss = InpaintingLoss({"perceptual": 0, "style": 0})
        >>> truth, mask = torch.full((1, 3, 8, 8), 0.5), torch.ones(1, 1, 8, 8)
        >>> mask[..., :4] = 0  # half of the image is a hole
        >>> terms = loss(torch.zeros(1, 3, 8, 8), truth, mask)
        >>> float(terms["valid"]), float(terms["hole"]), round(float(terms["loss"]), 5)  # tv: 0.5 along the hole's edge
        (0.25, 0.25, 1.75625)
    """

    def __init__(self, weights: Mapping[str, float] | None = None, vgg: str | Path = "published") -> None:
        super().__init__()
        self.weights = self.complete(weights)
        self.features = VGG16Features(vgg) if self.weights["perceptual"] or self.weights["style"] else None

    @staticmethod
    def complete(weights: Mapping[str, float] | None) -> dict[str, float]:
        """Check weights of terms, and add the published ones of those not named.

        Args:
            weights: As for the class.

        Returns:
            One of each of the five terms.

        Raises:
            ValueError: One is unknown, negative or not finite.
        """
        given = {name: float(value) for name, value in (weights or {}).items()}
        if set(given) - set(_PUBLISHED) - set(_OURS) or not all(0 <= value < float("inf") for value in given.values()):
            message = f"Expected loss weights >= 0 for some of {', '.join([*_PUBLISHED, *_OURS])}, but got {given}"
            raise UserValueError(message)
        return _PUBLISHED | given

    def forward(self, output: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compare the network's output with the truth.

        Args:
            output: (N, 3, H, W), the raw output, in the truth's range.
            truth: (N, 3, H, W), RGB in [0, 1].
            mask: (N|1, 1, H, W), 1 valid, 0 hole.

        Returns:
            Scalars in float32: `loss`, the weighted sum, and each computed term unweighted: `valid`, `hole`,
            `perceptual`, `style_out`, `style_comp`, `tv`.
        """
        output, truth, mask = output.float(), truth.float(), (mask != 0).float()
        merged = composite(output, truth, mask)
        difference = (output - truth).abs()
        terms = {"valid": (difference * mask).mean(), "hole": (difference * (1 - mask)).mean()}
        if self.features is not None:
            terms |= self._of_features(output, merged, truth)
        if self.weights["tv"]:
            terms["tv"] = hole_variation(merged, mask)
        if self.weights.get("each"):
            terms["each"] = errors_of_each((output - truth).abs(), mask).mean()
        if self.weights.get("level"):
            terms["level"] = torch.log10(errors_of_each((output - truth).square(), mask) + _LEAST_ERROR).mean()
        weights = {**self.weights, "style_out": self.weights["style"], "style_comp": self.weights["style"]}
        return {"loss": torch.stack([weights[name] * value for name, value in terms.items()]).sum(), **terms}

    def _of_features(self, output: Tensor, merged: Tensor, truth: Tensor) -> dict[str, Tensor]:
        assert self.features is not None
        with torch.no_grad():
            wanted = self.features(truth)
        found = self.features(torch.cat([output, merged]))
        zero = output.new_zeros(())
        perceptual, style_out, style_comp = zero, zero, zero
        for ours, theirs in zip(found, wanted, strict=True):
            of_output, of_merged = ours.float().chunk(2)
            target = theirs.float()
            if self.weights["perceptual"]:
                perceptual = perceptual + F.l1_loss(of_output, target) + F.l1_loss(of_merged, target)
            if self.weights["style"]:
                gram = gram_matrix(target)
                style_out = style_out + F.l1_loss(gram_matrix(of_output), gram)
                style_comp = style_comp + F.l1_loss(gram_matrix(of_merged), gram)
        terms = {"perceptual": perceptual} if self.weights["perceptual"] else {}
        return terms | ({"style_out": style_out, "style_comp": style_comp} if self.weights["style"] else {})


def errors_of_each(errors: Tensor, mask: Tensor) -> Tensor:
    """Average errors over the holes of each picture.

    Args:
        errors: (N, 3, H, W).
        mask: (N|1, 1, H, W), 1 valid, 0 hole.

    Returns:
        (N,), 0 for a picture without a hole.
    """
    hole = (1 - mask).expand(len(errors), 1, *errors.shape[-2:])
    pixels = errors.shape[1] * hole.sum(dim=(1, 2, 3))
    return (errors * hole).sum(dim=(1, 2, 3)) / pixels.clamp_min(1)


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations of channels over the image, divided by C·H·W.

    Args:
        features: (N, C, H, W).

    Returns:
        (N, C, C) in float32 or wider. The sum over positions leaves half precision's range, so it is never taken there,
        under autocast neither.
    """
    flat = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
    with torch.autocast(features.device.type, enabled=False):
        return flat @ (flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2]))


def hole_variation(image: Tensor, mask: Tensor) -> Tensor:
    """Total variation where both neighbors lie in the hole dilated by one pixel, over the number of all elements.

    Args:
        image: (N, 3, H, W), the composite.
        mask: (N|1, 1, H, W), 1 valid, 0 hole.

    Returns:
        A scalar.
    """
    region = F.max_pool2d((mask == 0).to(image.dtype), 3, stride=1, padding=1)
    across = (image[..., 1:] - image[..., :-1]).abs() * (region[..., 1:] * region[..., :-1])
    down = (image[..., 1:, :] - image[..., :-1, :]).abs() * (region[..., 1:, :] * region[..., :-1, :])
    return (across.sum() + down.sum()) / image.numel()
