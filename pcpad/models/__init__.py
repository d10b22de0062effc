"""Networks, one family a file, and the one way to load weights into them."""

from typing import TYPE_CHECKING, Any

from pcpad.models.classifiers import classifier
from pcpad.models.deeplab import deeplabv3plus
from pcpad.models.drn import drn_d_105
from pcpad.models.filtering_unet import filtering_unet
from pcpad.models.inpainting_unet import inpainting_unet
from pcpad.models.patch_discriminator import patch_discriminator
from pcpad.models.pooling import exportable_pooling
from pcpad.models.resnet3d import resnet3d, resnet3d18, resnet3d34, resnet3d50, resnet3d101
from pcpad.models.spade import spade_generator
from pcpad.models.weights import load_weights
from pcpad.models.wide_resnet import wide_resnet38

if TYPE_CHECKING:
    from pcpad.models.smp import smp_network

__all__ = [
    "classifier",
    "deeplabv3plus",
    "drn_d_105",
    "exportable_pooling",
    "filtering_unet",
    "inpainting_unet",
    "load_weights",
    "patch_discriminator",
    "resnet3d",
    "resnet3d18",
    "resnet3d34",
    "resnet3d50",
    "resnet3d101",
    "smp_network",
    "spade_generator",
    "wide_resnet38",
]


def __getattr__(name: str) -> Any:
    if name == "smp_network":  # segmentation-models-pytorch takes seconds to import
        from pcpad.models.smp import smp_network

        return smp_network
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
