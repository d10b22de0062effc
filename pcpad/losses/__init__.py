"""Losses as functions of tensors, and as modules where they have weights."""

from pcpad.losses.gan import GeneratorLoss, discriminator_hinge, feature_matching, generator_hinge
from pcpad.losses.inpainting import InpaintingLoss
from pcpad.losses.segmentation import pixel_cross_entropy, relaxed_cross_entropy

__all__ = [
    "GeneratorLoss",
    "InpaintingLoss",
    "discriminator_hinge",
    "feature_matching",
    "generator_hinge",
    "pixel_cross_entropy",
    "relaxed_cross_entropy",
]
