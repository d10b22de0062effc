"""Crops of photographs, and the same crops after a Gaussian filter that sees beyond their borders."""

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
    """A Gaussian kernel, sampled at pixel centers and normalized to sum 1.

    Args:
        size: Kernel size, odd.
        sigma: In pixels.

    Returns:
        `(size,)` float32; the two-dimensional filter is its outer product with itself.
    """
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    taps = torch.exp(-0.5 * (offsets / sigma).square())
    return (taps / taps.sum()).float()


def filter_inside(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter an image at the positions where the kernel is entirely inside; no padding is used.

    Args:
        image: `(C, H, W)` float.
        kernel: `(K,)`, applied along both axes.

    Returns:
        `(C, H - K + 1, W - K + 1)` float.
    """
    planes = image[:, None]
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    return F.conv2d(planes, kernel.view(1, 1, 1, -1))[:, 0]


class FilteredCrops(Dataset[dict[str, Tensor]]):
    """Crops and their filtered versions: `{"image": (3, crop, crop) uint8, "target": (3, crop, crop) float in [0, 1]}`.

    The target is a filtered patch of (crop + K - 1)² pixels, and the image is the patch's center: near the border, the
    target depends on up to K // 2 pixels outside of the image.

    Args:
        files: The photographs.
        crop: Height and width.
        kernel: `(K,)`, K odd, see `gaussian_kernel`.
        keep: Whether each reading process keeps decoded photographs in memory.
    """

    def __init__(self, files: FileTable, crop: int, kernel: Tensor, keep: bool) -> None:
        self.files = files
        self.crop = crop
        self.kernel = kernel
        self.keep = keep
        self.augment: Augmentations | None = None  # applied to patches before they are filtered
        self.patch = crop + len(kernel) - 1
        self._kept: dict[int, Tensor] = {}

    def read(self, number: int) -> Tensor:
        """Read a photograph, `(3, H, W)` uint8; BrokenImageError names the file."""
        if number in self._kept:
            return self._kept[number]
        photo = read_image(self.files[number])
        if self.keep:
            self._kept[number] = photo
        return photo

    def cut(self, photo: Tensor, draws: np.random.Generator) -> dict[str, Tensor]:
        """Cut a random crop out of a photograph that is large enough."""
        top, left = (int(draws.integers(side - self.patch + 1)) for side in photo.shape[-2:])
        patch = photo[:, top : top + self.patch, left : left + self.patch]
        if self.augment is not None:
            patch, _ = self.augment(patch.contiguous(), {}, int(draws.integers(2**63)))
        reach = len(self.kernel) // 2
        image = patch[:, reach : reach + self.crop, reach : reach + self.crop]
        # The target is not rounded to 8 bits: that would add an error of 1.3e-6.
        return {"image": image.contiguous(), "target": filter_inside(patch / 255, self.kernel)}


class TrainingCrops(FilteredCrops, CropDataset[dict[str, Tensor]]):
    """Random crops, several per photograph and epoch.

    Indexed with a `Crop`, whose `file` counts photographs cyclically and whose `seed` determines the position; a plain
    position, as from standard samplers, always gives the same crop. A photograph that is too small is replaced by the
    next large enough one, with a warning at the first, the 10th and the 100th of a process.

    Args:
        files: The photographs.
        crop: Height and width.
        kernel: See `FilteredCrops`.
        keep: See `FilteredCrops`.
        crops_per_image: Crops of each photograph per epoch.

    Raises:
        BrokenImageError: On reading a file that cannot be read; names it.
        ValueError: On reading, if no photograph is large enough.
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
                self._note_small(number, example)
            number = (number + 1) % len(self.files)
        raise UserValueError(too_small(len(self._small), len(self.files), self.patch, example))

    def _note_small(self, number: int, example: str) -> None:
        self._kept.pop(number, None)
        self._small.add(number)
        if len(self._small) in (1, 10, 100, 1000, 10_000, 100_000):
            warnings.warn(
                f"{len(self._small)} training photographs so far in this process are smaller than {self.patch} and "
                f"are skipped ({example})",
                stacklevel=4,
            )


class FixedCrops(FilteredCrops):
    """Crops at positions that depend on a photograph's name: the same in every run and for every seed.

    Args:
        files: The photographs, all of them large enough.
        crop: Height and width.
        kernel: See `FilteredCrops`.
        keep: See `FilteredCrops`.
        crops_per_image: Crops of each photograph.

    Raises:
        BrokenImageError: On reading a file that cannot be read; names it.
    """

    def __init__(self, files: FileTable, crop: int, kernel: Tensor, keep: bool, crops_per_image: int) -> None:
        super().__init__(files, crop, kernel, keep)
        self.crops_per_image = crops_per_image

    def __len__(self) -> int:
        return len(self.files) * self.crops_per_image

    def file_of(self, index: int) -> str:
        """The photograph of a sample, and the number of its crop."""
        number, crop = divmod(index, self.crops_per_image)
        return str(self.files[number]) + (f" crop {crop + 1}" if self.crops_per_image > 1 else "")

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, crop = divmod(index, self.crops_per_image)
        name = zlib.crc32(self.files[number].name.encode("utf-8", "surrogateescape"))
        return self.cut(self.read(number), np.random.default_rng([name, crop]))
