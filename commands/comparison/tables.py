"""A table once, for the terminal and for Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from pcpad.commands.comparison.files import write_whole


@dataclass(frozen=True)
class Table:
    """Texts in rows, with a title above and notes below.

    Args:
        title: What it shows, and in which unit.
        columns: Their headings; the first is text, the others are numbers.
        rows: As many texts each as there are columns.
        notes: Sentences below.
        details: Where the columns begin and end that a narrow terminal can do without.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)
    details: tuple[int, int] = (0, 0)

    def rich(self, console: Console) -> RichTable:
        """For a terminal, without its details where it is too narrow for them."""
        whole = self._rich(set(), self.notes)
        if whole.__rich_measure__(console, console.options.update(max_width=10_000)).maximum <= console.width:
            return whole
        hidden = set(range(*self.details))
        return self._rich(hidden, [*self.notes, "Single runs are in report.md."] if hidden else self.notes)

    def _rich(self, hidden: set[int], notes: Sequence[str]) -> RichTable:
        caption = "\n".join(notes) or None
        table = RichTable(title=self.title, title_justify="left", caption=caption, caption_justify="left")
        for index, column in enumerate(self.columns):
            if index not in hidden:
                table.add_column(column, justify="right" if index else "left", no_wrap=not index)
        for row in self.rows:
            table.add_row(*(cell for index, cell in enumerate(row) if index not in hidden))
        return table

    def markdown(self) -> str:
        """A section of a Markdown document."""
        lines = [_row(self.columns), "|---|" + "---:|" * (len(self.columns) - 1), *map(_row, self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, "", *(f"{note}  " for note in self.notes)]).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows with all digits.

    Args:
        path: The file.
        rows: Column to value; None is written as nothing, a missing number as `nan`.
        columns: In order.

    Returns:
        The path.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, text.getvalue())
