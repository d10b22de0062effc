"""Images with holes: random squares with new masks for training, fixed squares with fixed masks for evaluation."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tvf

from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.hole_masks import FixedMasks, MaskSource
from pcpad.datamodules.datasets.transforms import resize_and_crop
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.images import read_image


class MaskedCrops(CropDataset[dict[str, Any]]):
    """For training: `{"image": (3, S, S) uint8, "mask": (1, S, S) uint8, 1 = valid, "path": str}`.

    Indexed with a `Crop`, whose seed determines everything random; a plain position, as from standard samplers, always
    gives the same crop and mask of that image.

    Args:
        files: The images.
        masks: The source of the masks.
        size: S.
        scale: Smallest and largest factor between the resized image's shorter side and S, drawn uniformly; the square
            is anywhere in the resized image.
        flip: Probability of mirroring.
    """

    def __init__(self, files: FileTable, masks: MaskSource, size: int, scale: tuple[float, float], flip: float) -> None:
        self.files = files
        self.masks = masks
        self.size = size
        self.scale = scale
        self.flip = flip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        if not isinstance(crop, Crop):
            crop = Crop(crop, None, crop)
        path = self.files[crop.file]
        draws = np.random.default_rng(crop.seed)
        image = self._square(read_image(path), draws)
        return _item(image, self.masks(draws), str(path))

    def _square(self, image: torch.Tensor, draws: np.random.Generator) -> torch.Tensor:
        # Cropping before resizing costs only the square's own pixels.
        side = max(1, round(min(image.shape[-2:]) / draws.uniform(*self.scale)))
        top, left = (int(draws.integers(length - side + 1)) for length in image.shape[-2:])
        square = tvf.resized_crop(image, top, left, side, side, [self.size, self.size], antialias=True)
        mirrored: torch.Tensor = square.flip(-1) if draws.random() < self.flip else square
        return mirrored


class MaskedSquares(Dataset[dict[str, Any]]):
    """For evaluation, like `MaskedCrops`: the center square of each image, with the shorter side resized to S.

    Args:
        files: The images.
        masks: Their masks.
    """

    def __init__(self, files: FileTable, masks: FixedMasks) -> None:
        self.files = files
        self.masks = masks

    def __len__(self) -> int:
        return len(self.files)

    def file_of(self, index: int) -> str:
        """The file of a sample."""
        return str(self.files[index])

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, size = self.files[index], self.masks.size
        return _item(resize_and_crop(read_image(path), size, size), self.masks[index], str(path))


def _item(image: torch.Tensor, mask: np.ndarray, path: str) -> dict[str, Any]:
    return {"image": image.contiguous(), "mask": torch.from_numpy(np.ascontiguousarray(mask))[None], "path": path}
