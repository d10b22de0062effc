"""Losses as functions of tensors."""

from pcpad.losses.segmentation import pixel_cross_entropy, relaxed_cross_entropy

__all__ = ["pixel_cross_entropy", "relaxed_cross_entropy"]
