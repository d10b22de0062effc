"""Scores of single samples, which a test leaves where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from pcpad.errors import UserValueError

__all__ = ["ItemScores", "of_each_image", "one_by_one"]

Columns = dict[str, list[Any]]


class ItemScores:
    """Takes the scores of each sample of a test, from `test_step`; of groups of samples, once all are seen.

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
        """Add what was found of one batch, in `test_step`.

        Args:
            scores: By name, a value for each sample.

        Raises:
            UserValueError: The columns are not of one length.
        """
        self._columns = _columns(scores)

    def belong_to(self, groups: Tensor) -> None:
        """Say which group each sample of a batch belongs to: which video a window.

        Args:
            groups: (N,) integers.
        """
        self._groups = groups.tolist()

    def add_groups(self, groups: Tensor, scores: Mapping[str, Tensor | Sequence[Any]]) -> None:
        """Add what was found of groups, at the end of the test.

        Args:
            groups: (G,) integers, each once.
            scores: By name, a value for each group.
        """
        self.grouped = _columns({"group": groups, **scores})

    def take(self) -> Columns:
        """What was added of this batch."""
        columns, self._columns = self._columns or {}, None
        return columns

    def take_groups(self) -> list[int]:
        """Which groups this batch belongs to."""
        groups, self._groups = self._groups or [], None
        return groups


def _columns(scores: Mapping[str, Tensor | Sequence[Any]]) -> Columns:
    columns = {name: value.tolist() if isinstance(value, Tensor) else list(value) for name, value in scores.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = {name: len(column) for name, column in columns.items()}
        message = f"Expected scores of samples to have a value for each sample, but got {lengths}"
        raise UserValueError(message)
    return columns


def one_by_one(metric: Any, *batch: Tensor) -> list[Any]:
    """What a metric computes of each sample alone, without asking other processes.

    Args:
        metric: Of torchmetrics; it is left as it is.
        batch: What it is updated with, each (N, …).

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
    """What an evaluator finds of each image alone, without asking other processes.

    Args:
        evaluator: See `pcpad.tasks.evaluation.evaluators.Evaluator`.
        metric: Its metric, which is left as it is.
        batch: Predicted and true classes, each (N, H, W).
        class_names: Of all classes.
        prefixed: Whether names begin with the evaluator's.

    Returns:
        `regular/mIoU`, `regular/IoU/road`, …, N values each, NaN where there is none.
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
    """A copy that asks no other process when it computes; processes may have unequally many samples."""
    alone = metric.clone()
    for each in alone.modules():
        if isinstance(each, Metric):
            each.sync_on_compute = False
    return alone
