"""LightningDataModules, one data set a file. A batch's form is stated in each class's docstring.

Importing this package imports every class, which is what makes their short names known to LightningCLI.
"""

from pcpad.datamodules.cityscapes import CityscapesDataModule
from pcpad.datamodules.cityscapes_panoptic import CityscapesPanopticDataModule
from pcpad.datamodules.gaussian_filtering import GaussianFilteringDataModule
from pcpad.datamodules.imagenet import ImageNetDataModule
from pcpad.datamodules.kinetics import KineticsDataModule
from pcpad.datamodules.places2 import Places2DataModule

__all__ = [
    "CityscapesDataModule",
    "CityscapesPanopticDataModule",
    "GaussianFilteringDataModule",
    "ImageNetDataModule",
    "KineticsDataModule",
    "Places2DataModule",
]
