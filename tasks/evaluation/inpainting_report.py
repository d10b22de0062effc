"""Inpainting scores by hole ratio."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pcpad.tasks.evaluation.report import Report, ReportRow, Scale

__all__ = ["InpaintingReport"]


class InpaintingReport(Report):
    """The results of a test: one row per range of hole ratios with images, and one for all images."""

    file = "inpainting"
    title = "the composite compared with the original, by the hole's share of the image"
    labels = ("hole_ratio", "images")
    heads = ("hole ratio", "images")
    scales = {  # noqa: RUF012  # a ClassVar in the base
        "l1": Scale("l1 %"),  # in the units of the 2022 paper's Table 6
        "psnr": Scale("PSNR, dB"),
        "ssim": Scale("SSIM", digits=4),
    }

    @classmethod
    def of(cls, scores: Mapping[str, Tensor | float]) -> InpaintingReport:
        """Create the report from the results of `pcpad.metrics.InpaintingScores`.

        Args:
            scores: By name: `l1`, `psnr`, `ssim`, `images`, and the same with the suffix `/<range>` for each range with
                images; from one metric or several.

        Returns:
            The report: ranges in increasing order, those for a position in the image after the others; then `all`.
        """
        values = {name: float(value) for name, value in scores.items()}
        ranges = [name.removeprefix("l1/") for name in values if name.startswith("l1/")]
        # The finer of the two sets of ranges has longer names.
        ranges.sort(key=lambda name: (name.count("/"), name))
        rows = []
        for name, end in [*((name, f"/{name}") for name in ranges), ("all", "")]:
            found = {key: values[f"{key}{end}"] for key in cls.scales}
            rows.append(ReportRow((name, round(values[f"images{end}"])), found))
        return cls(rows)
