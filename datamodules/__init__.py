"""LightningDataModules, one data set a file. A batch's form is stated in each class's docstring.

Importing this package imports every class, which is what makes their short names known to LightningCLI.
"""

from pcpad.datamodules.cityscapes import CityscapesDataModule
from pcpad.datamodules.imagenet import ImageNetDataModule
from pcpad.datamodules.kinetics import KineticsDataModule

__all__ = ["CityscapesDataModule", "ImageNetDataModule", "KineticsDataModule"]
