"""Losses as functions of tensors, and as modules where they have weights."""

from pcpad.losses.inpainting import InpaintingLoss, composite
from pcpad.losses.segmentation import pixel_cross_entropy

__all__ = ["InpaintingLoss", "composite", "pixel_cross_entropy"]
