"""Losses of dense prediction."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pixel_cross_entropy"]


def pixel_cross_entropy(
    logits: Tensor, label: Tensor, class_weights: Tensor | None = None, ignore_index: int = 255
) -> Tensor:
    """Cross entropy averaged over the pixels that have a label; 0 where none has.

    `torch.nn.functional.cross_entropy` is 0 / 0 for a crop that is ignored entirely, as crops of sky or of the
    car's own bonnet can be.

    Args:
        logits: (N, K, H, W).
        label: (N, H, W) long in [0, K), or `ignore_index`.
        class_weights: (K,) weights; the average is then weighted by them. None: all alike.
        ignore_index: Label of pixels that do not count.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> logits, label = torch.zeros(1, 2, 1, 2), torch.tensor([[[1, 255]]])
        >>> round(float(pixel_cross_entropy(logits, label)), 4), float(pixel_cross_entropy(logits, label + 255 - label))
        (0.6931, 0.0)
    """
    total = F.cross_entropy(logits, label, weight=class_weights, ignore_index=ignore_index, reduction="sum")
    counted = label != ignore_index
    weights = counted if class_weights is None else class_weights[label.where(counted, 0)] * counted
    weight = weights.sum()
    return total / weight.where(weight > 0, 1)
