"""Losses of dense prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["pixel_cross_entropy", "relaxed_cross_entropy"]


def pixel_cross_entropy(
    logits: Tensor, label: Tensor, class_weights: Tensor | None = None, ignore_index: int = 255
) -> Tensor:
    """Cross entropy averaged over the pixels that have a label; 0 where none has.

    `torch.nn.functional.cross_entropy` is 0 / 0 for a crop that is ignored entirely, as crops of sky or of the
    car's own hood can be.

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
    return _mean(total, _weights(label, class_weights, ignore_index))


def relaxed_cross_entropy(
    logits: Tensor, label: Tensor, radius: int = 1, class_weights: Tensor | None = None, ignore_index: int = 255
) -> Tensor:
    """Cross entropy that takes any class of the neighborhood for right where classes meet.

    Annotated outlines are off by a pixel or two. `-log` of the summed probability of the classes within `radius` of a
    pixel (Zhu et al. 2019, arXiv 1812.01593, Eq. 3), which is plain cross entropy away from borders.

    Args:
        logits: (N, K, H, W).
        label: (N, H, W) long in [0, K), or `ignore_index`, which is no class and relaxes nothing.
        radius: Of the square neighborhood, in pixels; 1 is the paper's 3 x 3, 0 plain cross entropy.
        class_weights: (K,) weights by the pixel's own label; the average is then weighted by them. None: all alike.
        ignore_index: Label of pixels that do not count.

    Returns:
        A scalar; 0 where no pixel counts.

    Example:
        >>> import torch
        >>> logits, label = torch.zeros(1, 4, 1, 2), torch.tensor([[[0, 1]]])
        >>> round(float(relaxed_cross_entropy(logits, label)), 4)  # two of four classes are right
        0.6931
    """
    weights = _weights(label, class_weights, ignore_index)
    counted = label != ignore_index
    own = F.one_hot(label.where(counted, 0), logits.shape[1]).movedim(-1, 1) * counted.unsqueeze(1)
    near = F.max_pool2d(own.to(logits.dtype), 2 * radius + 1, stride=1, padding=radius) > 0
    near = near | ~counted.unsqueeze(1)  # pixels that do not count: any finite value, with weight 0
    right = logits.masked_fill(~near, -torch.inf).logsumexp(dim=1)
    return _mean(((logits.logsumexp(dim=1) - right) * weights).sum(), weights)


def _weights(label: Tensor, class_weights: Tensor | None, ignore_index: int) -> Tensor:
    counted = label != ignore_index
    return counted if class_weights is None else class_weights[label.where(counted, 0)] * counted


def _mean(total: Tensor, weights: Tensor) -> Tensor:
    weight = weights.sum()
    return total / weight.where(weight > 0, 1)
