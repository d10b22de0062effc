"""The classes of user-provided label maps: ids or colors on disk, classes 0, 1, … in memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pcpad.bounded_yaml import read_yaml
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE
from pcpad.datamodules.reading.label_files import LabelFile
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import at_home, read_text

__all__ = ["EXPECTED", "OTHERS", "ClassValues", "Color", "parse_classes"]

Color = tuple[int, int, int]
OTHERS = "others"
"""A value of `ignore`: everything that `classes` does not name."""
EXPECTED = (
    "a number of classes (11: the ids 0 … 10), names by id ({0: road, 1: sky}), a list of names ([road, sky]), colors "
    "by name ({road: '#804080', sky: [70, 130, 180]}), or a file with one name per line, the columns name,r,g,b, or "
    "`names:` in YAML"
)
_MOST = 255  # classes 0 … 254; losses ignore 255
_LARGEST_ID = 65535
_UNKNOWN = 256
_SHOWN = 5
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


class ClassValues(NamedTuple):
    """The meaning of label maps' values.

    Attributes:
        names: The classes' names, by index.
        colors: One per class if label maps hold colors; else None.
        table: For each id, or each color as red·65536 + green·256 + blue: the class, 255 if it is ignored, 256 if it is
            unknown.
        ignored: The ignored values, in words.
    """

    names: list[str]
    colors: list[Color] | None
    table: np.ndarray
    ignored: str

    def classes_of(self, file: LabelFile) -> np.ndarray:
        """Convert a label map's values to classes.

        Args:
            file: The label map.

        Returns:
            `(H, W)` uint8, not rotated: classes 0, 1, …, and 255 for ignored values.

        Raises:
            ValueError: Values that are neither classes nor ignored, or ids instead of colors, or the reverse.
        """
        values = self._packed(file)
        found = self.table[np.clip(values, 0, len(self.table) - 1)]
        outside = (found == _UNKNOWN) | (values < 0) | (values >= len(self.table))
        if outside.any():
            message = f"{file.path}: {self._unknown(file, values[outside])}"
            raise UserValueError(message)
        classes: np.ndarray = found.astype(np.uint8)
        return classes

    def _packed(self, file: LabelFile) -> np.ndarray:
        if self.colors is None:
            if file.values is None:
                assert file.colors is not None
                packed = _pack(file.colors)
                message = (
                    f"{file.path}: expected one id per pixel, as `classes` has ids, but each pixel is {file.kind}: "
                    f"{_counted(packed.ravel(), colors=True)}. Give each class its color instead "
                    "(--data.classes '{NAME: \"#rrggbb\", …}'), or save the ids as gray or palette PNGs"
                )
                raise UserValueError(message)
            return file.values
        if file.colors is None:
            message = (
                f"{file.path}: expected one color per pixel, as `classes` has colors, but each pixel is {file.kind}: "
                "give names by id instead (--data.classes '{0: NAME, …}')"
            )
            raise UserValueError(message)
        return _pack(file.colors)

    def _unknown(self, file: LabelFile, unknown: np.ndarray) -> str:
        """Which values are unknown, how many pixels hold them, and what to do."""
        by_color = self.colors is not None
        what = "colors" if by_color else "ids"
        known = _ids(self.table, self.names)
        if self.colors is not None:
            known = ", ".join(
                f"{_hex(_pack_one(each))} {name}" for each, name in zip(self.colors, self.names, strict=True)
            )
        ignored = f"; ignored: {self.ignored}" if self.ignored else ""
        message = (
            f"{len(unknown)} pixels hold {what} that `classes` does not name: {_counted(unknown, by_color)}. Expected "
            f"{known}{ignored}. Name them (--data.classes), or ignore them (--data.ignore LIST, or --data.ignore "
            f"{OTHERS})"
        )
        if file.lossy:
            message += (
                ". The file is a JPEG, which changes values where classes meet: save label maps as PNG, or ignore "
                f"these pixels with --data.ignore {OTHERS}"
            )
        elif by_color and file.kind.startswith("one gray"):
            message += f". Each pixel is {file.kind}: if these are ids, give names by id (--data.classes '{{0: NAME}}')"
        elif file.transparent:
            message += f". {file.transparent} pixels are transparent, which has no effect: their color counts"
        elif not by_color and file.kind.startswith("one index"):
            message += ". The file has a palette, whose indices are used as ids unless `classes` has colors"
        elif not by_color and set(np.unique(unknown).tolist()) <= {255, 254, 128, 127} and len(self.names) <= 3:
            message += ". If white stands for a class, name that value: --data.classes '{0: background, 255: NAME}'"
        return message


def parse_classes(classes: Any, ignore: Any, root: Path) -> ClassValues:
    """Parse `classes` and `ignore`.

    Args:
        classes: See `EXPECTED`. Several ids or colors of one name are one class.
        ignore: An id or a color, a list of them, `others`, or None: the id 255, unless a class has it.
        root: A folder in which a file that `classes` names is looked for.

    Returns:
        The meaning of the values.

    Raises:
        ValueError: An unknown form, a value that is given twice, too many classes, or a value that is both a class and
            ignored.
        FileNotFoundError: `classes` names a file that does not exist.
    """
    if isinstance(classes, str) and classes.strip().isdigit():
        classes = int(classes)
    if isinstance(classes, str):
        classes = _from_file(classes, root)
    if isinstance(classes, bool) or classes is None or (isinstance(classes, int) and classes < 1):
        raise UserValueError(_refusal(classes))
    if isinstance(classes, int):
        classes = [str(number) for number in range(min(classes, _MOST + 1))]
    if isinstance(classes, Sequence):
        if len(set(map(str, classes))) < len(classes):
            twice = next(name for name in classes if list(classes).count(name) > 1)
            message = f"`classes` names {twice!r} twice; to give a class several ids, write {{0: {twice}, 1: {twice}}}"
            raise UserValueError(message)
        classes = {number: str(name) for number, name in enumerate(classes)}
    if not isinstance(classes, Mapping) or not classes:
        raise UserValueError(_refusal(classes))
    by_color = any(_is_color(value) or _are_colors(value) for value in classes.values())
    values = _by_color(classes) if by_color else _by_id(classes)
    names = list(dict.fromkeys(name for name, _ in values))
    if len(names) > _MOST:
        message = f"Expected argument `classes` to be at most {_MOST} classes, but got {len(names)}"
        raise UserValueError(message)
    table = np.full(1 << 24 if by_color else max(256, max(value for _, value in values) + 1), _UNKNOWN, np.uint16)
    for name, value in values:
        if table[value] != _UNKNOWN:
            message = f"`classes` gives {_hex(value) if by_color else value} to {names[table[value]]} and to {name}"
            raise UserValueError(message)
        table[value] = names.index(name)
    # If a class has several colors, pictures show the first.
    first = {name: value for name, value in reversed(values)}
    colors = [(first[name] >> 16, first[name] >> 8 & 255, first[name] & 255) for name in names] if by_color else None
    return ClassValues(names, colors, *_ignoring(table, names, ignore, by_color))


def _ignoring(table: np.ndarray, names: list[str], ignore: Any, by_color: bool) -> tuple[np.ndarray, str]:
    if ignore == OTHERS:
        return np.where(table == _UNKNOWN, np.uint16(IGNORE), table), "all others"
    given = [] if ignore is None else ignore
    if not isinstance(given, (list, tuple)) or (by_color and _is_color(given)):
        given = [given]
    values = [_color(value, "ignore") if by_color else _id(value, "ignore") for value in given]
    if ignore is None and not by_color and table[IGNORE] == _UNKNOWN:
        values = [IGNORE]
    if values and max(values) >= len(table):
        table = np.concatenate([table, np.full(max(values) + 1 - len(table), _UNKNOWN, np.uint16)])
    for value in values:
        if table[value] < IGNORE:
            shown = _hex(value) if by_color else value
            message = f"`ignore` holds {shown}, which `classes` gives to {names[table[value]]}: leave one of them out"
            raise UserValueError(message)
        table[value] = IGNORE
    return table, ", ".join(_hex(value) if by_color else str(value) for value in values)


def _refusal(classes: Any) -> str:
    return f"Expected argument `classes` to be {EXPECTED}, but got {classes!r}"


def _by_id(classes: Mapping[Any, Any]) -> list[tuple[str, int]]:
    found = []
    for key, name in classes.items():
        if isinstance(name, (Mapping, list, tuple)) or name is None:
            raise UserValueError(_refusal(dict(classes)))
        found.append((str(name), _id(key, "classes")))
    return sorted(found, key=lambda each: each[1])


def _id(value: Any, argument: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if not 0 <= number <= _LARGEST_ID or isinstance(value, bool):
        expected = EXPECTED if argument == "classes" else f"ids, a list of them, or {OTHERS!r}"
        message = f"Expected argument `{argument}` to be {expected}, with ids in 0 … {_LARGEST_ID}, but got {value!r}"
        raise UserValueError(message)
    return number


def _by_color(classes: Mapping[Any, Any]) -> list[tuple[str, int]]:
    found = []
    for name, given in classes.items():
        found += [(str(name), _color(color, "classes", name)) for color in (given if _are_colors(given) else [given])]
    return found


def _is_color(value: Any) -> bool:
    """Whether a value is meant as a color; `_color` checks whether it is valid."""
    if isinstance(value, str):
        return value.startswith("#") and bool(_HEX.fullmatch(value))
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(part, int) for part in value)


def _are_colors(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_color, value))


def _color(value: Any, argument: str, name: Any = None) -> int:
    if isinstance(value, str) and (found := _HEX.fullmatch(value)):
        return int(found[1], 16)
    parts = list(value) if isinstance(value, (list, tuple)) else []
    if len(parts) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in parts):
        return _pack_one((parts[0], parts[1], parts[2]))
    of = f" of {name!r}" if name is not None else ""
    message = f"Expected a color{of} in `{argument}` such as '#804080' or [128, 64, 128], but got {value!r}"
    raise UserValueError(message)


def _from_file(given: str, root: Path) -> Any:
    """The classes that a file lists."""
    places = [at_home(given), root / given]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        looked = " and ".join(str(place.absolute()) for place in dict.fromkeys(places))
        message = f"`classes` is {given!r}, which is not a file: looked for {looked}. Expected {EXPECTED}"
        raise UserFileNotFoundError(message)
    text = read_text(path)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        content = read_yaml(text, str(path))
        if isinstance(content, Mapping):
            return content.get("names", content.get("classes", content))
        return content
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        message = f"{path} names no classes. Expected {EXPECTED}"
        raise UserValueError(message)
    head = [cell.strip().lower() for cell in next(csv.reader([lines[0]], delimiter=max(",;\t", key=lines[0].count)))]
    if {"r", "g", "b"} <= set(head):
        return _color_columns(path, lines, head)
    if all(re.fullmatch(r"[^:]+:\d+,\d+,\d+.*", line) for line in lines):  # CVAT's labelmap.txt
        return {line.split(":")[0]: [int(part) for part in line.split(":")[1].split(",")] for line in lines}
    return lines


def _color_columns(path: Path, lines: list[str], head: list[str]) -> dict[str, list[int]]:
    named = next((name for name in ("name", "class", "label", "class_name") if name in head), None)
    if named is None:
        message = f"{path}: expected the columns name,r,g,b, but its first line is {lines[0]!r}"
        raise UserValueError(message)
    found = {}
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=max(",;\t", key=lines[0].count)), 2):
        row = dict(zip(head, (cell.strip() for cell in cells), strict=False))
        if len(cells) < len(head) or not all(row[part].isdigit() for part in "rgb"):
            message = (
                f"{path}, line {number}: expected {','.join(head)} with numbers 0 … 255, but got {lines[number - 1]!r}"
            )
            raise UserValueError(message)
        found[row[named]] = [int(row[part]) for part in "rgb"]
    return found


def _pack(colors: np.ndarray) -> np.ndarray:
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _pack_one(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _hex(value: int) -> str:
    return f"#{value:06x}"


def _counted(values: np.ndarray, colors: bool) -> str:
    """The most frequent values, each with its number of pixels."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_SHOWN]
    shown = ", ".join(
        f"{_hex(int(found[at])) if colors else int(found[at])} ({counts[at]} pixels)" for at in order.tolist()
    )
    return shown + (f", … ({len(found)} in all)" if len(found) > _SHOWN else "")


def _ids(table: np.ndarray, names: list[str]) -> str:
    ids = [f"{value} {names[table[value]]}" for value in np.flatnonzero(table < IGNORE).tolist()]
    return ", ".join(ids[:30]) + (", …" if len(ids) > 30 else "")
