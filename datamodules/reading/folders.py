"""Listing folders of images: fast, and in compact file tables."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pcpad.datamodules.reading.images import SUFFIXES
from pcpad.errors import UserFileNotFoundError


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
