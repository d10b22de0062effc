"""Folders of images with one folder per class or without classes: labels, items, and handling of broken files."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from pcpad._renamed import moved
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.epochs import Crop, CropDataset, drawing_from
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.datamodules.datasets.file_tables import SPLITS, TableRow, find_below, find_table, read_table
from pcpad.datamodules.datasets.transforms import Transform
from pcpad.datamodules.reading.folders import FileTable, class_folders, look_for_images, outside_of_folders
from pcpad.datamodules.reading.images import SUFFIXES, BrokenImageError, read_image
from pcpad.datamodules.reading.listing import say_passed_over
from pcpad.datamodules.reading.names import Names
from pcpad.errors import UserValueError

Reader = Callable[[Path], torch.Tensor]
"""Reads a file as `(C, H, W)`, uint8 in [0, 255] or float in [0, 1]."""


_NO_CLASSES = {"images", "imgs", "img", "jpegimages", "labels", "masks", "annotations", "runs", "videos", "data"}


class LabeledFiles(NamedTuple):
    """The files of one split with the class index of each, `(N,)` int64."""

    files: FileTable
    labels: np.ndarray


def scan_split(folder: str | Path, classes: Sequence[str]) -> LabeledFiles:
    """List the images of `folder/<class>/` with their class index; a warning lists other files.

    Args:
        folder: An existing folder with one folder per class.
        classes: All class names; a file's label is its class's position here. The folder may lack some.

    Returns:
        The files, by class and then by name, and their labels.

    Raises:
        ValueError: A folder is not among the classes, a class folder has no images, or there are no class folders.
    """
    index = {name: position for position, name in enumerate(classes)}
    present = class_folders(folder)
    extra = [name for name in present if name not in index]
    if extra:
        message = (
            f"{Path(folder).absolute()} has {len(extra)} class folders that are not among the {len(classes)} training "
            f"classes ({_some(classes)}): {_some(extra)}. Every split needs the same class folder names."
        )
        raise UserValueError(message)
    names = Names()
    labels: list[int] = []
    empty: list[str] = []
    others = outside_of_folders(folder)
    for name in present:
        images, beside = look_for_images(Path(folder, name))
        others += [(f"{name}/{other}", reason) for other, reason in beside]
        names.extend(f"{name}/{image}" for image in images)
        labels += [index[name]] * len(images)
        if not images:
            empty.append(name)
    if empty or not names:
        message = (
            f"{Path(folder).absolute()}: no images ({', '.join(SUFFIXES)}) in {len(empty)} of {len(present)} class "
            f"folders{': ' + _some(empty) if empty else ''}. Was the data set copied or unpacked in full?"
        )
        raise UserValueError(message)
    say_passed_over(folder, others, "images of a class")
    return LabeledFiles(FileTable(folder, names), np.asarray(labels, dtype=np.int64))


def split_folder(root: Path, split: str) -> Path:
    """A split's folder, under any of its usual names.

    Args:
        root: The data set's folder.
        split: train, val or test.

    Returns:
        For example `root/training` if it exists; `root/train` if none does.
    """
    names = (spelled for name in SPLITS[split] for spelled in (name, name.capitalize(), name.upper()))
    return next((root / name for name in names if (root / name).is_dir()), root / split)


def undivided_classes(root: Path) -> list[str]:
    """Class folders directly in the root, without splits, each with images directly in it; at least two.

    Args:
        root: The data set's folder.

    Returns:
        Their names, sorted; empty if there is a split's folder, or one with a name such as `images` or `labels`.
    """
    names = class_folders(root)
    others = {*_NO_CLASSES, *(name for names in SPLITS.values() for name in names)}
    if len(names) < 2 or any(name.lower() in others for name in names):
        return []
    return names if all(len(look_for_images(root / name).names) for name in names) else []


def table_splits(
    root: Path, annotations: str, columns: Mapping[str, str], roots: Sequence[Path], shares: Shares
) -> tuple[list[str], dict[str, LabeledFiles]]:
    """List the images that a table names, with their class indices.

    Args:
        root: The data set's folder.
        annotations: The table, relative to the working directory or `root`, with the columns image and label, and
            optionally split; `{split}` in its path stands for a split's name.
        columns: The columns' names, by role.
        roots: Further folders to look for its files in.
        shares: How to split the images if the table does not define splits.

    Returns:
        The classes, sorted (numbers by value), and the files of each split, `train`, `val` and `test`.

    Raises:
        FileNotFoundError: The table or files that it names do not exist.
        ValueError: Missing columns or cells, a repeated image, a class that training lacks, or an empty split.
    """
    found: dict[str, list[Pair]] = {}
    for split, path in find_table(annotations, root).items():
        rows = read_table(path, ("image", "label"), () if split else ("split",), columns)
        files = find_below([root, path.parent, *roots], [(row, row.cells["image"]) for row in rows])
        first: dict[str, TableRow] = {}
        for row, file in zip(rows, files, strict=True):
            if file in first:
                message = f"{path}, line {row.line}: {row.cells['image']} was already named in line {first[file].line}"
                raise UserValueError(message)
            first[file] = row
            found.setdefault(split or row.split(), []).append(Pair(file, row.cells["label"]))
    splits = shares.divide(found, root)
    known = {pair.label for pair in splits["train"] or [pair for pairs in splits.values() for pair in pairs]}
    classes = sorted(known, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    index = {name: place for place, name in enumerate(classes)}
    extra = sorted({pair.label for pairs in splits.values() for pair in pairs} - known)
    if extra:
        message = (
            f"{annotations} has {len(extra)} classes without training images: {_some(extra)}. "
            f"Training has {_some(classes)}"
        )
        raise UserValueError(message)
    return classes, {
        split: LabeledFiles(
            FileTable(root, [pair.image for pair in pairs]), np.array([index[pair.label] for pair in pairs], np.int64)
        )
        for split, pairs in splits.items()
    }


def _some(names: Sequence[str], most: int = 5) -> str:
    """Join the first few names."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


