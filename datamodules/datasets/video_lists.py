"""Reading files that say which videos there are and of which class each is, in the formats that people have."""

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
    "path,label, or a path and a class per line; between them commas, semicolons or tabs, without a first line of "
    "spaces too"
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
    """A video that is listed.

    Attributes:
        line: The line it stands in, from 1.
        names: Where it may lie, as the line or the format says it; the first is what it is called where it is missing.
        label: Its class.
        split: "train", "val" or "test"; None: not said, the file is of one split.
        seconds: How long it should be; None: not said.
    """

    line: int
    names: tuple[str, ...]
    label: str
    split: str | None = None
    seconds: float | None = None


class Annotations(NamedTuple):
    """Where videos are listed, and how.

    Attributes:
        path: Of the file; `{split}` in it stands for the split.
        columns: What the columns of a table are called: `path`, `label` and `split`; empty: by the usual names.
        roots: Further folders in which its videos are looked for.
    """

    path: str
    columns: Mapping[str, str] = {}
    roots: tuple[Path, ...] = ()


class VideoList(NamedTuple):
    """What a file lists.

    Attributes:
        rows: Its videos; those of Kinetics' own table lie below the split's folder.
        official: Whether it is Kinetics' own table, in which a class is a name even where it looks like a number.
    """

    rows: list[VideoRow]
    official: bool


class VideoPlaces:
    """Looks up where listed videos lie, by one look into each folder.

    Args:
        root: The data set's folder.
        others: Further folders; what lies in them is given with its whole path.
    """

    def __init__(self, root: Path, others: Sequence[Path] = ()) -> None:
        self.root = root
        self.others = [other.absolute().as_posix() for other in others]
        self._folders: dict[str, tuple[set[str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> list[str]:
        """Find a video under its name, else under one that differs from it in case or in the ending alone.

        Args:
            name: A path relative to the root, `/` between its parts.

        Returns:
            The one, none, or several of which it cannot be said which is meant.
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
    """What stands before a video's ending; names of videos may hold dots."""
    ending = next((ending for ending in SUFFIXES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)].casefold()


def inside(root: Path, name: str, source: Path, line: int, others: Sequence[Path] = ()) -> str:
    """Give a path relative to the root, and refuse one that leads out of it; a whole one may lie in another folder."""
    given = name.replace("\\", "/")
    absolute = os.path.normpath(root.absolute() / given)
    home = os.path.normpath(root.absolute())
    if any(PurePosixPath(absolute).is_relative_to(os.path.normpath(other.absolute())) for other in others):
        return absolute
    if "\0" in given or not PurePosixPath(absolute).is_relative_to(home) or absolute == home:
        message = (
            f"{source}, line {line}: {name!r} points outside of {home}. Nothing outside of the data set's folder "
            "is read: correct the line, or name a folder above as --data.root"
        )
        raise UserValueError(message)
    return PurePosixPath(absolute).relative_to(home).as_posix()


def read_list(path: Path, is_there: Callable[[str], bool], columns: Mapping[str, str] | None = None) -> VideoList:
    """Read a file that lists videos.

    Args:
        path: The file; see `EXPECTED` for what it may be.
        is_there: Whether a video of this name is there: paths may hold spaces and commas, so that it takes this to
            tell where a path ends.
        columns: What a table's columns are called, by `path`, `label` and `split`; None or empty: by the usual names.

    Returns:
        Its rows.

    Raises:
        ValueError: It is in another format, or one of its lines is; says which.
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
            f"mostly comes of a quotation mark that is never closed. Expected {EXPECTED}"
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
    """The CVDF format; the csv module reads class names with commas and quotes."""
    with io.StringIO(text, newline="") as file:
        table = csv.DictReader(file, delimiter=delimiter)
        table.fieldnames = [name.strip().lower() for name in table.fieldnames or []]
        lacking = [name for name in _OFFICIAL if name not in table.fieldnames]
        if lacking:
            message = f"{path}: expected the columns {','.join(_OFFICIAL)}, but {', '.join(lacking)} is not in line 1"
            raise UserValueError(message)
        for row in table:
            line = table.line_num
            if not row["label"] or not row["youtube_id"]:
                message = f"{path}, line {line}: expected a label and a youtube_id, but came {row}"
                raise UserValueError(message)
            split = _SPLITS.get((row["split"] or "").strip().lower())
            if split is None:
                message = f"{path}, line {line}: expected a split among {', '.join(_SPLITS)}, but came {row['split']!r}"
                raise UserValueError(message)
            try:
                start, end = float(row["time_start"]), float(row["time_end"])
                name = f"{row['youtube_id']}_{int(start):06}_{int(end):06}.mp4"
            except (TypeError, ValueError, OverflowError) as error:
                message = f"{path}, line {line}: time_start and time_end have to be seconds, but came {row}"
                raise UserValueError(message) from error
            # As annotated; with underscores, as some archives name the folders; or without folders, as CVDF packs them.
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
                    message = f"{path}, line {table.line_num}: expected a path and a class, but came {cells}"
                    raise UserValueError(message)
                yield VideoRow(table.line_num, (name,), label)
            heads = False


def _list_rows(path: Path, text: str, is_there: Callable[[str], bool]) -> Iterator[VideoRow]:
    """Lines of a path and a class, split from the right, as paths may hold spaces."""
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
    """What stands between path and class: what makes most paths be there, else what stands in all lines."""
    counts = {mark: sum(is_there(line.rpartition(mark)[0].strip()) for line in lines) for mark in " \t;,"}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best]:
        return best
    return next((mark for mark in "\t;," if all(line.rpartition(mark)[0] for line in lines)), " ")


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
