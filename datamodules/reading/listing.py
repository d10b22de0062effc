"""List a folder's files: the wanted ones, kinds that are common next to them, and the rest, which is reported."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from pcpad.datamodules.reading.names import Names
from pcpad.file_kinds import FileKind, kind_of_file, named
from pcpad.files import is_folder

__all__ = ["FOLDERS_BESIDE", "Contents", "Wanted", "look_through", "say_passed_over"]

_SHOWN = 10
# Lists, descriptions, settings, checksums and thumbnail tables, which are common next to images and videos.
_BESIDE = (
    *(".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".md", ".rst"),
    *(".html", ".htm", ".log", ".lst", ".list", ".db", ".xmp", ".aae", ".thm", ".pp3", ".dop", ".url", ".lnk", ".py"),
    *(".webloc", ".md5", ".sha1", ".sha256", ".sha512", ".lock", ".mat", ".sh", ".ipynb", ".srt", ".vtt", ".ass"),
    *(".ytdl", ".description"),
)
_BEGINNINGS = ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "checksums", "pcpad_")
_NAMES = {"thumbs.db", "desktop.ini", "icon\r", "md5sums", "sha1sums", "sha256sums", "sha512sums", "n_frames"}
FOLDERS_BESIDE = {
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    "lightning_logs",
}


class Wanted(NamedTuple):
    """The kind of files to look for.

    Attributes:
        what: In words: "image".
        endings: Their file extensions, in lower case, with the dot.
        holds: Whether a file with another extension is one, according to its content.
        is_one: Whether a folder counts as one such file, instead of its content.
        beside: Extensions of files that are common next to this kind only.
    """

    what: str
    endings: tuple[str, ...]
    holds: Callable[[FileKind], bool]
    is_one: Callable[[str], bool] = lambda folder: False
    beside: tuple[str, ...] = ()


class Contents(NamedTuple):
    """The files below a folder.

    Attributes:
        names: The wanted files, sorted, relative to the folder, with `/` as separator.
        others: Files that are neither wanted nor common next to wanted ones: relative names, each with what it is.
    """

    names: Names
    others: list[tuple[str, str]]


def look_through(folder: str | Path, wanted: Wanted, *, deep: bool = True) -> Contents:
    """List the files below a folder, following links and ignoring hidden files.

    Files with a wanted extension are taken without a look at their content. For other extensions the content decides,
    except for kinds that are common next to images and videos (lists, notes, checksums).

    Args:
        folder: An existing folder.
        wanted: What to look for.
        deep: Whether to include subfolders.

    Returns:
        The files found.
    """
    contents = Contents(Names(), [])
    for prefix, names, others in _walk(str(folder), "", frozenset(), wanted, deep):
        contents.names.extend(prefix + name for name in names)
        contents.others.extend((prefix + name, reason) for name, reason in others)
    contents.others.sort()
    return contents


def _walk(
    folder: str, prefix: str, above: frozenset[str], wanted: Wanted, deep: bool
) -> Iterator[tuple[str, list[str], list[tuple[str, str]]]]:
    """Yield triples of a prefix, the wanted names it belongs to, and other files with what they are.

    All names together are in the order of `sorted`, made from lists of one folder each: for that, subfolders are sorted
    by their names with the `/` that follows them in file names.
    """
    # A link to one of its own parent folders would never end.
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = os.scandir(folder)
    except OSError as error:
        if not prefix:
            raise
        yield "", [], [(prefix.removesuffix("/"), f"cannot be opened: {error.strerror}")]
        return
    there, folders, others = _sort_out(entries, wanted, deep)
    there.sort()
    yield prefix, [], others
    start = 0
    for name in sorted(folders):
        end = bisect_left(there, name, start)
        yield prefix, there[start:end], []
        start = end
        yield from _walk(f"{folder}{os.sep}{name[:-1]}", prefix + name, above | {real}, wanted, deep)
    yield prefix, there[start:], []


def _sort_out(
    entries: AbstractContextManager[Iterator[os.DirEntry[str]]], wanted: Wanted, deep: bool
) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """The names in a folder: wanted files, subfolders to visit (with a trailing `/`), and others."""
    there: list[str] = []
    folders: list[str] = []
    others: list[tuple[str, str]] = []
    with entries as each:
        for entry in each:
            if entry.name.startswith("."):
                continue
            lower = entry.name.lower()
            # The extension is checked first, as it needs no disk access: ImageNet would need 1.3 million.
            if lower.endswith(wanted.endings) or (is_folder(entry) and wanted.is_one(entry.path)):
                there.append(entry.name)
            elif is_folder(entry):
                if deep and lower not in FOLDERS_BESIDE:
                    folders.append(f"{entry.name}/")
            elif lower not in _NAMES and not lower.endswith(_BESIDE + wanted.beside):
                reason = _judge(entry, wanted)
                if reason is None:
                    there.append(entry.name)
                elif not lower.startswith(_BEGINNINGS):
                    others.append((entry.name, reason))
    return there, folders, others


def _judge(entry: os.DirEntry[str], wanted: Wanted) -> str | None:
    """None if the content of a file with an unknown extension is of the wanted kind, else what the file is."""
    try:
        if not entry.is_file():
            return "a broken link" if entry.is_symlink() else "not a regular file"
        kind = kind_of_file(Path(entry.path))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if kind is not None and wanted.holds(kind):
        return None
    return named(kind) if kind is not None else f"not in a known {wanted.what} format"


def say_passed_over(folder: str | Path, others: Sequence[tuple[str, str]], what: str) -> None:
    """Warn once about files that are ignored, so that users can judge whether the run should continue.

    Args:
        folder: The folder that the names are relative to.
        others: As in `Contents`.
        what: The wanted kind, in the plural: "images".
    """
    if not others:
        return
    from lightning.pytorch.utilities import rank_zero_warn  # takes a second, which `pcpad fill` saves

    shown = "".join(f"\n  {name}: {reason}" for name, reason in sorted(others)[:_SHOWN])
    more = f"\n  … and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    rank_zero_warn(f"{len(others)} files below {Path(folder).absolute()} are not {what} and are ignored:{shown}{more}")
