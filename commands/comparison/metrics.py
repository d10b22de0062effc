"""Metrics by name: which of a run's numbers is meant, which direction is better, how it is written."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pcpad.errors import UserValueError
from pcpad.tasks.evaluation.metric_names import is_fraction, known_mode

__all__ = ["Metric", "Numbers", "known_mode", "parse_metric", "select_metrics"]


@dataclass(frozen=True)
class Metric:
    """A logged metric.

    Args:
        name: As logged, `val/top1` or `test/border_tile1024/leave_0.500/mIoU`.
        mode: Whether its best is the `max` or the `min`; None where nothing says it, and so no epoch is its best.
    """

    name: str
    mode: str | None

    @property
    def is_test(self) -> bool:
        """Whether tests log it; others are logged while training."""
        return self.name.startswith("test/")

    @property
    def direction(self) -> str:
        """For a title."""
        if self.mode is None:
            return f"which way is better is not known: say --metric {self.name}:min or {self.name}:max"
        return "higher is better" if self.mode == "max" else "lower is better"


def parse_metric(text: str) -> tuple[str, str | None]:
    """Read one `--metric`: a name or pattern, with `:min` or `:max` behind it where that does not go without saying."""
    name, colon, mode = text.partition(":")
    if colon and mode not in ("min", "max"):
        message = f"Expected --metric NAME, NAME:min or NAME:max, but got {text!r}"
        raise UserValueError(message)
    return name, mode or None


def select_metrics(asked: Sequence[str], monitor: str | None, mode: str, logged: Iterable[str]) -> list[Metric]:
    """The metrics to report.

    Args:
        asked: What was given as `--metric`; patterns such as `test/*/mIoU` are expanded.
        monitor: What the recipe monitors; with its counterpart in tests the default.
        mode: Whether the monitored one's best is the `max` or the `min`.
        logged: Names of all metrics that any run logged.

    Returns:
        The metrics in order, each once. A test counterpart that no run logged is replaced by those of equal last word
        (`test/regular/mIoU` for `test/mIoU`); the others may be missing from every run.
    """
    names = sorted(set(logged))
    patterns = [parse_metric(text) for text in asked]
    if not patterns and monitor is not None:
        counterpart = re.sub(r"^val/", "test/", monitor)
        others = f"test/*/{counterpart.removeprefix('test/')}"
        only_others = counterpart not in names and fnmatch.filter(names, others)
        patterns = [(monitor, mode), (others if only_others else counterpart, mode)]
    found: dict[str, Metric] = {}
    for pattern, given in patterns:
        matching = [pattern] if pattern in names else fnmatch.filter(names, pattern) or [pattern]
        for name in matching:
            same = monitor is not None and f"{_behind_stage(monitor)}/" in f"{_behind_stage(name)}/"
            found.setdefault(name, Metric(name, given or (mode if same else known_mode(name))))
    return list(found.values())


def _behind_stage(name: str) -> str:
    """What follows `val/` or `test/`, with slashes around, to find it in a longer path by."""
    stage, slash, rest = name.partition("/")
    return f"/{rest if slash else stage}"


class Numbers:
    """How the numbers of one table are written, all with the same digits.

    Args:
        name: The metric's name; fractions such as accuracies are written in percent.
        values: All values of the table.

    Example:
        >>> Numbers("val/top1", [0.76606]).plain(0.76606), Numbers("val/top1", [0.76606]).signed(0.00478)
        ('76.606', '+0.478')
        >>> Numbers("test/faster_rcnn_coco_256x512/real_detAP50", [0.1097]).plain(0.1097)
        '10.970'
        >>> Numbers("test/mse", [0.0012345]).plain(0.0012345)
        '0.0012345'
    """

    def __init__(self, name: str, values: Iterable[float]) -> None:
        finite = [abs(value) for value in values if math.isfinite(value)]
        largest = max(finite, default=0.0)
        fraction = is_fraction(name)
        self.percent = fraction and largest <= 1
        self.scale = 100.0 if self.percent else 1.0
        size = math.floor(math.log10(largest)) if largest > 0 else 0
        self.digits = 3 if self.percent else min(max(4 - size, 0), 12)

    @property
    def unit(self) -> str:
        """` (%)`, or nothing."""
        return " (%)" if self.percent else ""

    def plain(self, value: float) -> str:
        """A value."""
        return f"{value * self.scale:.{self.digits}f}" if math.isfinite(value) else str(value)

    def signed(self, value: float) -> str:
        """A difference, with its sign."""
        text = f"{value * self.scale:+.{self.digits}f}"
        return text if float(text) != 0 else text.lstrip("+-")
