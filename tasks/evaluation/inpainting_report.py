"""Inpainting scores by hole ratio, as a table and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from torch import Tensor

from pcpad.files import whole_file

__all__ = ["InpaintingReport"]

_SCORES = {"l1": ("l1 %", 3), "psnr": ("PSNR, dB", 3), "ssim": ("SSIM", 4)}


@dataclass(frozen=True)
class _Row:
    holes: str
    images: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class InpaintingReport:
    """The results of a test: a row for each range of hole ratios that had images, and one for all images.

    Args:
        rows: The ranges rising, those told by their place in the image after the others; then `all`.
    """

    rows: Sequence[_Row]

    @classmethod
    def of(cls, scores: Mapping[str, Tensor | float]) -> InpaintingReport:
        """Read what `pcpad.metrics.InpaintingScores` computed.

        Args:
            scores: By name: `l1`, `psnr`, `ssim`, `images`, and the same with `/<range>` behind for each range that
                had images; of one metric, or of several in one.

        Returns:
            The report.
        """
        values = {name: float(value) for name, value in scores.items()}
        ranges = [name.removeprefix("l1/") for name in values if name.startswith("l1/")]
        # Of the two sets of ranges the finer one has longer names.
        ranges.sort(key=lambda name: (name.count("/"), name))
        rows = [
            _Row(name, round(values[f"images/{name}"]), {key: values[f"{key}/{name}"] for key in _SCORES})
            for name in ranges
        ]
        return cls([*rows, _Row("all", round(values["images"]), {key: values[key] for key in _SCORES})])

    def table(self, title: str | None = None) -> Table:
        """For the terminal, in the units of the 2022 paper's Table 6."""
        table = Table("hole ratio", title=title, title_justify="left")
        for column in ("images", *(heading for heading, _ in _SCORES.values())):
            table.add_column(column, justify="right")
        for row in self.rows:
            cells = [f"{row.scores[key]:.{digits}f}" for key, (_, digits) in _SCORES.items()]
            table.add_row(row.holes, str(row.images), *cells)
        return table

    def write_csv(self, path: str | Path) -> Path:
        """Write `hole_ratio, images, l1, psnr, ssim` with all digits.

        Args:
            path: The file; folders are made.

        Returns:
            The path.
        """
        path = Path(path)
        with whole_file(path) as file:
            writer = csv.writer(file)
            writer.writerow(["hole_ratio", "images", *_SCORES])
            for row in self.rows:
                cells = [repr(row.scores[key]) for key in _SCORES]
                writer.writerow([row.holes, row.images, *cells])
        return path
