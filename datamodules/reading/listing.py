"""What lies in a folder: what is wanted, what is well known beside it, and the rest, which is never silent."""

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
# Lists, descriptions, settings, checksums and thumbnails' tables, which lie beside pictures and videos.
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
    """What is looked for.

    Attributes:
        what: In words: "image".
        endings: Of the names of such files, in lower case, with the dot.
        holds: Whether a file of another name is one, by its content.
        is_one: Whether a folder is one itself, as a file would be, instead of what it holds.
        beside: Endings of files that are well known beside such ones, but not beside others.
    """

    what: str
    endings: tuple[str, ...]
    holds: Callable[[FileKind], bool]
    is_one: Callable[[str], bool] = lambda folder: False
    beside: tuple[str, ...] = ()


class Contents(NamedTuple):
    """What lies below a folder.

    Attributes:
        names: What was looked for, sorted, relative to the folder, `/` between their parts.
        others: What is neither that nor well known beside it: relative names, each with a word on what it is.
    """

    names: Names
    others: list[tuple[str, str]]


def look_through(folder: str | Path, wanted: Wanted, *, deep: bool = True) -> Contents:
    """List the files below a folder, links followed, hidden ones left out.

    Names with the endings wanted are taken at their word; of names with others, but for those that are well known
    beside pictures and videos (lists, notes, checksums), the content decides.

    Args:
        folder: An existing folder.
        wanted: What to look for.
        deep: Whether to look into the folders in it, too.

    Returns:
        What lies there.
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
    """Yield what stands before some names, names of what is wanted, and others with what they are instead.

    All names together are in the order in which `sorted` has them, from lists of one folder: in each, the folders in it
    are sorted by their names with the `/` that stands behind them in names of files.
    """
    # A link to a folder that it stands in would never end.
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = os.scandir(folder)
    except OSError as error:
        if not prefix:
            raise
        yield "", [], [(prefix.removesuffix("/"), f"cannot be looked into: {error.strerror}")]
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
    """The names in a folder: of what is wanted, of folders to look into, with a `/` behind, and of others."""
    there: list[str] = []
    folders: list[str] = []
    others: list[tuple[str, str]] = []
    with entries as each:
        for entry in each:
            if entry.name.startswith("."):
                continue
            lower = entry.name.lower()
            # The ending is asked first: it needs no look at the disk, of which ImageNet would take 1.3 million.
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
    """None where a file of an unknown ending is one of those wanted by its content, else what it is."""
    try:
        if not entry.is_file():
            return "a link that leads to no file" if entry.is_symlink() else "no file"
        kind = kind_of_file(Path(entry.path))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if kind is not None and wanted.holds(kind):
        return None
    return named(kind) if kind is not None else f"no {wanted.what} in a known format"


def say_passed_over(folder: str | Path, others: Sequence[tuple[str, str]], what: str) -> None:
    """Warn once of files that nothing is done with; a run that goes on without them is the user's to judge.

    Args:
        folder: What the names are relative to.
        others: As `Contents` has them.
        what: What was looked for, in the plural: "images".
    """
    if not others:
        return
    from lightning.pytorch.utilities import rank_zero_warn  # a second of imports, of which `pcpad fill` needs none

    shown = "".join(f"\n  {name}: {reason}" for name, reason in sorted(others)[:_SHOWN])
    more = f"\n  … and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    rank_zero_warn(f"{len(others)} files below {Path(folder).absolute()} are no {what} and left out:{shown}{more}")
