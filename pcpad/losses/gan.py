"""The losses of SPADE's training (Park et al. 2019, arXiv 1903.07291): hinge, feature matching, VGG19."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.losses.vgg import VGG19Features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["GeneratorLoss", "discriminator_hinge", "feature_matching", "generator_hinge"]

_PUBLISHED = {"feature_matching": 10.0, "vgg": 10.0}
_VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def discriminator_hinge(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """The discriminator's hinge loss: verdicts below -1 on fakes and above 1 on real images cost nothing.

    Args:
        fake: For each scale its feature maps, the last one the verdict (N, 1, H', W'), on generated images.
        real: The same on real ones.

    Returns:
        A scalar >= 0 in float32 or wider: the mean over scales of the two means over patches, added.

    Example:
        >>> undecided = [[torch.zeros(1, 1, 2, 2)]]
        >>> float(discriminator_hinge(undecided, undecided))
        2.0
    """
    _same_scales(fake, real)
    return torch.stack(
        [
            F.relu(1 + _wide(ours[-1])).mean() + F.relu(1 - _wide(theirs[-1])).mean()
            for ours, theirs in zip(fake, real, strict=True)
        ]
    ).mean()


def generator_hinge(fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """The generator's side: minus the mean verdict.

    Args:
        fake: As for `discriminator_hinge`.

    Returns:
        A scalar: the mean over scales.
    """
    return torch.stack([-_wide(maps[-1]).mean() for maps in fake]).mean()


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """Distance between the discriminator's features of generated and real images.

    Args:
        fake: As for `discriminator_hinge`.
        real: The same on the real images of the same maps; no gradient reaches it.

    Returns:
        A scalar >= 0: the mean absolute difference of each map but the verdict, summed over maps, over the number of
        scales.
    """
    _same_scales(fake, real)
    distances = [
        F.l1_loss(_wide(ours), _wide(theirs.detach()))
        for of_fake, of_real in zip(fake, real, strict=True)
        for ours, theirs in zip(of_fake[:-1], of_real[:-1], strict=True)
    ]
    return torch.stack(distances).sum() / len(fake)


class GeneratorLoss(nn.Module):
    """`hinge + 10 feature_matching + 10 vgg`.

    `vgg` is the mean absolute difference of VGG19's `relu1_1` ... `relu5_1`, weighted 1/32, 1/16, 1/8, 1/4 and 1.

    Args:
        weights: Of `feature_matching` and `vgg`; those not named keep the published 10. A term with weight 0 is not
            computed; without `vgg`, VGG19 is not needed.
        vgg: VGG19's ImageNet weights, see `VGG19Features`.

    Raises:
        ValueError: A weight is unknown or negative, or the VGG19 file is another network's.
        FileNotFoundError: The VGG19 file is not there.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, vgg: str | Path = "published") -> None:
        super().__init__()
        self.weights = self.complete(weights)
        self.features = VGG19Features(vgg) if self.weights["vgg"] else None

    @staticmethod
    def complete(weights: Mapping[str, float] | None) -> dict[str, float]:
        """Check weights of terms, and add the published ones of those not named.

        Args:
            weights: As for the class.

        Returns:
            One weight for each term.

        Raises:
            ValueError: A weight is unknown, negative or not finite.
        """
        given = dict(weights or {})
        for name, value in given.items():
            if name not in _PUBLISHED or not 0 <= value < float("inf"):
                message = (
                    f"Expected argument `loss_weights` to hold numbers >= 0 for {', '.join(_PUBLISHED)}, but got "
                    f"{name}={value}"
                )
                raise UserValueError(message)
        return {**_PUBLISHED, **{name: float(value) for name, value in given.items()}}

    def forward(
        self, image: Tensor, truth: Tensor, fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]
    ) -> dict[str, Tensor]:
        """Compare generated images with the real ones of the same maps.

        Args:
            image: (N, 3, H, W) in [-1, 1], generated.
            truth: (N, 3, H, W) in [-1, 1], real.
            fake: The discriminator's maps of `image`, as for `discriminator_hinge`.
            real: Its maps of `truth`.

        Returns:
            `loss`, and its terms unweighted: `hinge`, and those of `feature_matching` and `vgg` whose weight is not 0.
        """
        terms = {"hinge": generator_hinge(fake)}
        if self.weights["feature_matching"]:
            terms["feature_matching"] = feature_matching(fake, real)
        if self.features is not None:
            terms["vgg"] = self._vgg(image, truth)
        loss = terms["hinge"] + sum(self.weights[name] * terms[name] for name in terms if name != "hinge")
        return {"loss": loss, **terms}

    def _vgg(self, image: Tensor, truth: Tensor) -> Tensor:
        assert self.features is not None
        with torch.no_grad():
            wanted = self.features(truth)
        pairs = zip(_VGG_WEIGHTS, self.features(image), wanted, strict=True)
        return torch.stack([weight * F.l1_loss(_wide(ours), _wide(theirs)) for weight, ours, theirs in pairs]).sum()


def _wide(x: Tensor) -> Tensor:
    """In float32 or wider: means over half-precision maps lose what hinge and matching are about."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _same_scales(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> None:
    if not fake or len(fake) != len(real):
        message = f"Expected feature maps of as many scales for fake and real images, but got {len(fake)}, {len(real)}"
        raise UserValueError(message)
