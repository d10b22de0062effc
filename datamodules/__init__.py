"""LightningDataModules, one data set per file, and `base.py` with their common base.

This folder holds what a run reads. Each class's docstring states the form of its batches. Classes are imported on
access, so that street scenes need no video decoder.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.datamodules.base import DataModule as DataModule
    from pcpad.datamodules.cityscapes import CityscapesDataModule as CityscapesDataModule
    from pcpad.datamodules.cityscapes_panoptic import CityscapesPanopticDataModule as CityscapesPanopticDataModule
    from pcpad.datamodules.folder_inpainting import FolderInpaintingDataModule as FolderInpaintingDataModule
    from pcpad.datamodules.folder_segmentation import FolderSegmentationDataModule as FolderSegmentationDataModule
    from pcpad.datamodules.gaussian_filtering import GaussianFilteringDataModule as GaussianFilteringDataModule
    from pcpad.datamodules.imagenet import ImageNetDataModule as ImageNetDataModule
    from pcpad.datamodules.kinetics import KineticsDataModule as KineticsDataModule
    from pcpad.datamodules.photographs import PhotographsDataModule as PhotographsDataModule
    from pcpad.datamodules.places2 import Places2DataModule as Places2DataModule
    from pcpad.datamodules.restoration import RestorationDataModule as RestorationDataModule

    __all__: list[str]
else:
    from pcpad._lazy import attach

    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "CityscapesDataModule": "pcpad.datamodules.cityscapes",
            "CityscapesPanopticDataModule": "pcpad.datamodules.cityscapes_panoptic",
            "DataModule": "pcpad.datamodules.base",
            "FolderInpaintingDataModule": "pcpad.datamodules.folder_inpainting",
            "FolderSegmentationDataModule": "pcpad.datamodules.folder_segmentation",
            "GaussianFilteringDataModule": "pcpad.datamodules.gaussian_filtering",
            "ImageNetDataModule": "pcpad.datamodules.imagenet",
            "KineticsDataModule": "pcpad.datamodules.kinetics",
            "PhotographsDataModule": "pcpad.datamodules.photographs",
            "Places2DataModule": "pcpad.datamodules.places2",
            "RestorationDataModule": "pcpad.datamodules.restoration",
        },
    )
