"""Check lists of videos as a whole: videos that are listed twice, implausible class numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.datasets.video_lists import VideoList, VideoRow
from pcpad.errors import UserValueError

__all__ = ["Listed", "check_numbers", "check_twice", "listed_rows"]

_SHOWN = 5
_LARGEST = 10_000  # class numbers up to this one are accepted


class Listed(NamedTuple):
    """A line of a list.

    Attributes:
        split: The split that the list is read for.
        path: The list.
        row: The line's content.
        official: Whether it is Kinetics' own table.
    """

    split: str
    path: Path
    row: VideoRow
    official: bool

    def __str__(self) -> str:
        return f"{self.path}, line {self.row.line} ({self.split}, class {self.row.label!r})"


def listed_rows(lists: Mapping[str, tuple[Path, VideoList]]) -> list[Listed]:
    """All lines of the lists of some splits, without lines of splits that a list is not read for."""
    return [
        Listed(split, path, row, found.official)
        for split, (path, found) in lists.items()
        for row in found.rows
        if row.split in (None, split)
    ]


def check_twice(rows: Sequence[Listed], place: Callable[[Listed], str]) -> None:
    """Refuse a list that gives one file two classes; report videos that are in two splits.

    Kinetics' own tables have a few such clips, which are only reported.

    Args:
        rows: The lines of all splits.
        place: Returns the path of a line's file.

    Raises:
        UserValueError: Two lines of a split contradict each other.
    """
    places = [place(one) for one in rows]
    contradicting = [(a, b) for a, b in _pairs(rows, places) if a.split == b.split and a.row.label != b.row.label]
    if contradicting:
        text = f"{len(contradicting)} videos are listed with two classes: {_lines(contradicting)}"
        if not all(a.official for a, _ in contradicting):
            message = f"{text}. Keep one line of each"
            raise UserValueError(message)
        rank_zero_warn(text)
    # For Kinetics' own tables by uploaded video: other parts of it show the same people and place.
    sources = [
        PurePosixPath(at).name.rsplit("_", 2)[0] if one.official else at for one, at in zip(rows, places, strict=True)
    ]
    shared = [(a, b) for a, b in _pairs(rows, sources) if a.split != b.split]
    if shared:
        rank_zero_warn(
            f"{len(shared)} videos are in two splits, so that scores include training videos: {_lines(shared)}"
        )


def _pairs(rows: Sequence[Listed], keys: Sequence[str]) -> Iterator[tuple[Listed, Listed]]:
    """Each line with the first line of the same key."""
    first: dict[str, Listed] = {}
    for one, key in zip(rows, keys, strict=True):
        other = first.setdefault(key, one)
        if other is not one:
            yield other, one


def _lines(pairs: Sequence[tuple[Listed, Listed]]) -> str:
    shown = "; ".join(f"{a.row.names[0]}: {a} and {b}" for a, b in pairs[:_SHOWN])
    return shown + (f"; … and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")


def check_numbers(rows: Sequence[Listed]) -> None:
    """Refuse class numbers that start at 1, which would leave class 0 without videos, or that are implausibly large.

    Args:
        rows: The lines of all splits; their labels are integers.

    Raises:
        UserValueError: Class numbers are refused.
    """
    least, most = min(rows, key=_number), max(rows, key=_number)
    classes = len({_number(one) for one in rows})
    if _number(least) == 1 and _number(most) == classes:
        message = (
            f"The classes are numbered from 1 to {classes}: {least} and {most}. Expected numbers from 0 to "
            f"{classes - 1}: class 0 would have no video. Subtract 1 in every line, or use names instead"
        )
        raise UserValueError(message)
    if _number(most) >= max(_LARGEST, 10 * classes):
        message = (
            f"{most} has the class number {most.row.label}, but there are {classes} classes: expected numbers "
            "from 0 on, or names"
        )
        raise UserValueError(message)
    if _number(least) > 0:
        rank_zero_warn(f"no video has class 0: the smallest class number is in {least}; classes are numbered from 0")


def _number(one: Listed) -> int:
    return int(one.row.label.lstrip("0")[:18] or "0")
