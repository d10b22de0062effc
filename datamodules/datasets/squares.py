"""Squares of unlabeled photographs: at random positions for training, at the center for evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from pcpad.datamodules.datasets.filtered_crops import FixedCrops, TrainingCrops
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.images import image_size, read_image

_NO_FILTER = torch.ones(1)


class Photographs(Sequence[Tensor]):
    """A sequence of photographs that are read on access: (3, H, W) uint8.

    Args:
        files: Their files.
        resize: New length of the shorter side, bilinear and antialiased; None: not resized.

    Raises:
        BrokenImageError: On reading a file that cannot be read; names it.
    """

    def __init__(self, files: FileTable, resize: int | None = None) -> None:
        self.files = files
        self.resize = resize

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: Any) -> Any:
        image = read_image(self.files[number])
        return image if self.resize is None else tvf.resize(image, [self.resize], antialias=True)

    def size_of(self, number: int) -> tuple[int, int]:
        """Height and width, from the file's header."""
        height, width = image_size(self.files[number])
        if self.resize is None:
            return height, width
        short = min(height, width)
        return tuple(int(self.resize * side / short) for side in (height, width))  # type: ignore[return-value]


class RandomSquares(TrainingCrops):
    """For training: `{"image": (3, size, size) uint8}`, several per photograph and epoch, mirrored at random.

    Indices and small photographs are handled as in `TrainingCrops`.

    Args:
        files: The photographs.
        size: Height and width.
        resize: See `Photographs`.
        flip: Probability of mirroring.
        crops_per_image: Squares of each photograph per epoch.
    """

    def __init__(self, files: FileTable, size: int, resize: int | None, flip: float, crops_per_image: int) -> None:
        super().__init__(files, size, _NO_FILTER, False, crops_per_image)
        self.photographs = Photographs(files, resize)
        self.flip = flip

    def read(self, number: int) -> Tensor:
        """Read a photograph, resized if asked for."""
        photo: Tensor = self.photographs[number]
        return photo

    def cut(self, photo: Tensor, draws: np.random.Generator) -> dict[str, Tensor]:
        """Cut a random square out of a photograph that is large enough."""
        top, left = (int(draws.integers(side - self.crop + 1)) for side in photo.shape[-2:])
        square = photo[:, top : top + self.crop, left : left + self.crop]
        return {"image": (square.flip(-1) if draws.random() < self.flip else square).contiguous()}


class MiddleSquares(FixedCrops):
    """For evaluation: `{"image": (3, size, size) uint8}`, the center of each photograph.

    Args:
        files: The photographs, all of them large enough.
        size: Height and width.
        resize: See `Photographs`.
    """

    def __init__(self, files: FileTable, size: int, resize: int | None) -> None:
        super().__init__(files, size, _NO_FILTER, False, 1)
        self.photographs = Photographs(files, resize)

    def read(self, number: int) -> Tensor:
        """Read a photograph, resized if asked for."""
        photo: Tensor = self.photographs[number]
        return photo

    def cut(self, photo: Tensor, draws: np.random.Generator) -> dict[str, Tensor]:
        """Cut out the center of a photograph."""
        return {"image": tvf.center_crop(photo, [self.crop, self.crop]).contiguous()}