class LabeledImages(CropDataset[dict[str, Any]]):
    """Images with class labels: `{"image": (3, H, W) uint8, "label": int}`.

    Indexed with a `Crop`, whose seed determines the transform's random numbers, or with a plain position.

    Args:
        split: Files and labels.
        transform: Applied to each `(3, H, W)` uint8 image; random numbers must come from torch's global generator.
        upright: See `read_image`.
        read: Reads a file as `(C, H, W)`; None: `read_image`, as RGB.
        max_broken: How many unreadable files to replace by the next readable one, with one warning per file, counted
            in each process (so with W workers, up to W times as many). None: the first unreadable file raises an error.

    Raises:
        BrokenImageError: More files are unreadable; names all of this process.
    """

    def __init__(
        self,
        split: LabeledFiles,
        transform: Transform,
        max_broken: int | None = None,
        *,
        upright: bool = True,
        read: Reader | None = None,
    ) -> None:
        self.read = read or partial(read_image, upright=upright)
        self.split = split
        self.transform = transform
        self.max_broken = max_broken
        self._broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.split.files)

    def file_of(self, index: int) -> str:
        """The file of a sample."""
        return str(self.split.files[index])

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        index, seed = (crop.file, crop.seed) if isinstance(crop, Crop) else (crop, None)
        while True:
            if index not in self._broken:
                try:
                    image = self.read(self.split.files[index])
                except BrokenImageError as error:
                    if self.max_broken is None:
                        raise
                    self._note_broken(index, error)
                else:
                    with drawing_from(seed):
                        return {"image": self.transform(image), "label": int(self.split.labels[index])}
            # The next by name: the same choice in every run, and nearly always of the same class.
            index = (index + 1) % len(self)

    def _note_broken(self, index: int, error: BrokenImageError) -> None:
        self._broken[index] = str(error)
        count = len(self._broken)
        # All files of a small set can be broken within the budget; the search must end.
        if count > (self.max_broken or 0) or count == len(self):
            allowed = f"more than max_broken={self.max_broken} allows per process"
            reason = allowed if count > (self.max_broken or 0) else "and there are no other images"
            message = f"{count} training images cannot be read, {reason}:\n  " + "\n  ".join(self._broken.values())
            raise BrokenImageError(message) from error
        warnings.warn(
            f"training continues without an image that cannot be read ({count} of at most {self.max_broken} in this "
            f"process): {error}",
            stacklevel=3,
        )


class UnlabeledImages(Dataset[dict[str, Any]]):
    """Images to predict: `{"image": (3, H, W) uint8, "path": str}`; an unreadable file raises an error.

    Args:
        files: The files, in the order of the predictions.
        transform: Applied to each `(3, H, W)` uint8 image; None: images keep their sizes.
        read: Reads a file as `(C, H, W)`; None: `read_image`, as RGB.
    """

    def __init__(self, files: FileTable, transform: Transform | None, read: Reader | None = None) -> None:
        self.read = read or read_image
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def input_files(self) -> Iterator[tuple[str, ...]]:
        """The file of each sample, which writers must not overwrite."""
        return ((str(self.files[index]),) for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.files[index]
        image = self.read(path)
        return {"image": image if self.transform is None else self.transform(image), "path": str(path)}


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
