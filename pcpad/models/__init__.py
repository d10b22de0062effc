"""Networks, one family a file, and the one way to load weights into them."""

from typing import TYPE_CHECKING, Any

from pcpad.models.classifiers import classifier
from pcpad.models.deeplab import deeplabv3plus
from pcpad.models.resnet3d import resnet3d, resnet3d18, resnet3d34, resnet3d50, resnet3d101
from pcpad.models.weights import load_weights
from pcpad.models.wide_resnet import wide_resnet38

if TYPE_CHECKING:
    from pcpad.models.smp import smp_network

__all__ = [
    "classifier",
    "deeplabv3plus",
    "load_weights",
    "resnet3d",
    "resnet3d18",
    "resnet3d34",
    "resnet3d50",
    "resnet3d101",
    "smp_network",
    "wide_resnet38",
]


def __getattr__(name: str) -> Any:
    if name == "smp_network":  # segmentation-models-pytorch takes seconds to import
        from pcpad.models.smp import smp_network

        return smp_network
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
