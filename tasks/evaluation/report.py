"""What a test found: rows of scores, once for the terminal, the CSV file, the loggers and `results.json`."""

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
    """How a score is shown to people; files hold it as it is.

    Args:
        heading: Of its column, with the unit.
        factor: What it is multiplied by: 100 for percent.
        digits: Behind the point.
    """

    heading: str
    factor: float = 1
    digits: int = 3

    def text(self, value: float) -> str:
        """The score, or a dash where there is none."""
        return "–" if math.isnan(value) else f"{self.factor * value:.{self.digits}f}"


@dataclass(frozen=True)
class ReportRow:
    """The scores of one part of a test: of one evaluator, one region, one range of hole ratios.

    Args:
        labels: What they are of, a value for each of the report's `labels`; None where one does not apply.
        scores: By name; NaN where nothing was counted.
        per_class: Name to one score per class; NaN for a class that was neither there nor predicted.
        name: Of the row in loggers and `results.json`, `regular` or `border_tile1024/leave_0.500`; may be empty.
    """

    labels: tuple[Any, ...]
    scores: Mapping[str, float]
    per_class: Mapping[str, Sequence[float]] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Report:
    """The results of a test. A task of your own may leave one in its `report`: it is then printed and written.

    Args:
        rows: In the order in which they are told.
        class_names: As many as there are scores per class.

    Attributes:
        file: The CSV file's name, without its ending.
        title: What stands above the table.
        labels: Names of the rows' labels: the first columns of the CSV file.
        heads: What stands above these in the table; the names themselves when not given.
        scales: How scores are shown, by name; the others are shown as they are, under their names.

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
        """Of all scores, in the order in which they first come."""
        return list(dict.fromkeys(name for row in self.rows for name in row.scores))

    def scalars(self, prefix: str = "", per_class: bool = False) -> dict[str, float]:
        """Named numbers, for loggers and `results.json`.

        Args:
            prefix: Put in front of each name: `test/`.
            per_class: Also `NAME/<class>` of scores per class.

        Returns:
            `regular/mIoU`, `regular/accuracy`, …, NaN included.
        """
        found: dict[str, float] = {}
        for row in self.rows:
            head = prefix + (f"{row.name}/" if row.name else "")
            found |= {f"{head}{name}": value for name, value in row.scores.items()}
            # A row that has nothing else is told by these in any case.
            for name, values in row.per_class.items() if per_class or not row.scores else ():
                found |= {f"{head}{name}/{key}": value for key, value in zip(self.class_names, values, strict=True)}
        return found

    def table(self, title: str | None = None) -> Table:
        """A row for each part, a column for each score, in the units of `scales`."""
        headings = [self.scales[name].heading if name in self.scales else name for name in self.names]
        told = [row for row in self.rows if row.scores]
        rows = [[*map(_label, row.labels), *(self._text(row, name) for name in self.names)] for row in told]
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
        """All that is printed."""
        return [self.table()]

    def write_csv(self, path: Path) -> Path:
        """Write everything: labels, scores, and those per class as `NAME_<class>`.

        Args:
            path: The file; folders are made. All digits; empty where there is no value.

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
        """Draw what there is to draw, if anything.

        Args:
            folder: The run's log folder.

        Returns:
            What each picture shows, and where it is.

        Raises:
            ModuleNotFoundError: matplotlib is missing.
        """
        return {}


def shown(value: float) -> str:
    """A metric for people to read: four decimals, or four digits of a number that these would not tell from others.

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
