"""Losses as functions of tensors, and as modules where they have weights."""

from pcpad.losses.inpainting import InpaintingLoss
from pcpad.losses.segmentation import pixel_cross_entropy, relaxed_cross_entropy

__all__ = ["InpaintingLoss", "pixel_cross_entropy", "relaxed_cross_entropy"]
