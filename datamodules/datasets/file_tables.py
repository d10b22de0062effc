"""Tables that name files: CSV with any delimiter and named columns, with paths below one or several folders."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pcpad.datamodules.reading.images import SUFFIXES
from pcpad.errors import UserFileNotFoundError, UserValueError, did_you_mean
from pcpad.files import at_home, read_bytes, read_text

__all__ = ["SPLITS", "TableRow", "find_below", "find_table", "read_lines", "read_table", "split_named", "table_text"]

# The usual names of columns, used for roles that `columns` does not name.
COLUMNS: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "path", "image_path", "img", "file", "filename", "file_name", "filepath", "name"),
        *("image_id", "id"),
    ),
    "path": ("path", "video_path", "video", "filename", "file_name", "file", "filepath", "clip", "name"),
    "mask": ("mask", "mask_path", "label", "label_path", "annotation", "segmentation", "target", "labels", "masks"),
    "label": ("label", "class", "class_name", "category", "target", "species", "labels"),
    "split": ("split", "set", "subset", "partition", "fold", "usage"),
}
SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "eval"),
}
"""The usual names of splits in folders and tables, in any case."""
_SHOWN = 5


class TableRow(NamedTuple):
    """A line of a table.

    Attributes:
        source: The file.
        line: Its line number, from 1.
        cells: The cells by role: `image`, `mask`, `label`, `split`.
    """

    source: Path
    line: int
    cells: dict[str, str]

    def split(self) -> str:
        """The split that its cell names; "" without one.

        Raises:
            ValueError: The cell does not name a split.
        """
        said = self.cells.get("split", "")
        named = split_named(said)
        if named is None and said:
            message = f"{self.source}, line {self.line}: expected a split among train, val and test, but got {said!r}"
            raise UserValueError(message)
        return named or ""


def split_named(name: str) -> str | None:
    """The split that a folder or a cell names: `train`, `val`, `test` or None."""
    wanted = name.strip().lower()
    return next((split for split, names in SPLITS.items() if wanted in names), None)


def find_table(given: str, root: Path, option: str = "annotations") -> dict[str, Path]:
    """Find a table, relative to the working directory or to the root.

    Args:
        given: Its path; `{split}` in it stands for a split's name.
        root: The data set's folder.
        option: The argument's name, for the error.

    Returns:
        Files by split; a path without `{split}` under `""`.

    Raises:
        FileNotFoundError: There is no such file.
    """
    found = {}
    for split, names in SPLITS.items() if "{split}" in given else [("", ("",))]:
        named = [given.replace("{split}", name) for name in names]
        places = [place for name in named for place in (at_home(name), root / name)]
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found[split] = path
    if not found:
        looked = " and ".join(str(place.absolute()) for place in dict.fromkeys((at_home(given), root / given)))
        also = " ({split} is train, val or test)" if "{split}" in given else ""
        message = f"--data.{option} {given} is not a file: looked for {looked}{also}"
        raise UserFileNotFoundError(message)
    return found


def read_table(
    path: Path, needed: Sequence[str], optional: Sequence[str], columns: Mapping[str, str]
) -> list[TableRow]:
    """Read a table whose first line names its columns.

    Args:
        path: The file; its cells are separated by commas, semicolons, tabs or bars.
        needed: The roles that must have a column.
        optional: The roles that may have a column.
        columns: The columns' names, by role; other roles have the usual names, see `COLUMNS`.

    Returns:
        Its rows.

    Raises:
        ValueError: A column is missing, or a cell is empty; names the existing columns.
    """
    text = table_text(path, "tables")
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        message = f"{path} is empty: expected a first line of column names, and one line per file"
        raise UserValueError(message)
    delimiter = max(",;\t|", key=lines[first].count)
    try:
        with io.StringIO("\n".join(lines[first:]), newline="") as file:
            table = csv.reader(file, delimiter=delimiter)
            head = [cell.strip() for cell in next(table)]
            places = _places(path, head, needed, optional, columns)
            rows = []
            for cells in table:
                if not any(cell.strip() for cell in cells):
                    continue
                line = first + table.line_num
                found = {role: cells[at].strip() if at < len(cells) else "" for role, at in places.items()}
                empty = [head[places[role]] for role in needed if not found[role]]
                if empty:
                    message = f"{path}, line {line}: empty in the column {', '.join(empty)}: {delimiter.join(cells)!r}"
                    raise UserValueError(message)
                rows.append(TableRow(path, line, found))
    except csv.Error as error:
        message = f"{path} cannot be read as a table ({error}): is a closing quotation mark missing?"
        raise UserValueError(message) from error
    if not rows:
        message = f"{path} has a line of column names, {delimiter.join(head)}, but no further lines"
        raise UserValueError(message)
    return rows


def _places(
    path: Path, head: list[str], needed: Sequence[str], optional: Sequence[str], columns: Mapping[str, str]
) -> dict[str, int]:
    unknown = sorted(set(columns) - {*needed, *optional})
    if unknown:
        message = f"`columns` has {', '.join(unknown)}; expected {', '.join((*needed, *optional))}"
        raise UserValueError(message)
    lower = [name.lower() for name in head]
    places: dict[str, int] = {}
    for role in (*needed, *optional):
        if role in columns:
            at = next((at for at, name in enumerate(head) if name == columns[role]), None)
        else:
            taken = {*places.values(), *(head.index(name) for name in columns.values() if name in head)}
            usual = (lower.index(name) for name in COLUMNS[role] if name in lower)
            at = next((at for at in usual if at not in taken), None)
        if at is not None:
            places[role] = at
        elif role in needed or role in columns:
            wanted = repr(columns[role]) if role in columns else f"one of {', '.join(COLUMNS[role])}"
            hint = did_you_mean(columns[role], head) if role in columns else ""
            message = (
                f"{path}: no column for the {role}: expected {wanted}, but the first line names "
                f"{', '.join(head)}.{hint} Name the column with --data.columns '{{{role}: NAME}}'"
            )
            raise UserValueError(message)
    return places


def find_below(
    roots: Sequence[Path], names: Sequence[tuple[TableRow, str]], endings: Sequence[str] = SUFFIXES
) -> list[str]:
    """Find the files that a table names below some folders.

    Args:
        roots: Folders that names are relative to; the first one with such a file is used.
        names: Rows, each with one of its names. An absolute name must be in one of the folders.
        endings: Extensions that names may lack, for example in a table of ids.

    Returns:
        Absolute paths.

    Raises:
        ValueError: A name is outside of the folders.
        FileNotFoundError: Files do not exist; names them with their lines.
    """
    homes = list(dict.fromkeys(Path(os.path.normpath(root.absolute())) for root in roots))
    found, missing = [], []
    for row, name in names:
        places = [Path(os.path.normpath(home / name.replace("\\", "/"))) for home in homes]
        inside = [place for place in places if "\0" not in name and any(map(place.is_relative_to, homes))]
        if not inside:
            message = (
                f"{row.source}, line {row.line}: {name!r} is outside of {', '.join(map(str, homes))}. Nothing "
                "outside of the data's folders is read: correct the line, or add its folder (--data.roots)"
            )
            raise UserValueError(message)
        path = next((place for place in inside if place.is_file()), None)
        if path is None and not name.lower().endswith(tuple(endings)):
            longer = (place.with_name(f"{place.name}{ending}") for place in inside for ending in endings)
            path = next((place for place in longer if place.is_file()), None)
        if path is None:
            missing.append(f"{row.source.name}, line {row.line}: {name}")
        else:
            found.append(str(path))
    if missing:
        more = f"\n  … and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        message = (
            f"{len(missing)} of {len(names)} files that {names[0][0].source} names do not exist below "
            f"{' or '.join(map(str, homes))}:\n  " + "\n  ".join(missing[:_SHOWN]) + more + _elsewhere(homes, names)
        )
        raise UserFileNotFoundError(message)
    return found


def _elsewhere(homes: Sequence[Path], names: Sequence[tuple[TableRow, str]]) -> str:
    """A hint where the first missing file is, if it is in another folder nearby; else empty."""
    _, name = names[0]
    for home in homes:
        for folder in sorted(each for each in home.glob("*") if each.is_dir()):
            if any((folder / f"{name}{ending}").is_file() for ending in ("", *SUFFIXES)):
                return f"\n{name} is in {folder}: pass --data.roots '[{folder}]'"
    return ""


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a list of names."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def table_text(path: Path, what: str) -> str:
    """A table's text.

    Args:
        path: The file.
        what: The word for such files in messages: `tables`, `annotations`.

    Raises:
        UserValueError: It is not UTF-8 text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = (
            f'{path}: {what} must be UTF-8 text, but this file is not: {error}. Save it again as "CSV UTF-8", or '
            f"`iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}`"
        )
        raise UserValueError(message) from error
    if "\0" in text:
        message = f"{path}: {what} must be text, but this file contains zero bytes"
        raise UserValueError(message)
    return text
