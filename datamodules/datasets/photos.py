"""Folders of photographs without labels: split them, and leave out small ones."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.reading.folders import FileTable, list_images, outside_of_folders
from pcpad.datamodules.reading.images import SUFFIXES, image_size
from pcpad.datamodules.reading.listing import say_passed_over
from pcpad.datamodules.reading.names import Names
from pcpad.errors import UserFileNotFoundError, UserValueError

Split = Literal["train", "val", "test"]

# The folders for `val` and `test`, in order of preference: one folder of held-out pictures can serve as both.
_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}

_NO_DATA = """{what}: {path}
Expected photographs ({suffixes}), at any depth, in one of these layouts:
    {root}/train/**    {root}/val/** or {root}/test/** or both    such as ImageNet's folders
    {root}/**          without such folders: a share of the pictures, chosen by name, is held out
Any photographs will do. The papers took ImageNet's (ILSVRC2012), available at https://image-net.org/download.php.
Real photographs from scikit-image and scikit-learn, written in a second:
    pcpad sample photos DIR        and then --data.root DIR"""


def find_photos(root: Path, split: Split, held_out: float, split_seed: int) -> FileTable:
    """List the photographs of a split.

    ```
    root/train/**             if root has any of these three folders, they are the splits;
    root/val/**               val uses test's pictures if there is no val/, and the reverse
    root/test/**
    root/**                   else all pictures, split by their names
    ```

    Args:
        root: The folder.
        split: The split to list.
        held_out: Without split folders, the share of the pictures that is not for training, in (0, 1). At least one
            picture is held out, and one is kept for training. Held-out pictures serve as both `val` and `test`.
        split_seed: Seed of the division. A picture's split depends on its name, so that adding or removing others
            changes it only if the number of held-out pictures changes.

    Returns:
        The files, sorted by name.

    Raises:
        FileNotFoundError: There are no pictures.
        ValueError: There is only one picture, so that none can be held out.
    """
    if any((root / folder).is_dir() for folder in _FOLDERS):
        folders = [root / folder for folder in _FOLDERS[split] if (root / folder).is_dir()]
        if not folders:
            raise UserFileNotFoundError(_no_data("No such folder", root / _FOLDERS[split][0], root))
        say_passed_over(root, outside_of_folders(root), "photographs of a split")
        names = list_images(folders[0])
        if not names:
            raise UserFileNotFoundError(_no_data("No photographs below", folders[0], root))
        return FileTable(folders[0], names)
    if not root.is_dir():
        raise UserFileNotFoundError(_no_data("No such folder", root, root))
    names = list_images(root)
    if not names:
        raise UserFileNotFoundError(_no_data("No photographs below", root, root))
    if len(names) == 1:
        message = f"{root.absolute()} holds one photograph, {names[0]}: training and evaluation need at least one each"
        raise UserValueError(message)
    taken = _held_out(names, held_out, split_seed)
    if split == "train":
        taken = ~taken
    return FileTable(root, Names(name for name, one in zip(names, taken, strict=True) if one))


def _held_out(names: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Which of sorted names are held out, `(names,)` bool."""
    count = min(max(1, round(share * len(names))), len(names) - 1)
    # By a checksum of the name instead of the position: otherwise one additional file would move half of the others.
    sums = (zlib.crc32(f"{seed}/{name}".encode("utf-8", "surrogateescape")) for name in names)
    order = np.argsort(np.fromiter(sums, np.uint32, len(names)), kind="stable")
    held_out = np.zeros(len(names), bool)
    held_out[order[:count]] = True
    return held_out


def _no_data(what: str, path: Path, root: Path) -> str:
    return _NO_DATA.format(what=what, path=path.absolute(), root=root, suffixes=", ".join(SUFFIXES))


def large_enough(files: FileTable, side: int) -> FileTable:
    """Drop photographs whose headers say that they are too small, with a warning that counts them.

    Args:
        files: The photographs.
        side: The smallest allowed height and width in pixels.

    Returns:
        Those that are large enough, in the same order.

    Raises:
        BrokenImageError: A file's header cannot be read; names it.
        ValueError: None is large enough.
    """
    sizes = [image_size(files[index]) for index in range(len(files))]
    kept = [index for index, size in enumerate(sizes) if min(size) >= side]
    if len(kept) == len(sizes):
        return files
    left_out = [index for index, size in enumerate(sizes) if min(size) < side]
    height, width = sizes[left_out[0]]
    example = f"{files[left_out[0]]} is {width}x{height}"
    if not kept:
        raise UserValueError(too_small(len(left_out), len(sizes), side, example))
    rank_zero_warn(
        f"{len(left_out)} of {len(sizes)} held-out photographs are left out: smaller than {side} ({example})"
    )
    names = [files[index].relative_to(files.folder).as_posix() for index in kept]
    return FileTable(files.folder, names)


def too_small(count: int, of: int, side: int, example: str) -> str:
    """The error message if no photograph is large enough."""
    return (
        f"{count} of {of} photographs are too small: crops and the context beyond their borders need {side} pixels in "
        f"height and width, but {example}. Use larger photographs, or a smaller --data.crop_size"
    )
