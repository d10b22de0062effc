"""Segmentation scores by evaluator and border region, and their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from pcpad.errors import UserValueError
from pcpad.tables import Table
from pcpad.tasks.evaluation.report import Report, ReportRow, Scale, shown
from pcpad.tasks.pictures.plots import curve_style, figure_text, new_figure, save_figure

__all__ = ["EvaluationReport", "plot_leave_out", "segmentation_row"]


def segmentation_row(evaluation: str, leave_out: Fraction | None, scores: Mapping[str, Tensor]) -> ReportRow:
    """Create a row from the results of `pcpad.metrics.confusion.segmentation_scores`.

    Args:
        evaluation: The evaluator's name.
        leave_out: The fraction left out; None without regions.
        scores: `mIoU`, `accuracy`, `class_accuracy`, and `IoU` per class.

    Returns:
        The row, named like `regular` or `border_tile1024/leave_0.500`.
    """
    name = evaluation if leave_out is None else f"{evaluation}/leave_{float(leave_out):.3f}"
    iou = scores["IoU"].reshape(-1).tolist()  # torchmetrics converts one-element tensors to numbers
    means = {key: float(scores[key]) for key in ("mIoU", "accuracy", "class_accuracy")}
    return ReportRow((evaluation, leave_out), means, {"IoU": iou}, name)


class EvaluationReport(Report):
    """The results of a segmentation test: one row per evaluator and region."""

    file = "evaluation"
    title = "evaluation"
    labels = ("evaluation", "leave_out")
    heads = ("evaluation", "leave-out")
    scales = {  # noqa: RUF012  # a ClassVar in the base
        "mIoU": Scale("mIoU %", 100),
        "accuracy": Scale("pixel accuracy %", 100),
        "class_accuracy": Scale("class accuracy %", 100),
    }

    def class_table(self, title: str = "") -> Table:
        """IoU per class in percent, with one column per evaluator without regions; other metrics unscaled."""
        columns = [(row, name) for row in self.rows if row.labels[1] is None for name in row.per_class]
        lines = [
            [key, *(self._class_text(name, row.per_class[name][index]) for row, name in columns)]
            for index, key in enumerate(self.class_names)
        ]
        return Table(title, ["class", *(row.labels[0] for row, _ in columns)], lines)

    def _class_text(self, name: str, value: float) -> str:
        return self.scales["mIoU"].text(value) if name == "IoU" else shown(value)

    def tables(self) -> list[Table]:
        """The scores, and the IoU per class."""
        others = any(name != "IoU" for row in self.rows for name in row.per_class)
        return [self.table(), self.class_table("by class; IoU in percent" if others else "IoU by class, in percent")]

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """By evaluator with regions: increasing leave-out fractions, and their mIoU."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        regions = (row for row in self.rows if row.labels[1] is not None and "mIoU" in row.scores)
        for row in sorted(regions, key=lambda row: row.labels[1]):
            fractions, values = found.setdefault(row.labels[0], ([], []))
            fractions.append(float(row.labels[1]))
            values.append(row.scores["mIoU"])
        return found

    def draw(self, folder: Path) -> dict[str, Path]:
        """Draw `leave_out.png` if there are regions."""
        curves = self.curves()
        if not curves:
            return {}
        return {"mIoU against the fraction left out": plot_leave_out(curves, folder / "leave_out.png")}


def plot_leave_out(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path) -> Path:
    """Plot mIoU against the fraction left out, one line per curve; curves of several checkpoints compare paddings.

    Args:
        curves: By name: fractions in [0, 1), and mIoU in [0, 1]. A name that ends with the name of a padding, such as
            `trained with partial`, gives the curve that padding's color.
        path: The picture, in any format that matplotlib writes; parent folders are created.

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
        axes.plot(fractions, [100 * value for value in values], label=figure_text(name), **curve_style(name, place))
    ticks = sorted({fraction for fractions, _ in curves.values() for fraction in fractions})
    axes.set_xticks(ticks, [str(Fraction(tick).limit_denominator(64)) for tick in ticks])
    axes.set_xlabel("side of the center left out, as a fraction of the image's")
    axes.set_ylabel("mIoU (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    return save_figure(figure, Path(path))
