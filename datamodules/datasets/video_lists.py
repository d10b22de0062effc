"""Read lists of videos and their classes, in the common formats."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from pcpad._renamed import moved
from pcpad.datamodules.datasets.file_tables import read_table, table_text
from pcpad.datamodules.reading.frame_folders import holds_frames
from pcpad.datamodules.reading.video_files import SUFFIXES
from pcpad.errors import UserValueError

__all__ = ["EXPECTED", "Annotations", "VideoList", "VideoPlaces", "VideoRow", "inside", "read_list"]

EXPECTED = (
    "a table whose first line names the columns label,youtube_id,time_start,time_end,split (Kinetics' own) or "
    "path,label, or a path and a class per line; separated by commas, semicolons or tabs, and in lists without column "
    "names also by spaces"
)
_OFFICIAL = ("label", "youtube_id", "time_start", "time_end", "split")
_PATHS = ("path", "video_path", "video", "filename", "file_name", "file", "filepath", "clip", "name")
_LABELS = ("label", "class", "class_name", "category", "action", "class_id", "labels")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "validate", "validation", "valid"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SAMPLE = 64


class VideoRow(NamedTuple):
    """A listed video.

    Attributes:
        line: Its line number, from 1.
        names: Paths at which it may be, from the line or the format; the first one names it if it is missing.
        label: Its class.
        split: "train", "val" or "test"; None: unspecified, the file is for one split.
        seconds: Its annotated duration; None: unknown.
    """

    line: int
    names: tuple[str, ...]
    label: str
    split: str | None = None
    seconds: float | None = None


class Annotations(NamedTuple):
    """The location and format of the lists of videos.

    Attributes:
        path: The file's path; `{split}` in it stands for the split.
        columns: The names of a table's columns, by `path`, `label` and `split`; empty: the usual names.
        roots: Further folders to look for its videos in.
    """

    path: str
    columns: Mapping[str, str] = {}
    roots: tuple[Path, ...] = ()


class VideoList(NamedTuple):
    """The content of a list.

    Attributes:
        rows: Its videos; those of Kinetics' own table are below the split's folder.
        official: Whether it is Kinetics' own table, in which a class is a name even if it looks like a number.
    """

    rows: list[VideoRow]
    official: bool


class VideoPlaces:
    """Looks up the paths of listed videos, reading each folder once.

    Args:
        root: The data set's folder.
        others: Further folders; paths of videos in them are absolute.
    """

    def __init__(self, root: Path, others: Sequence[Path] = ()) -> None:
        self.root = root
        self.others = [other.absolute().as_posix() for other in others]
        self._folders: dict[str, tuple[set[str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> list[str]:
        """Find a video by its name, else by a name that differs only in case or extension.

        Args:
            name: A path relative to the root, with `/` as separator.

        Returns:
            One path, none, or several if the name is ambiguous.
        """
        places = [name] if name.startswith("/") else [name, *(f"{other}/{name}" for other in self.others)]
        return next((found for place in places if (found := self._find(place))), [])

    def _find(self, name: str) -> list[str]:
        parent, _, last = name.rpartition("/")
        names, stems = self._look_into(parent)
        if last in names:
            return [name]
        alike = stems.get(_stem(last), [])
        same = [other for other in alike if other.casefold() == last.casefold()] or alike
        found = (f"{parent}/{other}".removeprefix("/") for other in same)
        return [other for other in found if _is_video(other) or holds_frames(self.root / other)]

    def _look_into(self, parent: str) -> tuple[set[str], dict[str, list[str]]]:
        if parent not in self._folders:
            try:
                with os.scandir(self.root / parent) as entries:
                    names = {entry.name for entry in entries if not entry.name.startswith(".")}
            except OSError:
                names = set()
            stems: dict[str, list[str]] = {}
            for name in sorted(names):
                stems.setdefault(_stem(name), []).append(name)
            self._folders[parent] = (names, stems)
        return self._folders[parent]


def _is_video(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _stem(name: str) -> str:
    """A video's name without its extension; names may contain dots."""
    ending = next((ending for ending in SUFFIXES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)].casefold()


def inside(root: Path, name: str, source: Path, line: int, others: Sequence[Path] = ()) -> str:
    """Make a path relative to the root, refusing paths outside of it; absolute paths may be in the other folders."""
    given = name.replace("\\", "/")
    absolute = os.path.normpath(root.absolute() / given)
    home = os.path.normpath(root.absolute())
    if any(PurePosixPath(absolute).is_relative_to(os.path.normpath(other.absolute())) for other in others):
        return absolute
    if "\0" in given or not PurePosixPath(absolute).is_relative_to(home) or absolute == home:
        message = (
            f"{source}, line {line}: {name!r} is outside of {home}. Nothing outside of the data set's folder "
            "is read: correct the line, or pass a parent folder as --data.root"
        )
        raise UserValueError(message)
    return PurePosixPath(absolute).relative_to(home).as_posix()


def read_list(path: Path, is_there: Callable[[str], bool], columns: Mapping[str, str] | None = None) -> VideoList:
    """Read a file that lists videos.

    Args:
        path: The file; see `EXPECTED` for its formats.
        is_there: Whether a video of this name exists; needed to tell where a path ends, as paths may contain spaces and
            commas.
        columns: The names of a table's columns, by `path`, `label` and `split`; None or empty: the usual names.

    Returns:
        Its rows.

    Raises:
        ValueError: The file, or one of its lines, has another format; says which.
    """
    if columns:
        rows = read_table(path, ("path", "label"), ("split",), columns)
        found = [VideoRow(row.line, (row.cells["path"],), row.cells["label"], row.split() or None) for row in rows]
        return VideoList(found, False)
    text = table_text(path, "annotations")
    try:
        return _read(path, text, is_there)
    except csv.Error as error:
        message = (
            f"{path} cannot be read as a table ({error}): a field of more than {csv.field_size_limit()} characters "
            f"usually means that a closing quotation mark is missing. Expected {EXPECTED}"
        )
        raise UserValueError(message) from error


