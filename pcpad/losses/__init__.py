"""Losses as functions of tensors, and as modules where they have weights."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.losses.gan import GeneratorLoss as GeneratorLoss
    from pcpad.losses.gan import discriminator_hinge as discriminator_hinge
    from pcpad.losses.gan import feature_matching as feature_matching
    from pcpad.losses.gan import generator_hinge as generator_hinge
    from pcpad.losses.inpainting import InpaintingLoss as InpaintingLoss
    from pcpad.losses.segmentation import pixel_cross_entropy as pixel_cross_entropy
    from pcpad.losses.segmentation import relaxed_cross_entropy as relaxed_cross_entropy
else:
    from pcpad._lazy import attach as _attach

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "GeneratorLoss": "pcpad.losses.gan",
            "InpaintingLoss": "pcpad.losses.inpainting",
            "discriminator_hinge": "pcpad.losses.gan",
            "feature_matching": "pcpad.losses.gan",
            "generator_hinge": "pcpad.losses.gan",
            "pixel_cross_entropy": "pcpad.losses.segmentation",
            "relaxed_cross_entropy": "pcpad.losses.segmentation",
        },
        modules=("vgg",),
    )
