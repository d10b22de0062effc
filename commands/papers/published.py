"""The papers' tables and figures as they print them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from pcpad.errors import UserValueError, did_you_mean

__all__ = [
    "Form",
    "PublishedFigure",
    "PublishedLine",
    "PublishedTable",
    "find",
    "number",
    "published_figures",
    "published_tables",
]

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class PublishedLine:
    """A row of a table.

    Args:
        names: What stands in front of it, as many texts as the table has heads.
        cells: As printed, as many as the table has columns.
    """

    names: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class PublishedTable:
    """A table of one of the papers.

    Args:
        name: `2018:T2`.
        title: What it shows, and in which unit.
        kind: How ours is made, a key of `measured.KINDS`.
        heads: Above the rows' names.
        columns: Above the cells.
        lines: Its rows.
        networks: What its rows call a network to what this suite's results call it.
        setup: What the paper says of `data`, `schedule` and `runs`.
        notes: What a reader has to know.
    """

    name: str
    title: str
    kind: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[PublishedLine, ...]
    networks: Mapping[str, str]
    setup: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of one of the papers.

    Args:
        name: `2018:F3`.
        title: What it shows.
        drawn: How it is drawn, a key of `drawing.DRAWN`.
    """

    name: str
    title: str
    drawn: str


@cache
def _content() -> Any:
    text = (files("pcpad.commands.papers") / "published.yaml").read_text(encoding="utf-8")
    # A file of our own. This loader makes texts of everything: 73.610 keeps its last digit.
    return yaml.load(text, Loader=yaml.BaseLoader)


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Every table by name, in the papers' order."""
    return {name: _table(name, found) for name, found in _content()["tables"].items()}


def _table(name: str, found: Mapping[str, Any]) -> PublishedTable:
    heads = tuple(found["heads"])
    lines = [PublishedLine(tuple(row[: len(heads)]), tuple(row[len(heads) :])) for row in found["rows"]]
    return PublishedTable(
        name=name,
        title=found["title"],
        kind=found["kind"],
        heads=heads,
        columns=tuple(found["columns"]),
        lines=tuple(lines),
        networks=found["networks"],
        setup=found["setup"],
        notes=tuple(found.get("notes", ())),
    )


@cache
def published_figures() -> Mapping[str, PublishedFigure]:
    """Every figure by name, in the papers' order."""
    return {
        name: PublishedFigure(name, found["title"], found["drawn"]) for name, found in _content()["figures"].items()
    }


def find(name: str) -> str:
    """The name of a table or figure as it is written here.

    Args:
        name: As typed, `2018:t2`, say.

    Raises:
        UserValueError: There is none of that name.
    """
    names = dict.fromkeys([*published_tables(), *published_figures()])
    word = name.upper().replace(" ", "")
    if word in names:
        return word
    hint = did_you_mean(word, names, most=3)
    message = f"The papers have no {name!r}: expected 2018:T2, 2022:F9 and the like.{hint} `pcpad paper list` has all."
    raise UserValueError(message)


def number(text: str) -> float | None:
    """The first number in a printed cell, `%81.8` or `104.06%` say; None where it has none.

    Example:
        >>> number("%81.8"), number("-0.225"), number("-")
        (81.8, -0.225, None)
    """
    found = _NUMBER.search(text)
    return float(found[0]) if found else None


def _usual_digits(texts: Sequence[str]) -> int:
    """How many digits most have behind the point; of equally many the larger number."""
    counts = Counter(len(text.partition(".")[2].partition("%")[0]) for text in texts)
    return max(counts, key=lambda digits: (counts[digits], digits))


@dataclass(frozen=True)
class Form:
    """How the cells of a column are printed.

    Args:
        digits: Behind the point; of each number of a cell, which a slash separates.
        before: What stands in front of a number, a percent sign say.
        behind: What stands behind it.

    Example:
        >>> Form.of(["-", "%81.8", "%100"]).text(94.74), Form.of(["76.13/0", "72.79/-3.33"]).text(75.5, -0.504)
        ('%94.7', '75.50/-0.50')
    """

    digits: tuple[int, ...] = (3,)
    before: str = ""
    behind: str = ""

    @classmethod
    def of(cls, cells: Sequence[str]) -> Form:
        """How these cells are printed."""
        printed = [cell.split("/") for cell in cells if number(cell) is not None]
        if not printed:
            return cls()
        parts = zip(*printed, strict=True)
        digits = tuple(_usual_digits(column) for column in parts)
        first = _NUMBER.split(printed[0][0])
        return cls(digits, first[0], first[-1])

    def text(self, *values: float) -> str:
        """Numbers, printed so: with more digits where these would be zeros."""
        found = []
        for digits, value in zip(self.digits, values, strict=True):
            near = 0 < abs(value) < 0.5 * 10**-digits and digits > 3
            text = f"{value:.3g}" if near else f"{value:.{digits}f}"
            found.append(text if float(text) != 0 else text.lstrip("-"))
        return self.before + "/".join(found) + self.behind