def _read(path: Path, text: str, is_there: Callable[[str], bool]) -> VideoList:
    first = next((number for number, line in enumerate(text.splitlines(), 1) if line.strip()), 1)
    head = text.splitlines()[first - 1] if text.strip() else ""
    if head.lstrip()[:1] in ("{", "["):
        raise _unexpected(path, first, head, "JSON")
    delimiter = max(",;\t", key=head.count)
    columns = [field.strip().lower() for field in next(csv.reader([head], delimiter=delimiter), [])]
    if len(set(columns) & set(_OFFICIAL)) >= 2:
        return VideoList(list(_official_rows(path, text, delimiter)), True)
    at_path, at_label = (next((n for n, c in enumerate(columns) if c in names), None) for names in (_PATHS, _LABELS))
    if at_path is not None and at_label is not None:
        return VideoList(list(_table_rows(path, text, delimiter, at_path, at_label)), False)
    if at_label is not None and len(columns) > 1:
        raise _unexpected(path, first, head, f"a table without {' or '.join(_PATHS[:4])}")
    return VideoList(list(_list_rows(path, text, is_there)), False)


def _unexpected(path: Path, line: int, text: str, what: str) -> UserValueError:
    shown = text if len(text) <= 120 else f"{text[:120]}…"
    return UserValueError(
        f"{path}, line {line}: {what} cannot be read as a list of videos: {shown!r}. Expected {EXPECTED}"
    )


def _official_rows(path: Path, text: str, delimiter: str) -> Iterator[VideoRow]:
    """Rows of the CVDF format; the csv module handles class names with commas and quotes."""
    with io.StringIO(text, newline="") as file:
        table = csv.DictReader(file, delimiter=delimiter)
        table.fieldnames = [name.strip().lower() for name in table.fieldnames or []]
        lacking = [name for name in _OFFICIAL if name not in table.fieldnames]
        if lacking:
            message = f"{path}: expected the columns {','.join(_OFFICIAL)}, but line 1 lacks {', '.join(lacking)}"
            raise UserValueError(message)
        for row in table:
            line = table.line_num
            if not row["label"] or not row["youtube_id"]:
                message = f"{path}, line {line}: expected a label and a youtube_id, but got {row}"
                raise UserValueError(message)
            split = _SPLITS.get((row["split"] or "").strip().lower())
            if split is None:
                message = f"{path}, line {line}: expected a split among {', '.join(_SPLITS)}, but got {row['split']!r}"
                raise UserValueError(message)
            try:
                start, end = float(row["time_start"]), float(row["time_end"])
                name = f"{row['youtube_id']}_{int(start):06}_{int(end):06}.mp4"
            except (TypeError, ValueError, OverflowError) as error:
                message = f"{path}, line {line}: expected time_start and time_end in seconds, but got {row}"
                raise UserValueError(message) from error
            # As annotated; with underscores, as in some archives; or without folders, as in CVDF's.
            label = row["label"]
            names = (f"{split}/{label}/{name}", f"{split}/{label.replace(' ', '_')}/{name}", f"{split}/{name}")
            yield VideoRow(line, names, label, split, end - start)


def _table_rows(path: Path, text: str, delimiter: str, at_path: int, at_label: int) -> Iterator[VideoRow]:
    with io.StringIO(text, newline="") as file:
        table = csv.reader(file, delimiter=delimiter)
        heads = True
        for cells in table:
            if not any(cell.strip() for cell in cells):
                continue
            if not heads:
                name, label = (cells[at].strip() if at < len(cells) else "" for at in (at_path, at_label))
                if not name or not label:
                    message = f"{path}, line {table.line_num}: expected a path and a class, but got {cells}"
                    raise UserValueError(message)
                yield VideoRow(table.line_num, (name,), label)
            heads = False


def _list_rows(path: Path, text: str, is_there: Callable[[str], bool]) -> Iterator[VideoRow]:
    """Rows from lines of a path and a class, split from the right, as paths may contain spaces."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    delimiter = _delimiter([line for _, line in lines[:_SAMPLE]], is_there)
    for number, line in lines:
        name, _, label = (part.strip() for part in line.rpartition(delimiter))
        if not name or not label:
            between = {" ": "a space", "\t": "a tab"}.get(delimiter, repr(delimiter))
            message = f"{path}, line {number}: expected a path, {between} and a class, but got {line!r}"
            raise UserValueError(message)
        # Lists of frame folders have the number of frames between path and class.
        shorter, _, count = (part.strip() for part in name.rpartition(delimiter))
        yield VideoRow(number, (name, shorter) if shorter and count.isdigit() else (name,), label)


def _delimiter(lines: Sequence[str], is_there: Callable[[str], bool]) -> str:
    """The separator between path and class: the one for which most paths exist, else one that is in all lines."""
    counts = {mark: sum(is_there(line.rpartition(mark)[0].strip()) for line in lines) for mark in " \t;,"}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best]:
        return best
    return next((mark for mark in "\t;," if all(line.rpartition(mark)[0] for line in lines)), " ")


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
