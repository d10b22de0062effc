"""LightningDataModules, one data set a file, and `base.py` with what all of them are.

A batch's form is stated in each class's docstring. Each class is imported when it is first asked for, so that street
scenes need no video decoder.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcpad.datamodules.base import DataModule
    from pcpad.datamodules.cityscapes import CityscapesDataModule
    from pcpad.datamodules.cityscapes_panoptic import CityscapesPanopticDataModule
    from pcpad.datamodules.gaussian_filtering import GaussianFilteringDataModule
    from pcpad.datamodules.imagenet import ImageNetDataModule
    from pcpad.datamodules.kinetics import KineticsDataModule
    from pcpad.datamodules.places2 import Places2DataModule

__all__ = [
    "CityscapesDataModule",
    "CityscapesPanopticDataModule",
    "DataModule",
    "GaussianFilteringDataModule",
    "ImageNetDataModule",
    "KineticsDataModule",
    "Places2DataModule",
]

_MODULES = {
    "CityscapesDataModule": "cityscapes",
    "CityscapesPanopticDataModule": "cityscapes_panoptic",
    "DataModule": "base",
    "GaussianFilteringDataModule": "gaussian_filtering",
    "ImageNetDataModule": "imagenet",
    "KineticsDataModule": "kinetics",
    "Places2DataModule": "places2",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in _MODULES.values():
        found = import_module(f"{__name__}.{name}")
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = found  # the next access does without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES.values()})
