"""List folders of images, fast and in compact file tables."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcpad.datamodules.reading.listing import FOLDERS_BESIDE, Contents, Wanted, look_through, say_passed_over
from pcpad.datamodules.reading.names import Names
from pcpad.errors import UserFileNotFoundError
from pcpad.file_kinds import IMAGE_ENDINGS as SUFFIXES
from pcpad.files import is_folder, refuse_irregular

# Image formats that cannot be read: the reader names them, with what to do.
IMAGES = Wanted("image", SUFFIXES, lambda kind: kind.what == "image")


class FileTable:
    """The paths of many files under one folder, in two flat buffers.

    A list of a million strings is copied into every worker process, page by page, as reading it touches the
    reference counts (ImageNet: about 110 MB per worker); this table takes 45 MB once and is shared after a fork.

    Args:
        folder: The folder the names are relative to.
        names: Relative names, with `/` as separator; `Names` are used without a copy.
        passed_over: One line about each other file in the folder.

    Attributes:
        names: The names.
        passed_over: The same lines.
    """

    def __init__(self, folder: str | Path, names: Sequence[str], passed_over: Sequence[str] = ()) -> None:
        self.passed_over = list(passed_over)
        self.folder = str(folder)
        self.names = names if isinstance(names, Names) else Names(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Path:
        return Path(self.folder, self.names[index])

    def select(self, wanted: np.ndarray) -> "FileTable":
        """Select the files for which a boolean array is true."""
        return FileTable(self.folder, [name for name, take in zip(self.names, wanted, strict=True) if take])


def list_images(folder: str | Path) -> Names:
    """List the images below a folder recursively, following links; hidden files and folders are ignored.

    Hidden files are ignored because the `._name.JPEG` files that macOS leaves in archives look like images but are not.
    A warning lists other files, except for kinds that are common next to images.

    Args:
        folder: An existing folder.

    Returns:
        Sorted names relative to the folder, with `/` as separator.
    """
    contents = look_for_images(folder)
    say_passed_over(folder, contents.others, "images")
    return contents.names


def look_for_images(folder: str | Path) -> Contents:
    """List the images below a folder as `list_images` does, and the other files there; see `look_through`."""
    return look_through(folder, IMAGES)


def find_images(path: str | Path) -> FileTable:
    """List the images of a folder as `list_images` does, or take the single image at a path.

    Args:
        path: A folder or a file.

    Returns:
        The files, sorted; its `passed_over` lists the other files in the folder.

    Raises:
        FileNotFoundError: The path does not exist, or is a folder without images; names it.
    """
    path = Path(path)
    if not path.is_dir():
        refuse_irregular(path)
    if path.is_file():
        return FileTable(path.parent, [path.name])
    contents = look_for_images(path) if path.is_dir() else Contents(Names(), [])
    if not contents.names:
        what = f"no images ({', '.join(SUFFIXES)}) below" if path.is_dir() else "no such folder or image:"
        there = "".join(f"\n  {name}: {reason}" for name, reason in contents.others[:10])
        message = f"{what} {path.absolute()}{f', but{there}' if there else ''}"
        raise UserFileNotFoundError(message)
    return FileTable(path, contents.names, [f"{path / name}: {reason}" for name, reason in contents.others])


def class_folders(folder: str | Path) -> list[str]:
    """The names of the folders directly in a folder, sorted; hidden ones are ignored. May be empty."""
    if not Path(folder).is_dir():
        return []
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry))
        return sorted(name for name in names if name.lower() not in FOLDERS_BESIDE)


def outside_of_folders(folder: str | Path, wanted: Wanted = IMAGES) -> list[tuple[str, str]]:
    """Find files directly in a folder whose files should all be in subfolders.

    Args:
        folder: For example a folder of class folders.
        wanted: The files that should be in those.

    Returns:
        Names, each with what is wrong.
    """
    contents = look_through(folder, wanted, deep=False)
    misplaced = [(name, f"{_article(wanted.what)} outside of the folders that are read") for name in contents.names]
    return sorted(misplaced + contents.others)


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
