"""Crops of photographs, and what a Gaussian filter makes of them knowing what lies outside."""

import warnings
import zlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from pcpad.datamodules.datasets.augmentations import Augmentations
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.photos import too_small
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.images import read_image
from pcpad.errors import UserValueError


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """A Gaussian, sampled at the pixels' centers and scaled to sum to 1.

    Args:
        size: Taps, odd.
        sigma: In pixels.

    Returns:
        `(size,)` float32; the two-dimensional filter is its outer product with itself.
    """
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    taps = torch.exp(-0.5 * (offsets / sigma).square())
    return (taps / taps.sum()).float()


def filter_inside(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter an image where the filter lies wholly inside of it; no padding is involved.

    Args:
        image: `(C, H, W)` float.
        kernel: `(K,)`, used along both axes.

    Returns:
        `(C, H - K + 1, W - K + 1)` float.
    """
    planes = image[:, None]
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    return F.conv2d(planes, kernel.view(1, 1, 1, -1))[:, 0]


class FilteredCrops(Dataset[dict[str, Tensor]]):
    """Crops and their filtered selves: `{"image": (3, crop, crop) uint8, "target": (3, crop, crop) float in [0, 1]}`.

    A patch of (crop + K - 1)² is cut out and filtered for the target, and its center is the image: near the border the
    target depends on up to K // 2 pixels that the image does not show.

    Args:
        files: The photographs.
        crop: Height and width.
        kernel: `(K,)`, K odd, see `gaussian_kernel`.
        keep: Keep decoded photographs in memory, in each process that reads.
    """

    def __init__(self, files: FileTable, crop: int, kernel: Tensor, keep: bool) -> None:
        self.files = files
        self.crop = crop
        self.kernel = kernel
        self.keep = keep
        self.augment: Augmentations | None = None  # of patches, before they are filtered
        self.patch = crop + len(kernel) - 1
        self._kept: dict[int, Tensor] = {}

    def read(self, number: int) -> Tensor:
        """A photograph `(3, H, W)` uint8; BrokenImageError names the file."""
        if number in self._kept:
            return self._kept[number]
        photo = read_image(self.files[number])
        if self.keep:
            self._kept[number] = photo
        return photo

    def cut(self, photo: Tensor, draws: np.random.Generator) -> dict[str, Tensor]:
        """A crop anywhere in a photograph that is large enough."""
        top, left = (int(draws.integers(side - self.patch + 1)) for side in photo.shape[-2:])
        patch = photo[:, top : top + self.patch, left : left + self.patch]
        if self.augment is not None:
            patch, _ = self.augment(patch.contiguous(), {}, int(draws.integers(2**63)))
        reach = len(self.kernel) // 2
        image = patch[:, reach : reach + self.crop, reach : reach + self.crop]
        # The target is not rounded to 8 bits: that alone would be an error of 1.3e-6.
        return {"image": image.contiguous(), "target": filter_inside(patch / 255, self.kernel)}


class TrainingCrops(FilteredCrops, CropDataset[dict[str, Tensor]]):
    """Random crops, several of each photograph per epoch.

    It is asked for a `Crop`, whose `file` counts photographs cyclically and whose `seed` decides the place; a bare
    position, which plain samplers give, always gets the same crop. A photograph that is too small is skipped, for
    the next one that is not, with a warning at the first, the 10th, the 100th of a process.

    Args:
        files: The photographs.
        crop: Height and width.
        kernel: See `FilteredCrops`.
        keep: See `FilteredCrops`.
        crops_per_image: How many crops of each photograph make an epoch.

    Raises:
        BrokenImageError: On reading a file that cannot be read; names it.
        ValueError: On reading, where no photograph is large enough.
    """

    def __init__(self, files: FileTable, crop: int, kernel: Tensor, keep: bool, crops_per_image: int) -> None:
        super().__init__(files, crop, kernel, keep)
        self.crops_per_image = crops_per_image
        self._small: set[int] = set()

    def __len__(self) -> int:
        return len(self.files) * self.crops_per_image

    def __getitem__(self, crop: Crop | int) -> dict[str, Tensor]:
        wanted = crop if isinstance(crop, Crop) else Crop(crop, None, crop)
        return self.cut(self._large_one(wanted.file % len(self.files)), np.random.default_rng(wanted.seed))

    def _large_one(self, number: int) -> Tensor:
        example = ""
        for _ in range(len(self.files)):
            if number not in self._small:
                photo = self.read(number)
                if min(photo.shape[-2:]) >= self.patch:
                    return photo
                example = f"{self.files[number]} is {photo.shape[-1]}x{photo.shape[-2]}"
                self._step_over(number, example)
            number = (number + 1) % len(self.files)
        raise UserValueError(too_small(len(self._small), len(self.files), self.patch, example))

    def _step_over(self, number: int, example: str) -> None:
        self._kept.pop(number, None)
        self._small.add(number)
        if len(self._small) in (1, 10, 100, 1000, 10_000, 100_000):
            warnings.warn(
                f"{len(self._small)} training photographs so far, in this process, are smaller than {self.patch} and "
                f"are skipped ({example})",
                stacklevel=4,
            )


class FixedCrops(FilteredCrops):
    """Crops at places that follow from a photograph's name: the same in every run and under every seed.

    Args:
        files: The photographs, all of them large enough.
        crop: Height and width.
        kernel: See `FilteredCrops`.
        keep: See `FilteredCrops`.
        crops_per_image: How many crops of each photograph.

    Raises:
        BrokenImageError: On reading a file that cannot be read; names it.
    """

    def __init__(self, files: FileTable, crop: int, kernel: Tensor, keep: bool, crops_per_image: int) -> None:
        super().__init__(files, crop, kernel, keep)
        self.crops_per_image = crops_per_image

    def __len__(self) -> int:
        return len(self.files) * self.crops_per_image

    def file_of(self, index: int) -> str:
        """The photograph of a sample, and which crop of it."""
        number, crop = divmod(index, self.crops_per_image)
        return str(self.files[number]) + (f" crop {crop + 1}" if self.crops_per_image > 1 else "")

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, crop = divmod(index, self.crops_per_image)
        name = zlib.crc32(self.files[number].name.encode("utf-8", "surrogateescape"))
        return self.cut(self.read(number), np.random.default_rng([name, crop]))
