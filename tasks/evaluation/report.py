"""Test results as rows of scores, for the terminal, the CSV file, the loggers and `results.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pcpad.tables import Table, write_csv

__all__ = ["Report", "ReportRow", "Scale", "shown"]


@dataclass(frozen=True)
class Scale:
    """How to display a score; files hold the raw value.

    Args:
        heading: Heading of its column, with the unit.
        factor: Factor for display: 100 for percent.
        digits: Decimals.
    """

    heading: str
    factor: float = 1
    digits: int = 3

    def text(self, value: float) -> str:
        """The score as text, or a dash if there is none."""
        return "–" if math.isnan(value) else f"{self.factor * value:.{self.digits}f}"


@dataclass(frozen=True)
class ReportRow:
    """The scores of one part of a test: one evaluator, one region, or one range of hole ratios.

    Args:
        labels: One value for each of the report's `labels`; None if a label does not apply.
        scores: By name; NaN if nothing was counted.
        per_class: By name, one score per class; NaN for a class that was neither present nor predicted.
        name: The row's name in loggers and `results.json`, `regular` or `border_tile1024/leave_0.500`; may be empty.
    """

    labels: tuple[Any, ...]
    scores: Mapping[str, float]
    per_class: Mapping[str, Sequence[float]] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Report:
    """The results of a test. A custom task may set one as its `report`, which is then printed and written.

    Args:
        rows: The rows in order.
        class_names: Names for the scores per class.

    Attributes:
        file: The CSV file's name, without extension.
        title: The table's title.
        labels: Names of the rows' labels: the first columns of the CSV file.
        heads: Headings of these columns in the table; by default the names.
        scales: How to display scores, by name; other scores are displayed unscaled, under their names.

    Example:
        >>> report = Report([ReportRow(("all",), {"accuracy": 0.5})])
        >>> report.scalars("test/"), report.tables()[0].rows
        ({'test/accuracy': 0.5}, [['all', '0.5000']])
    """

    rows: Sequence[ReportRow]
    class_names: Sequence[str] = ()

    file: ClassVar[str] = "report"
    title: ClassVar[str] = "test"
    labels: ClassVar[tuple[str, ...]] = ("part",)
    heads: ClassVar[tuple[str, ...]] = ()
    scales: ClassVar[Mapping[str, Scale]] = {}

    @property
    def names(self) -> list[str]:
        """The names of all scores, in order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.scores))

    def scalars(self, prefix: str = "", per_class: bool = False) -> dict[str, float]:
        """Named numbers, for loggers and `results.json`.

        Args:
            prefix: Prefix of each name: `test/`.
            per_class: Whether to include scores per class as `NAME/<class>`.

        Returns:
            `regular/mIoU`, `regular/accuracy`, …, NaN included.
        """
        found: dict[str, float] = {}
        for row in self.rows:
            head = prefix + (f"{row.name}/" if row.name else "")
            found |= {f"{head}{name}": value for name, value in row.scores.items()}
            # Always included if the row has no other scores.
            for name, values in row.per_class.items() if per_class or not row.scores else ():
                found |= {f"{head}{name}/{key}": value for key, value in zip(self.class_names, values, strict=True)}
        return found

    def table(self, title: str | None = None) -> Table:
        """One row per part and one column per score, in the units of `scales`."""
        headings = [self.scales[name].heading if name in self.scales else name for name in self.names]
        scored = [row for row in self.rows if row.scores]
        rows = [[*map(_label, row.labels), *(self._text(row, name) for name in self.names)] for row in scored]
        heads = self.heads or self.labels
        return Table(self.title if title is None else title, [*heads, *headings], rows, texts=len(heads))

    def _text(self, row: ReportRow, name: str) -> str:
        if name not in row.scores:
            return ""
        scale, value = self.scales.get(name), row.scores[name]
        if scale is not None:
            return scale.text(value)
        return "–" if math.isnan(value) else shown(value)

    def tables(self) -> list[Table]:
        """All tables to print."""
        return [self.table()]

    def write_csv(self, path: Path) -> Path:
        """Write labels, scores, and scores per class as `NAME_<class>`.

        Args:
            path: The file; parent folders are created. Numbers have all digits; missing values are empty.

        Returns:
            The path.
        """
        per_class = list(dict.fromkeys(name for row in self.rows for name in row.per_class))
        columns = [*self.labels, *self.names, *(f"{name}_{key}" for name in per_class for key in self.class_names)]
        nothing = [math.nan] * len(self.class_names)
        rows = []
        for row in self.rows:
            values = [row.scores.get(name, math.nan) for name in self.names]
            values += [value for name in per_class for value in row.per_class.get(name, nothing)]
            rows.append([*map(_cell, row.labels), *(None if math.isnan(value) else value for value in values)])
        return write_csv(path, columns, rows)

    def draw(self, folder: Path) -> dict[str, Path]:
        """Draw the report's pictures, if any.

        Args:
            folder: The run's log folder.

        Returns:
            Descriptions of the pictures, with their paths.

        Raises:
            ModuleNotFoundError: matplotlib is missing.
        """
        return {}


def shown(value: float) -> str:
    """A metric as readable text: with four decimals, or with four significant digits if it is below 0.01.

    Args:
        value: Any number.

    Returns:
        `0.9917` for an accuracy, `0.0004192` for the mean squared error of images in [0, 1].
    """
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.4g}"


def _label(label: Any) -> str:
    return "" if label is None else str(label)


def _cell(label: Any) -> Any:
    return float(label) if hasattr(label, "numerator") and not isinstance(label, int) else label
