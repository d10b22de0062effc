"""Inpainting scores by hole ratio, as a table and a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from torch import Tensor

from pcpad.tasks.callbacks.files import atomic_writer

__all__ = ["InpaintingReport"]

_SCORES = {"l1": ("l1 %", 3), "psnr": ("PSNR, dB", 3), "ssim": ("SSIM", 4)}
_ALL = "all"


@dataclass(frozen=True)
class _Row:
    holes: str
    images: int | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class InpaintingReport:
    """The results of a test: a row for each range of hole ratios that had images, and one for all images.

    Args:
        rows: The ranges in the metric's order, then `all`.
    """

    rows: Sequence[_Row]

    @classmethod
    def of(cls, scores: Mapping[str, Tensor | float]) -> InpaintingReport:
        """Read what `pcpad.metrics.InpaintingScores` computed.

        Args:
            scores: By name: `l1`, `psnr`, `ssim`, the same with `/<range>` behind, and `images/<range>`.

        Returns:
            The report.
        """
        values = {name: float(value) for name, value in scores.items()}
        ranges = [name.partition("/")[2] for name in values if name.startswith("images/")]
        rows = [
            _Row(name, round(values[f"images/{name}"]), {key: values[f"{key}/{name}"] for key in _SCORES})
            for name in ranges
            if values[f"images/{name}"] and name != _ALL
        ]
        total = values.get("images", values.get(f"images/{_ALL}"))
        whole = _Row(_ALL, None if total is None else round(total), {key: values[key] for key in _SCORES})
        return cls([*rows, whole])

    def table(self, title: str | None = None) -> Table:
        """For the terminal, in the units of the 2022 paper's Table 6."""
        table = Table("hole ratio", title=title, title_justify="left")
        for column in ("images", *(heading for heading, _ in _SCORES.values())):
            table.add_column(column, justify="right")
        for row in self.rows:
            cells = [_rounded(row.scores[key], digits) for key, (_, digits) in _SCORES.items()]
            table.add_row(row.holes, "" if row.images is None else str(row.images), *cells)
        return table

    def write_csv(self, path: str | Path) -> Path:
        """Write `hole_ratio, images, l1, psnr, ssim` with all digits; empty where there is no value.

        Args:
            path: The file; folders are made.

        Returns:
            The path.
        """
        path = Path(path)
        with atomic_writer(path) as file:
            writer = csv.writer(file)
            writer.writerow(["hole_ratio", "images", *_SCORES])
            for row in self.rows:
                cells = ["" if math.isnan(row.scores[key]) else repr(row.scores[key]) for key in _SCORES]
                writer.writerow([row.holes, "" if row.images is None else row.images, *cells])
        return path


def _rounded(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
