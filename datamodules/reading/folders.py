"""Folders of images as data sets: fast listing, compact file tables, and what happens to a broken file."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.reading.images import SUFFIXES, BrokenImageError, read_image
from pcpad.errors import UserFileNotFoundError, UserValueError

Transform = Callable[[torch.Tensor], torch.Tensor]


class FileTable:
    """The paths of many files under one folder, in two flat buffers.

    A list of a million strings is copied into every worker process, page by page, as reading it touches the
    reference counts (ImageNet: some 110 MB a worker); this table takes 45 MB once and is shared after a fork.

    Args:
        folder: The folder the names are relative to.
        names: Relative names, `/` between their parts.
    """

    def __init__(self, folder: str | Path, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self.folder = str(folder)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._text = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:
        start = int(self._ends[index - 1]) if index else 0
        return Path(self.folder, os.fsdecode(self._text[start : int(self._ends[index])]))


class LabelledFiles(NamedTuple):
    """The files of one split with the class index of each, `(N,)` int64."""

    files: FileTable
    labels: np.ndarray


def list_images(folder: str | Path) -> list[str]:
    """List the images below a folder, recursively, links followed; hidden files and folders are left out.

    Hidden ones, because the `._name.JPEG` that macOS leaves in archives end like images and are none.

    Args:
        folder: An existing folder.

    Returns:
        Sorted names relative to the folder, `/` between their parts.
    """
    return sorted(_walk(str(folder), ""))


def _walk(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # The ending is asked first: it needs no look at the disk, of which ImageNet would take 1.3 million.
            if entry.name.lower().endswith(SUFFIXES):
                yield prefix + entry.name
            elif entry.is_dir() and not _leads_back(entry):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Whether a link points at a folder that it stands in, so that following it would never end."""
    return entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())


def find_images(path: str | Path) -> FileTable:
    """List the images of a folder, as `list_images` does, or take the one image a path names.

    Args:
        path: A folder or a file.

    Returns:
        The files, sorted.

    Raises:
        FileNotFoundError: Neither, or a folder without images; names it.
    """
    path = Path(path)
    if path.is_file():
        return FileTable(path.parent, [path.name])
    names = list_images(path) if path.is_dir() else []
    if not names:
        what = f"no images ({', '.join(SUFFIXES)}) below" if path.is_dir() else "no such folder or image:"
        message = f"{what} {path.absolute()}"
        raise UserFileNotFoundError(message)
    return FileTable(path, names)


def class_folders(folder: str | Path) -> list[str]:
    """Name the folders directly inside a folder, sorted; hidden ones are left out. None there: an empty list."""
    if not Path(folder).is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def scan_split(folder: str | Path, classes: Sequence[str]) -> LabelledFiles:
    """List the images of `folder/<class>/` with their class index.

    Args:
        folder: An existing folder with one folder a class.
        classes: All class names; a file's label is its class's position here. Some may be missing in the folder.

    Returns:
        The files, by class and then by name, and their labels.

    Raises:
        ValueError: A folder that is not among the classes, a class folder without images, or none at all.
    """
    index = {name: position for position, name in enumerate(classes)}
    present = class_folders(folder)
    extra = [name for name in present if name not in index]
    if extra:
        message = (
            f"{Path(folder).absolute()} holds {len(extra)} class folders that the {len(classes)} training classes "
            f"({_some(classes)}) don't include: {_some(extra)}. Every split needs the same class folder names."
        )
        raise UserValueError(message)
    names: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for name in present:
        images = list_images(Path(folder, name))
        names += [f"{name}/{image}" for image in images]
        labels += [index[name]] * len(images)
        if not images:
            empty.append(name)
    if empty or not names:
        message = (
            f"{Path(folder).absolute()}: no images ({', '.join(SUFFIXES)}) in {len(empty)} of {len(present)} class "
            f"folders{': ' + _some(empty) if empty else ''}. Was the data set copied or unpacked in full?"
        )
        raise UserValueError(message)
    return LabelledFiles(FileTable(folder, names), np.asarray(labels, dtype=np.int64))


def _some(names: Sequence[str], most: int = 5) -> str:
    """Join the first few names."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


class LabelledImages(Dataset[dict[str, Any]]):
    """Images with class labels: `{"image": (3, H, W) uint8, "label": int}`.

    It is asked for a `Crop`, whose seed decides what the transform draws, or for a bare position.

    Args:
        split: Files and labels.
        transform: Applied to each `(3, H, W)` uint8 image; random draws must come from torch's global generator.
        max_broken: How many unreadable files to step over, each replaced by the next readable one, with one
            warning a file, counted in each process (so with W workers up to W times as many can pass).
            None: the first unreadable file raises.

    Raises:
        BrokenImageError: On reading an unreadable file beyond the budget; names every file of this process.
    """

    def __init__(self, split: LabelledFiles, transform: Transform, max_broken: int | None = None) -> None:
        self.split = split
        self.transform = transform
        self.max_broken = max_broken
        self._broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.split.files)

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        index, seed = (crop.file, crop.seed) if isinstance(crop, Crop) else (crop, None)
        while True:
            if index not in self._broken:
                try:
                    image = read_image(self.split.files[index])
                except BrokenImageError as error:
                    if self.max_broken is None:
                        raise
                    self._step_over(index, error)
                else:
                    with _drawing_from(seed):
                        return {"image": self.transform(image), "label": int(self.split.labels[index])}
            # The neighbour by name: the same choice in every run, and nearly always of the same class.
            index = (index + 1) % len(self)

    def _step_over(self, index: int, error: BrokenImageError) -> None:
        self._broken[index] = str(error)
        count = len(self._broken)
        # All of a small set can be broken within the budget; the search for a neighbour must end.
        if count > (self.max_broken or 0) or count == len(self):
            allowed = f"more than max_broken={self.max_broken} allows in one process"
            reason = allowed if count > (self.max_broken or 0) else "and there are no others"
            message = f"{count} training images cannot be read, {reason}:\n  " + "\n  ".join(self._broken.values())
            raise BrokenImageError(message) from error
        warnings.warn(
            f"training goes on without an image that cannot be read ({count} of at most {self.max_broken} in this "
            f"process): {error}",
            stacklevel=3,
        )


@contextmanager
def _drawing_from(seed: int | None) -> Iterator[None]:
    """Have torch's global generator, from which transforms draw, start from a seed, and go on afterwards as before."""
    if seed is None:
        yield
        return
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would also restart a GPU's
    try:
        yield
    finally:
        torch.set_rng_state(state)


class UnlabelledImages(Dataset[dict[str, Any]]):
    """Images to predict: `{"image": (3, H, W) uint8, "path": str}`; the first unreadable file raises.

    Args:
        files: The files, in the order of the predictions.
        transform: Applied to each `(3, H, W)` uint8 image.
    """

    def __init__(self, files: FileTable, transform: Transform) -> None:
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.files[index]
        return {"image": self.transform(read_image(path)), "path": str(path)}
