"""Scores of single samples, which a test collects if asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from pcpad.errors import UserValueError

__all__ = ["ItemScores", "of_each_image", "one_by_one"]

Columns = dict[str, list[Any]]


class ItemScores:
    """Collects the scores of each sample of a test, from `test_step`, and those of groups of samples, at the end.

    Example:
        >>> items = ItemScores()
        >>> items.add({"loss": [0.5, 2.0]})
        >>> items.take()
        {'loss': [0.5, 2.0]}
    """

    def __init__(self) -> None:
        self._columns: Columns | None = None
        self._groups: list[int] | None = None
        self.grouped: Columns = {}

    def add(self, scores: Mapping[str, Tensor | Sequence[Any]]) -> None:
        """Add the scores of a batch, in `test_step`.

        Args:
            scores: By name, one value per sample.

        Raises:
            UserValueError: The columns differ in length.
        """
        self._columns = _columns(scores)

    def belong_to(self, groups: Tensor) -> None:
        """Set the group of each sample of a batch, such as the video of a window.

        Args:
            groups: (N,) integers.
        """
        self._groups = groups.tolist()

    def add_groups(self, groups: Tensor, scores: Mapping[str, Tensor | Sequence[Any]]) -> None:
        """Add the scores of groups, at the end of the test.

        Args:
            groups: (G,) distinct integers.
            scores: By name, one value per group.
        """
        self.grouped = _columns({"group": groups, **scores})

    def take(self) -> Columns:
        """Return and clear the scores of this batch."""
        columns, self._columns = self._columns or {}, None
        return columns

    def take_groups(self) -> list[int]:
        """Return and clear the groups of this batch."""
        groups, self._groups = self._groups or [], None
        return groups


def _columns(scores: Mapping[str, Tensor | Sequence[Any]]) -> Columns:
    columns = {name: value.tolist() if isinstance(value, Tensor) else list(value) for name, value in scores.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = {name: len(column) for name, column in columns.items()}
        message = f"Expected one score per sample, but got {lengths}"
        raise UserValueError(message)
    return columns


def one_by_one(metric: Any, *batch: Tensor) -> list[Any]:
    """Compute a metric of each sample separately, without communication between processes.

    Args:
        metric: A metric of torchmetrics; not changed.
        batch: The arguments of its update, each (N, …).

    Returns:
        N results.
    """
    alone = _alone(metric)
    found = []
    for sample in zip(*(part.split(1) for part in batch), strict=True):
        alone.reset()
        alone.update(*sample)
        found.append(alone.compute())
    return found


def of_each_image(
    evaluator: Any, metric: Any, batch: tuple[Tensor, Tensor], class_names: Sequence[str], prefixed: bool = True
) -> dict[str, list[float]]:
    """Compute an evaluator's scores of each image separately, without communication between processes.

    Args:
        evaluator: See `pcpad.tasks.evaluation.evaluators.Evaluator`.
        metric: Its metric; not changed.
        batch: Predicted and true classes, each (N, H, W).
        class_names: The names of all classes.
        prefixed: Whether names begin with the evaluator's name.

    Returns:
        `regular/mIoU`, `regular/IoU/road`, …, N values each, NaN for missing ones.
    """
    alone = _alone(metric)
    found: dict[str, list[float]] = {}
    for sample in zip(*(part.split(1) for part in batch), strict=True):
        alone.reset()
        evaluator.update(alone, *sample)
        for row in evaluator.rows(alone.compute(), len(class_names)):
            head = f"{row.name}/" if row.name and prefixed else ""
            scores = {**row.scores}
            for name, values in row.per_class.items():
                scores |= {f"{name}/{key}": value for key, value in zip(class_names, values, strict=True)}
            for name, value in scores.items():
                found.setdefault(f"{head}{name}", []).append(float(value))
    return found


def _alone(metric: Any) -> Any:
    """A copy that does not synchronize when it computes, as processes may have different numbers of samples."""
    alone = metric.clone()
    for each in alone.modules():
        if isinstance(each, Metric):
            each.sync_on_compute = False
    return alone
