"""Segmentation scores as names, a table, a CSV file and a plot."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rich.table import Table
from torch import Tensor

from pcpad.errors import UserValueError
from pcpad.files import whole_file
from pcpad.tasks.pictures.plots import curve_style, new_figure, save_figure

__all__ = ["EvaluationReport", "Row", "plot_leave_out"]


@dataclass(frozen=True)
class Row:
    """What one evaluator found, for one region.

    Args:
        evaluation: The evaluator's name.
        leave_out: The fraction left out; None without regions.
        mean_iou: In [0, 1], as are the others; NaN where nothing was counted.
        accuracy: Of all pixels.
        class_accuracy: Mean over the classes.
        iou: By class; NaN for a class that is in neither truth nor prediction.
    """

    evaluation: str
    leave_out: Fraction | None
    mean_iou: float
    accuracy: float
    class_accuracy: float
    iou: tuple[float, ...]

    @classmethod
    def of(cls, evaluation: str, leave_out: Fraction | None, scores: Mapping[str, Tensor]) -> Row:
        """From what `pcpad.metrics.confusion.segmentation_scores` returns."""
        iou = scores["IoU"].reshape(-1).tolist()  # torchmetrics makes numbers of one-element tensors
        means = [float(scores[name]) for name in ("mIoU", "accuracy", "class_accuracy")]
        return cls(evaluation, leave_out, means[0], means[1], means[2], tuple(iou))

    @property
    def name(self) -> str:
        """Such as `regular` or `border_tile1024/leave_0.500`."""
        return self.evaluation if self.leave_out is None else f"{self.evaluation}/leave_{float(self.leave_out):.3f}"


@dataclass(frozen=True)
class EvaluationReport:
    """The results of a test.

    Args:
        rows: In the order of the evaluators.
        class_names: As many as each row has per-class values.
    """

    rows: Sequence[Row]
    class_names: Sequence[str]

    def scalars(self, prefix: str = "", per_class: bool = False) -> dict[str, float]:
        """Named numbers, for loggers.

        Args:
            prefix: Put in front of each name: `test/`.
            per_class: Also `IoU/<class>`.

        Returns:
            `regular/mIoU`, `regular/accuracy`, `regular/class_accuracy`, …, fractions in [0, 1], NaN included.
        """
        found: dict[str, float] = {}
        for row in self.rows:
            name = prefix + row.name
            found[f"{name}/mIoU"] = row.mean_iou
            found[f"{name}/accuracy"] = row.accuracy
            found[f"{name}/class_accuracy"] = row.class_accuracy
            if per_class:
                found |= {f"{name}/IoU/{key}": value for key, value in zip(self.class_names, row.iou, strict=True)}
        return found

    def table(self, title: str | None = None) -> Table:
        """For the terminal, in percent as the papers' tables; a row for each evaluator and region."""
        table = Table("evaluation", "leave-out", title=title, title_justify="left")
        for column in ("mIoU %", "pixel accuracy %", "class accuracy %"):
            table.add_column(column, justify="right")
        for row in self.rows:
            out = "" if row.leave_out is None else str(row.leave_out)
            table.add_row(row.evaluation, out, *map(_percent, (row.mean_iou, row.accuracy, row.class_accuracy)))
        return table

    def class_table(self, title: str | None = None) -> Table:
        """IoU of each class in percent, a column for each evaluator without regions."""
        rows = [row for row in self.rows if row.leave_out is None]
        table = Table("class", title=title, title_justify="left")
        for row in rows:
            table.add_column(row.evaluation, justify="right")
        for index, name in enumerate(self.class_names):
            table.add_row(name, *(_percent(row.iou[index]) for row in rows))
        return table

    def write_csv(self, path: str | Path) -> Path:
        """Write everything: `evaluation, leave_out, mIoU, accuracy, class_accuracy, IoU_<class>, …`.

        Args:
            path: The file; folders are made. Fractions with all digits; empty where there is no value.

        Returns:
            The path.
        """
        path = Path(path)
        with whole_file(path) as file:
            writer = csv.writer(file)
            classes = [f"IoU_{name}" for name in self.class_names]
            writer.writerow(["evaluation", "leave_out", "mIoU", "accuracy", "class_accuracy", *classes])
            for row in self.rows:
                values = (row.mean_iou, row.accuracy, row.class_accuracy, *row.iou)
                cells = ["" if math.isnan(value) else repr(value) for value in values]
                out = "" if row.leave_out is None else repr(float(row.leave_out))
                writer.writerow([row.evaluation, out, *cells])
        return path

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """By evaluator with regions: the leave-out fractions, rising, and the mIoU of each."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for row in sorted((row for row in self.rows if row.leave_out is not None), key=lambda row: row.leave_out or 0):
            fractions, values = found.setdefault(row.evaluation, ([], []))
            fractions.append(float(row.leave_out or 0))
            values.append(row.mean_iou)
        return found


def plot_leave_out(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path) -> Path:
    """Draw mIoU against the fraction left out, a line a curve; curves of several checkpoints compare paddings.

    Args:
        curves: By name: fractions in [0, 1), and mIoU in [0, 1]. A name that ends with a padding's, such as
            `trained with partial`, gives the curve that padding's color.
        path: The picture, of any format that matplotlib writes; folders are made.

    Returns:
        The path.

    Raises:
        ValueError: There is no curve.
        ModuleNotFoundError: matplotlib is missing.
    """
    if not curves:
        message = "There is no curve to draw: add a Border evaluator (--eval+=Border)"
        raise UserValueError(message)
    figure, grid = new_figure(1, 1, (6, 4))
    axes = grid[0, 0]
    for place, (name, (fractions, values)) in enumerate(curves.items()):
        axes.plot(fractions, [100 * value for value in values], label=name, **curve_style(name, place))
    ticks = sorted({fraction for fractions, _ in curves.values() for fraction in fractions})
    axes.set_xticks(ticks, [str(Fraction(tick).limit_denominator(64)) for tick in ticks])
    axes.set_xlabel("side of the middle left out, as a fraction of the image's")
    axes.set_ylabel("mIoU (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    return save_figure(figure, Path(path))


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.3f}"
