"""How near filled images come to the truth, by how much of them was missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["InpaintingScores"]

_PAPER = ((0.01, 0.2), (0.2, 0.4), (0.4, 0.6))


class InpaintingScores(Metric):
    """l1 in percent, PSNR in decibels and SSIM of the composite, each the mean of single images' scores.

    Args:
        bins: Ranges of the hole's share of the image, `low < share <= high` (the first includes its lower end).
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, bins: Sequence[tuple[float, float]] = _PAPER) -> None:
        super().__init__()
        self.bins = [(float(low), float(high)) for low, high in bins]
        self.add_state("sums", torch.zeros(len(self.bins) + 1, 3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(self.bins) + 1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Score one batch.

        Args:
            prediction: (N, 3, H, W) in [0, 1]; outside of the holes it is not looked at.
            target: (N, 3, H, W) in [0, 1].
            mask: (N, 1, H, W), 1 valid, 0 hole.
        """
        merged = torch.where(mask != 0, target, prediction)
        difference = (merged - target).double().flatten(1)
        psnr = -10 * difference.square().mean(1).clamp(min=1e-10).log10()
        ssim = structural_similarity_index_measure(merged, target, data_range=1.0, reduction="none")
        assert isinstance(ssim, Tensor)
        values = torch.stack([100 * difference.abs().mean(1), psnr, ssim.double().reshape(-1)], dim=1)
        share = (mask == 0).double().flatten(1).mean(1)
        for index in range(len(self.bins) + 1):
            inside = torch.ones_like(share, dtype=torch.bool)
            if index:
                low, high = self.bins[index - 1]
                inside = ((share > low) | ((share == low) & (index == 1))) & (share <= high)
            self.sums[index] += values[inside].sum(0)
            self.counts[index] += inside.sum()

    def compute(self) -> dict[str, Tensor]:
        """`l1`, `psnr`, `ssim`, each with `/0.01-0.20` too for a bin, NaN without images; `images/…`: counts."""
        found: dict[str, Tensor] = {}
        for index in range(len(self.bins) + 1):
            name = "" if not index else f"/{self.bins[index - 1][0]:.2f}-{self.bins[index - 1][1]:.2f}"
            means = self.sums[index] / self.counts[index]
            found |= {f"{key}{name}": mean.float() for key, mean in zip(("l1", "psnr", "ssim"), means, strict=True)}
            if index:
                found[f"images{name}"] = self.counts[index]
        return found
