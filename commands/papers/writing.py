"""A paper's table with ours in it, as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from pcpad.commands.papers.lines import Line
from pcpad.commands.papers.measured import Cell
from pcpad.commands.papers.published import Form, PublishedTable
from pcpad.tables import Table, safe_cell
from pcpad.terminal import for_terminal

__all__ = ["FORMATS", "MISSING", "Beside"]

MISSING = "missing"
_LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"}
_LATEX |= {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
}


@dataclass(frozen=True)
class Beside:
    """A table of a paper and ours beside it.

    Args:
        table: The paper's.
        lines: Its rows, then those that are ours alone.
        cells: Ours of each row; empty where no run was given at all.
        notes: What stands below.
        left_out: Which of the paper's rows are not shown, and why; empty where all are.
    """

    table: PublishedTable
    lines: Sequence[Line]
    cells: Sequence[Sequence[Cell]]
    notes: Sequence[str]
    left_out: str = ""

    def texts(self) -> list[tuple[Line, Sequence[str], list[str]]]:
        """Each row with the paper's cells and ours, as they are written."""
        forms = [Form.of([line.cells[place] for line in self.table.lines]) for place in range(len(self.table.columns))]
        return [
            (
                line,
                line.published or [""] * len(forms),
                [_text(form, cell) for form, cell in zip(forms, cells, strict=False)],
            )
            for line, cells in zip(self.lines, self.cells or [[]] * len(self.lines), strict=True)
        ]

    def as_table(self) -> Table:
        """Two rows for each of the paper's, the second is ours; one for a row that is ours alone."""
        rows = []
        for line, published, ours in self.texts():
            heads = list(line.names)
            if line.published:
                rows.append([*heads, "paper", *published])
                heads = [""] * len(heads)
            if ours:
                rows.append([*heads, "ours", *ours])
        heads = [*self.table.heads, ""]
        title = f"{self.table.name}: {self.table.title}"
        notes = [*filter(None, [self.left_out]), *self.notes]
        return Table(title, [*heads, *self.table.columns], rows, notes, texts=len(heads))


def _text(form: Form, cell: Cell) -> str:
    if cell is None:
        return MISSING
    return cell if isinstance(cell, str) else form.text(*cell)


def _as_text(found: Sequence[Beside], width: int | None) -> str:
    console = Console(file=io.StringIO(), highlight=False, width=width or 240)
    for one in found:
        table = one.as_table()
        console.print(Table(table.title, table.columns, table.rows, texts=table.texts).rich(console))
        for note in table.notes:
            console.print(for_terminal(note, lines=False), markup=False, soft_wrap=True)
        console.print()
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _as_markdown(found: Sequence[Beside], width: int | None) -> str:
    return "\n".join(one.as_table().markdown() for one in found)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in for_terminal(text, lines=False))


def _as_latex(found: Sequence[Beside], width: int | None) -> str:
    """Tables for `booktabs`."""
    lines = ["% \\usepackage{booktabs}"]
    for one in found:
        table = one.as_table()
        columns = "l" * table.texts + "r" * (len(table.columns) - table.texts)
        lines += [
            r"\begin{table}",
            f"\\caption{{{_latex(table.title)}}}",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
        ]
        lines += [_latex_row(table.columns), r"\midrule", *map(_latex_row, table.rows)]
        lines += [r"\bottomrule", r"\end{tabular}", *(f"\n{_latex(note)}" for note in table.notes), r"\end{table}", ""]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket that begins a row would be read as an option of the row before.
    return " & ".join(f"{{{_latex(cell)}}}" if cell.startswith("[") else _latex(cell) for cell in cells) + r" \\"


def _as_csv(found: Sequence[Beside], width: int | None) -> str:
    """A row for each cell; `value` is ours with all its digits. Notes have no place in it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "row", "column", "published", "ours", "value"])
    for one in found:
        for (line, published, ours), cells in zip(one.texts(), one.cells or [[]] * len(one.lines), strict=True):
            for place, column in enumerate(one.table.columns):
                cell = cells[place] if cells else ""
                value = "/".join(map(repr, cell)) if isinstance(cell, tuple) else ""
                texts = [one.table.name, " | ".join(line.names), column, published[place], ours[place] if ours else ""]
                writer.writerow(map(safe_cell, [*texts, value]))
    return file.getvalue()


FORMATS: Mapping[str, Callable[[Sequence[Beside], int | None], str]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "latex": _as_latex,
    "csv": _as_csv,
}
