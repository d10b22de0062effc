"""User-provided images with label maps: augmented crops for training, whole images for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.class_values import ClassValues
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.scenes import SceneAugmentation, scene_item
from pcpad.datamodules.reading.channels import ALL, ChannelImage, read_channels
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.label_files import read_label_file
from pcpad.deprecation import renamed_attributes
from pcpad.errors import UserValueError

__all__ = ["ClassMap", "FolderCrops", "FolderScenes", "ScenePairs"]


@renamed_attributes(removed="0.3.0", grey="gray")
class ClassMap:
    """The classes of an image's pixels, upright.

    Args:
        classes: `(H, W)` uint8, 255 = ignore.
    """

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def gray(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """A part of the classes."""
        return self.classes[rows, columns]


class ScenePairs:
    """Images and label maps, and how to read both.

    Args:
        root: The data set's folder.
        pairs: Images and label maps, relative to it or absolute.
        values: The meaning of the label maps' values.
        channels: See `read_channels`.
        white: See `read_channels`.
    """

    def __init__(
        self, root: Path, pairs: Sequence[Pair], values: ClassValues, channels: int = 3, white: float | None = None
    ) -> None:
        self.images = FileTable(root, [pair.image for pair in pairs])
        self.labels = FileTable(root, [pair.label for pair in pairs])
        self.values = values
        self.channels = channels
        self.white = white

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[ChannelImage, ClassMap]:
        """Read an image and its label map.

        Args:
            index: Its position.

        Returns:
            Both, of the same size.

        Raises:
            BrokenImageError: A file cannot be read.
            ValueError: Values are not classes, or image and label map differ in size.
        """
        image = read_channels(self.images[index], self.channels, self.white)
        label = read_label_file(self.labels[index])
        size = (image.height, image.width)
        classes = label.upright_with(image.orientation, size, self.values.classes_of(label))
        if classes.shape != size:
            message = (
                f"{image.path} has {image.width}x{image.height} pixels (width x height), but its mask {label.path} has "
                f"{classes.shape[1]}x{classes.shape[0]}: resize the mask without new values in between (nearest "
                "neighbor), or replace it with the one of this image"
            )
            raise UserValueError(message)
        return image, ClassMap(classes)


class FolderCrops(CropDataset[dict[str, torch.Tensor]]):
    """Crops for training: `{"image": (C, crop, crop) uint8 or float, "label": (crop, crop) int64}`.

    Indexed with a `Crop`; a plain position, as from standard samplers, always gives the same crop of that image.

    Args:
        pairs: Images and label maps.
        augment: Cuts the crops.
        repeats: Crops of each image per epoch.
    """

    def __init__(self, pairs: ScenePairs, augment: SceneAugmentation, repeats: int = 1) -> None:
        self.pairs = pairs
        self.augment = augment
        self.repeats = repeats

    def __len__(self) -> int:
        return len(self.pairs) * self.repeats

    def __getitem__(self, crop: Crop | int) -> dict[str, torch.Tensor]:
        if not isinstance(crop, Crop):
            crop = Crop(crop, None, crop)
        image, label = self.pairs.read(crop.file % len(self.pairs))
        return scene_item(*self.augment(image, label, crop))


class FolderScenes(Dataset[dict[str, torch.Tensor]]):
    """Whole images for evaluation: `{"image": (C, H, W) uint8 or float, "label": (H, W) int64}`.

    Args:
        pairs: Images and label maps.
    """

    def __init__(self, pairs: ScenePairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def file_of(self, index: int) -> str:
        """The image of a sample."""
        return str(self.pairs.images[index])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image, label = self.pairs.read(index)
        return scene_item(image.rgb(), label.gray())
