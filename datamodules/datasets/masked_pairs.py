"""Images with one mask of holes each, cropped together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tvf

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.hole_masks import Polarity, read_mask
from pcpad.datamodules.datasets.transforms import resize_and_crop
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.images import read_image
from pcpad.errors import UserValueError

__all__ = ["PairedCrops", "PairedSquares", "PicturesWithMasks"]

_HALF = 0.5


class PicturesWithMasks:
    """Pictures, each with its own mask, and how to read both.

    Args:
        root: The data set's folder.
        pairs: Pictures and masks, relative to it or absolute.
        polarity: What white means in the masks.
    """

    def __init__(self, root: Path, pairs: Sequence[Pair], polarity: Polarity) -> None:
        self.images = FileTable(root, [pair.image for pair in pairs])
        self.masks = FileTable(root, [pair.label for pair in pairs])
        self.polarity = polarity

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        """Read a picture and its mask.

        Args:
            index: Its position.

        Returns:
            `(3, H, W)` uint8 RGB, `(1, H, W)` uint8, 1 = valid, and the picture's path.

        Raises:
            BrokenImageError: The picture cannot be read.
            ValueError: The mask cannot be read, has another size, or is all hole.
        """
        path, mask = self.images[index], self.masks[index]
        image, valid = read_image(path), read_mask(mask, self.polarity, _HALF).valid
        if valid.shape != tuple(image.shape[-2:]):
            message = (
                f"{path} has {image.shape[-1]}x{image.shape[-2]} pixels (width x height), but its mask {mask} has "
                f"{valid.shape[1]}x{valid.shape[0]}: resize the mask, or replace it with the one of this picture"
            )
            raise UserValueError(message)
        if not valid.any():
            message = f"{mask}: all of it is a hole with --data.mask_polarity {self.polarity}: is it inverted?"
            raise UserValueError(message)
        return image, torch.from_numpy(np.ascontiguousarray(valid))[None], str(path)


class PairedCrops(CropDataset[dict[str, Any]]):
    """For training: `{"image": (3, S, S) uint8, "mask": (1, S, S) uint8, 1 = valid, "path": str}`.

    Indexed with a `Crop`, whose seed determines everything random; a plain position, as from standard samplers, always
    gives the same crop of that picture.

    Args:
        pairs: Pictures and masks.
        size: S.
        scale: Smallest and largest factor between the resized picture's shorter side and S, drawn uniformly; the square
            is anywhere in it.
        flip: Probability of mirroring.
    """

    def __init__(self, pairs: PicturesWithMasks, size: int, scale: tuple[float, float], flip: float) -> None:
        self.pairs = pairs
        self.size = size
        self.scale = scale
        self.flip = flip

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        if not isinstance(crop, Crop):
            crop = Crop(crop, None, crop)
        image, mask, path = self.pairs.read(crop.file)
        draws = np.random.default_rng(crop.seed)
        side = max(1, round(min(image.shape[-2:]) / draws.uniform(*self.scale)))
        top, left = (int(draws.integers(length - side + 1)) for length in image.shape[-2:])
        square = tvf.resized_crop(image, top, left, side, side, [self.size, self.size], antialias=True)
        holes = _resized(mask[:, top : top + side, left : left + side], self.size)
        if draws.random() < self.flip:
            square, holes = square.flip(-1), holes.flip(-1)
        return {"image": square.contiguous(), "mask": holes.contiguous(), "path": path}


class PairedSquares(Dataset[dict[str, Any]]):
    """For evaluation, like `PairedCrops`: the center square of each picture, with the shorter side resized to S.

    Args:
        pairs: Pictures and masks.
        size: S.
    """

    def __init__(self, pairs: PicturesWithMasks, size: int) -> None:
        self.pairs = pairs
        self.size = size

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, mask, path = self.pairs.read(index)
        side = min(image.shape[-2:])
        holes = _resized(tvf.center_crop(mask, [side, side]), self.size)
        return {"image": resize_and_crop(image, self.size, self.size).contiguous(), "mask": holes, "path": path}


def _resized(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Resize a mask `(1, side, side)`: a pixel is valid if all pixels that it covers are."""
    side = mask.shape[-1]
    if side == size:
        return mask
    way = cv2.INTER_AREA if side > size else cv2.INTER_NEAREST_EXACT
    share = cv2.resize(mask[0].numpy().astype(np.float32), (size, size), interpolation=way)
    return torch.from_numpy((share > 1 - 1e-3).astype(np.uint8))[None]
