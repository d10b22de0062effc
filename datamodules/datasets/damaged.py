"""Damaged pictures of any size with their masks, one at a time, for `predict`."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from pcpad.datamodules.datasets.hole_masks import Polarity, check_polarity, fit_nearest, given_polarity, read_mask, ways
from pcpad.datamodules.reading.failures import raise_failures
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.datamodules.reading.images import image_size
from pcpad.errors import UserValueError
from pcpad.pictures import Picture, PictureError, read_picture

_THRESHOLD = 0.5


def find_damaged(
    images: Path | None,
    masks: Path | None,
    polarity: Polarity | None,
    sure: bool,
    fit: Literal["nearest"] | None,
    threshold: float | None = None,
) -> "DamagedPictures":
    """List pictures and masks, and check them as far as possible without reading all of them.

    Args:
        images: A folder of pictures, or one.
        masks: A folder of masks, or one.
        polarity: What white means in the masks.
        sure: Accept the polarity without looking at the masks.
        fit: See `DamagedPictures`.
        threshold: See `DamagedPictures`.

    Returns:
        The pictures.

    Raises:
        ValueError: An argument is missing, the polarity is implausible, or see `match_masks`.
        FileNotFoundError: No pictures or no masks.
    """
    if images is None or masks is None:
        message = "predict needs pictures and masks: --data.predict_images FOLDER --data.predict_masks FOLDER_OR_FILE"
        raise UserValueError(message)
    files = find_images(images)
    of_each = match_masks(files, masks)
    polarity = given_polarity(polarity, "mask_polarity", masks)
    if not sure:
        try:
            check_polarity(sorted(set(of_each)), polarity, "mask_polarity")
        except ValueError as error:
            message = f"{error} To fill that much: --data.predict_mask_polarity {polarity}."
            raise UserValueError(message) from error
    others = files.passed_over + ([] if Path(masks).is_file() else find_images(masks).passed_over)
    return DamagedPictures(files, of_each, polarity, fit, threshold, list(dict.fromkeys(others)))


def match_masks(images: FileTable, masks: str | Path) -> list[Path]:
    """Find each picture's mask: the file of the same stem, or of that stem with `_mask`.

    Args:
        images: The pictures.
        masks: A folder, or one file for all pictures.

    Returns:
        One mask per picture.

    Raises:
        ValueError: Two pictures have the same name, and so would their results; or a picture has no mask, or two.
        FileNotFoundError: There are no masks.
    """
    pictures = [images[index] for index in range(len(images))]
    names: dict[str, Path] = {}
    for path in pictures:
        # On case-insensitive file systems, one result would overwrite the other.
        other = names.setdefault(path.stem.casefold(), path)
        if other != path:
            message = f"{other} and {path} have the same name, as would their results: rename one of them"
            raise UserValueError(message)
    if Path(masks).is_file():
        return [Path(masks)] * len(pictures)
    files = find_images(masks)
    found: dict[str, list[Path]] = {}
    for index in range(len(files)):
        found.setdefault(files[index].stem, []).append(files[index])
    chosen = [found.get(path.stem) or found.get(f"{path.stem}_mask") or [] for path in pictures]
    used = {path for files_of_it in chosen for path in files_of_it}
    unused = [str(path) for files_of_it in found.values() for path in files_of_it if path not in used]
    if unused:
        rank_zero_warn(f"{len(unused)} masks of {masks} belong to no picture, such as {', '.join(unused[:3])}")
    lacking = [str(path) for path, files in zip(pictures, chosen, strict=True) if not files]
    if lacking:
        message = (
            f"{len(lacking)} of {len(pictures)} pictures have no mask in {masks} (NAME.* or NAME_mask.*): "
            + ", ".join(lacking[:10])
            + (", …" if len(lacking) > 10 else "")
        )
        raise UserValueError(message)
    for path, files_of_it in zip(pictures, chosen, strict=True):
        if len(files_of_it) > 1:
            message = f"{path} has {len(files_of_it)} masks: {', '.join(map(str, files_of_it))}; keep only one"
            raise UserValueError(message)
    return [files_of_it[0] for files_of_it in chosen]


class DamagedPictures(Dataset[dict[str, Any]]):
    """Pictures with masks, as described at `PictureLoader`; one that cannot be used is `{"failure": str}`.

    Args:
        images: The pictures.
        masks: The mask of each picture.
        polarity: What white means in the masks.
        fit: `nearest` resizes masks whose size differs from their picture's; None refuses them.
        threshold: Gray level, as a fraction of white, above which a pixel counts as white; None: half, and masks that
            are mostly neither black nor white are refused.
        left_out: Other files in the folders of pictures and masks, one line each.

    Attributes:
        left_out: The same.
        failures: The pictures that could not be used and why, filled by `PictureLoader`.
    """

    def __init__(
        self,
        images: FileTable,
        masks: list[Path],
        polarity: Polarity,
        fit: Literal["nearest"] | None,
        threshold: float | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self.left_out = list(left_out)
        self.images = images
        self.masks = masks
        self.polarity = polarity
        self.fit = fit
        self.threshold = threshold
        self.failures: list[str] = []

    def __len__(self) -> int:
        return len(self.images)

    def input_files(self) -> Iterator[tuple[str, ...]]:
        """The picture and the mask of each sample, which writers must not overwrite."""
        return ((str(self.images[index]), str(mask)) for index, mask in enumerate(self.masks))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, mask_path = self.images[index], self.masks[index]
        try:
            picture = read_picture(path)
            for note in picture.notes:
                warnings.warn(f"{path}: {note}", stacklevel=2)
            mask = self._mask(path, mask_path, *picture.size)
        except PictureError as error:
            return {"failure": str(error)}
        image = _as_tensor(picture)
        valid = torch.from_numpy(np.ascontiguousarray(mask))[None, None]
        return {"image": image, "mask": valid, "path": [str(path)], "mask_path": [str(mask_path)], "picture": [picture]}

    def raise_failures(self) -> None:
        """Raise an error for pictures that any process could not use; every process has to call it.

        Raises:
            PictureError: Some pictures could not be used; names each file.
        """
        raise_failures(self.failures, "pictures could not be used", PictureError)

    def _mask(self, path: Path, mask_path: Path, height: int, width: int) -> np.ndarray:
        threshold = _THRESHOLD if self.threshold is None else self.threshold
        if self.fit is None:
            _refuse_other_size(path, mask_path, height, width)
        valid, between, unclear = read_mask(mask_path, self.polarity, threshold, judge=True)
        if unclear and self.threshold is None:
            message = (
                f"{path} is not filled: its mask {mask_path} does not define holes, as {unclear}: "
                f"{ways('--data.predict_mask_polarity')}; or set the gray level above which pixels count as white: "
                "--data.predict_mask_threshold 0.5"
            )
            raise PictureError(message)
        if between:
            share = between / valid.size
            warnings.warn(
                f"{mask_path}: {between} of {valid.size} pixels ({share:.2%}) are neither black nor white; those above "
                f"{threshold} count as white",
                stacklevel=3,
            )
        if valid.shape == (height, width):
            return valid
        if self.fit is None:
            raise _other_size(path, mask_path, (height, width), (valid.shape[0], valid.shape[1]))
        return fit_nearest(valid, height, width)


def _refuse_other_size(path: Path, mask_path: Path, height: int, width: int) -> None:
    """Refuse a mask of the wrong size by its header, before it is decoded; as stored, it may be rotated."""
    try:
        rows, columns = image_size(mask_path)
    except PictureError:
        return  # reading it reports why
    if rows * columns != height * width:
        raise _other_size(path, mask_path, (height, width), (rows, columns))


def _other_size(path: Path, mask_path: Path, size: tuple[int, int], came: tuple[int, int]) -> PictureError:
    sizes = f"{came[1]}x{came[0]} pixels, but {path} has {size[1]}x{size[0]}"
    return PictureError(f"{mask_path} has {sizes}: correct it, or resize it with --data.fit_masks nearest")


def _as_tensor(picture: Picture) -> torch.Tensor:
    """(1, 3, H, W): uint8 sharing the picture's memory, or float32 in [0, 1] for 16 bits."""
    color = picture.color
    if color.dtype == np.uint16:
        color = color.astype(np.float32)
        color /= picture.white
    return torch.from_numpy(color).permute(2, 0, 1)[None].expand(1, 3, -1, -1)


def only(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The single item of a batch of one, unchanged."""
    (item,) = items
    return item


class PictureLoader(DataLoader[dict[str, Any]]):
    """Yields the pictures of a `DamagedPictures` that can be used, and collects the reasons for the others.

    A batch: `image` (1, 3, H, W) uint8, or float32 in [0, 1] for 16-bit pictures, which shares the original's memory
    and must not be written to; `mask` (1, 1, H, W) uint8, 1 = valid; `path`, `mask_path` lists of one string;
    `picture` a list of the original (`pcpad.pictures.Picture`), which provides the result's valid pixels, alpha and
    profile.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the pictures."""
        dataset = self.dataset
        for item in super().__iter__():
            if "failure" not in item:
                yield item
            elif isinstance(dataset, DamagedPictures):
                dataset.failures.append(item["failure"])
