"""One table for the terminal, for Markdown, and for CSV files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pcpad.files import whole_file
from pcpad.terminal import for_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = ["Table", "as_markdown", "as_typed", "safe_cell", "safe_path", "write_csv"]

# What spreadsheets take for the start of a formula; in some languages full-width signs too. A number is no formula.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
_ROW_END = "\r\n"
# What starts something in Markdown, or in HTML in it. A backslash counts where it would hide what follows.
_MARKED = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[`*|]|~~|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<=\])[(\[:]|(?<![^\W_])_|_(?![^\W_])|\A(#|>|[-+](?=\s))"
)


@dataclass(frozen=True)
class Table:
    """Texts in rows, with a title above and notes below.

    Args:
        title: What it shows, and in which unit; may be empty.
        columns: Their headings.
        rows: As many texts each as there are columns.
        notes: Sentences below.
        details: The first and last of the columns that are left out in a narrow terminal.
        texts: How many columns from the left hold words; the others hold numbers.
        details_are: Where to find the columns left out, for the note that is then printed below.
        frame: Draw lines around the cells in a terminal. Without, columns of numbers are never wrapped.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)
    details: tuple[int, int] = (0, 0)
    texts: int = 1
    details_are: str = ""
    frame: bool = True

    def rich(self, console: Console | None = None) -> RichTable:
        """The table for a terminal.

        Args:
            console: Where it will be printed: without its details where that is too narrow for them.

        Returns:
            What `Console.print` takes. Nothing in it is read as markup.
        """
        whole = self._rich(set(), self.notes)
        hidden = set(range(*self.details))
        if console is None or not hidden:
            return whole
        if whole.__rich_measure__(console, console.options.update(max_width=10_000)).maximum <= console.width:
            return whole
        return self._rich(hidden, [*self.notes, self.details_are] if self.details_are else self.notes)

    def _rich(self, hidden: set[int], notes: Sequence[str]) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        def _cell(text: str) -> Text:
            return Text(for_terminal(text, lines=False))

        title = Text(for_terminal(self.title), "table.title") if self.title else None
        caption = Text(for_terminal("\n".join(notes)), "table.caption") if notes else None
        table = RichTable(
            title=title,
            title_justify="left",
            caption=caption,
            caption_justify="left",
            box=box.HEAVY_HEAD if self.frame else None,
            pad_edge=self.frame,
        )
        for index, column in enumerate(self.columns):
            if index not in hidden:
                words = index < self.texts
                whole = not index or not (words or self.frame)
                table.add_column(_cell(column), justify="left" if words else "right", no_wrap=whole)
        for row in self.rows:
            table.add_row(*(_cell(cell) for index, cell in enumerate(row) if index not in hidden))
        return table

    def markdown(self) -> str:
        """A section of a Markdown document."""
        rule = "|" + "---|" * self.texts + "---:|" * (len(self.columns) - self.texts)
        lines = [_line(self.columns), rule, *map(_line, self.rows)]
        head = [f"## {as_markdown(self.title)}", ""] if self.title else []
        return "\n".join([*head, *lines, "", *(f"{as_markdown(note)}  " for note in self.notes)]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(as_markdown, cells)) + " |"


def as_markdown(text: str) -> str:
    r"""Escape a text for Markdown: nothing in it ends a table cell, or becomes emphasis, a link or HTML.

    Args:
        text: One line; line feeds in it are shown as `\n`.

    Returns:
        The same with backslashes and entities where they are needed.

    Example:
        >>> as_markdown("a|b <img src=x> [c](d) e_f *g*")
        'a\\|b &lt;img src=x> [c]\\(d) e_f \\*g\\*'
    """
    entities = {"<": "&lt;", "&": "&amp;"}
    return _MARKED.sub(lambda found: entities.get(found[0], f"\\{found[0]}"), for_terminal(text, lines=False))


def safe_cell(value: Any) -> Any:
    """A CSV file's cell that no spreadsheet takes for a formula.

    Args:
        value: Anything; numbers, and texts that are numbers, stay as they are.

    Returns:
        The value; a text that begins with `=`, `+`, `-`, `@`, a tab or a line's end gets an apostrophe in front; see
        `as_typed`.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def safe_path(path: str) -> str:
    """A path for a CSV file's cell that opens as written there.

    Args:
        path: Of a file.

    Returns:
        The path, with `./` in front of one that a spreadsheet would take for a formula.
    """
    return path if safe_cell(path) == path else f"./{path}"


def as_typed(cell: str) -> str:
    """Undo `safe_cell`, for reading a file back.

    Args:
        cell: As `csv` reads it.

    Returns:
        The text, without the apostrophe that keeps it from being a formula.

    Example:
        >>> as_typed("'=1+1"), as_typed("'tis"), as_typed("-1.5")
        ('=1+1', "'tis", '-1.5')
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any] | Sequence[Any]],
    *,
    for_people: bool = True,
) -> Path:
    """Write rows with all digits to a CSV file, completely or not at all.

    path: The file; missing folders are made.
        path: The file; folders on the way are made.
        columns: Their names, in order.
        rows: Column to value, or values in the columns' order; fewer leave the last columns empty. None is written as
            nothing, a float with all its digits, NaN as `nan`.
        for_people: Whether spreadsheets may open it, so that texts are `safe_cell`s. Otherwise they are written as they
            are, as formats of data sets ask for.

    Returns:
        The path.
    """
    with whole_file(path) as file:
        writer = csv.writer(_LineFeeds(file))
        kept = safe_cell if for_people else _unchanged
        writer.writerow(map(kept, columns))
        for row in rows:
            writer.writerow(map(kept, (row.get(name) for name in columns) if isinstance(row, Mapping) else row))
    return path


class _LineFeeds:
    """A file whose rows end in line feeds, for a `csv.writer` with its default line ends.

    With line feeds as its line ends, it would no longer put cells with a carriage return between quotes.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, row: str) -> int:
        return self.file.write(f"{row.removesuffix(_ROW_END)}\n")


def _unchanged(value: Any) -> Any:
    return value
