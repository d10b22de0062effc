"""Crops of photographs and dead-leaves images with drawn damage, to train the restoration network."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tvf

from pcpad.datamodules.datasets.damages import DAMAGES, draw_damage
from pcpad.datamodules.datasets.dead_leaves import draw_dead_leaves
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.transforms import resize_and_crop
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.images import read_image

__all__ = ["DamagedCrops", "DamagedSquares"]

_MOST_SHORT = 1280  # longest shorter side of a photograph kept in memory, in pixels
_GRAY = 0.05
_MIXED_CHANNELS = 0.3
_LIT = 0.3


class DamagedCrops(CropDataset[dict[str, Any]]):
    """For training: `{"image": (3, S, S) uint8, "mask": (1, S, S) uint8, 1 = valid}`; photographs are kept in memory.

    Each crop is of a random photograph or a dead-leaves image. Photographs are drawn in proportion to the square root
    of their pixels, at a scale between their own resolution and one at which the crop spans their shorter side. Of two
    positions, usually the one with more detail is used, as skies are learned soon. Crops are rotated and mirrored, and
    sometimes gray, recolored, lighter or darker.

    Args:
        files: The photographs.
        size: S.
        count: Crops per epoch.
        leaves: Share of them that are dead-leaves images, in [0, 1].

    Raises:
        BrokenImageError: A photograph cannot be read; names it.
    """

    def __init__(self, files: FileTable, size: int, count: int, leaves: float) -> None:
        self.photographs = [_kept(read_image(files[number]), size) for number in range(len(files))]
        weights = np.sqrt([float(one.shape[0] * one.shape[1]) for one in self.photographs])
        self.shares = weights / weights.sum()
        self.size = size
        self.count = count
        self.leaves = leaves

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        draws = np.random.default_rng(crop.seed if isinstance(crop, Crop) else crop)
        if draws.random() < self.leaves:
            image = draw_dead_leaves(self.size, self.photographs, draws)
        else:
            image = self._photograph(draws)
        image = np.rot90(_recolored(image, draws), int(draws.integers(4)))
        image = image[:, ::-1] if draws.random() < 0.5 else image
        return _item(image, draw_damage(self.size, draws))

    def _photograph(self, draws: np.random.Generator) -> np.ndarray:
        photograph = self.photographs[int(draws.choice(len(self.photographs), p=self.shares))]
        height, width = photograph.shape[:2]
        side = int(np.exp(draws.uniform(np.log(self.size), np.log(min(height, width)))))
        places = [[int(draws.integers(length - side + 1)) for length in (height, width)] for _ in range(2)]
        found = [photograph[top : top + side, left : left + side] for top, left in places]
        found = [cv2.resize(one, (self.size, self.size), interpolation=cv2.INTER_AREA) for one in found]
        contents = [float(np.abs(np.diff(one[..., 1].astype(np.int16), axis=1)).mean()) for one in found]
        return found[int(np.argmax(contents)) if draws.random() < 0.7 else 0]


class DamagedSquares(Dataset[dict[str, Any]]):
    """For evaluation, like `DamagedCrops`: the center square of each photograph, once with each kind of damage.

    Args:
        files: The photographs.
        size: S, to which the shorter side is resized.
        seed: Seed of the damage.
    """

    def __init__(self, files: FileTable, size: int, seed: int) -> None:
        self.files = files
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files) * len(DAMAGES)

    def file_of(self, index: int) -> str:
        """The file of a sample."""
        return str(self.files[index // len(DAMAGES)])

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = resize_and_crop(read_image(self.files[index // len(DAMAGES)]), self.size, self.size)
        kind = DAMAGES[index % len(DAMAGES)]
        return _item(
            image.permute(1, 2, 0).numpy(), draw_damage(self.size, np.random.default_rng([self.seed, index]), kind)
        )


def _kept(image: torch.Tensor, size: int) -> np.ndarray:
    """A photograph to keep in memory, (H, W, 3): neither larger than is useful nor smaller than a crop."""
    short = min(image.shape[-2:])
    wanted = min(max(short, size), _MOST_SHORT)
    if wanted != short:
        image = tvf.resize(image, [wanted], antialias=True)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _recolored(image: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    chance = draws.random(3)
    if chance[0] < _GRAY:
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if chance[1] < _MIXED_CHANNELS:
        image = image[..., draws.permutation(3)]
    if chance[2] < _LIT:
        power, gain = np.exp(draws.normal(0, 0.3)), draws.uniform(0.6, 1.1)
        table = 255 * np.clip(gain * (np.arange(256) / 255) ** power, 0, 1)
        image = np.rint(table).astype(np.uint8)[image]
    return image


def _item(image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
    return {"image": picture, "mask": torch.from_numpy(np.ascontiguousarray(mask))[None]}
