"""A table once: for the terminal, for Markdown, and as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcpad.files import whole_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = ["Table", "write_csv"]


@dataclass(frozen=True)
class Table:
    """Texts in rows, with a title above and notes below.

    Args:
        title: What it shows, and in which unit; may be empty.
        columns: Their headings.
        rows: As many texts each as there are columns.
        notes: Sentences below.
        details: Where the columns begin and end that a narrow terminal can do without.
        texts: How many columns from the left hold words; the others hold numbers.
        details_are: Where the columns left out are to be found, for the note that then stands below.
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
        """For a terminal.

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

        title = Text(self.title, "table.title") if self.title else None
        caption = Text("\n".join(notes), "table.caption") if notes else None
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
                table.add_column(Text(column), justify="left" if words else "right", no_wrap=whole)
        for row in self.rows:
            table.add_row(*(Text(cell) for index, cell in enumerate(row) if index not in hidden))
        return table

    def markdown(self) -> str:
        """A section of a Markdown document."""
        rule = "|" + "---|" * self.texts + "---:|" * (len(self.columns) - self.texts)
        lines = [_line(self.columns), rule, *map(_line, self.rows)]
        head = [f"## {self.title}", ""] if self.title else []
        return "\n".join([*head, *lines, "", *(f"{note}  " for note in self.notes)]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> Path:
    """Write rows with all digits, whole or not at all.

    Args:
        path: The file; folders on the way are made.
        columns: Their names, in order.
        rows: Column to value, or values in the columns' order; fewer leave the last columns empty. None is written as
            nothing, a float with all its digits, NaN as `nan`.

    Returns:
        The path.
    """
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([row.get(name) for name in columns] if isinstance(row, Mapping) else row)
    return path
