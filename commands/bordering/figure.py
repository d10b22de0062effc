"""Drawing a border report: the error by distance, by layer and by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pcpad.adaptation import BorderReport
from pcpad.adaptation.border_results import short_name
from pcpad.tasks.pictures.plots import figure_text, new_figure, padding_style, save_figure

__all__ = ["draw_report"]

_FLOOR = -60.0  # dB, below which a plot ends: a thousandth
_MOST_MAPS = 5


def draw_report(report: BorderReport, path: Path) -> Path:
    """Draw a report.

    Args:
        report: With results.
        path: The PNG file.

    Returns:
        The path.
    """
    shown = report.results[:_MOST_MAPS]
    columns = max(2, len(shown) + 1)
    figure, axes = new_figure(3, columns, (2.9 * columns, 10.0), gridspec_kw={"height_ratios": [1.25, 1.25, 1.0]})
    for row, halves in ((0, _curves), (1, _layers)):
        grid = axes[row, 0].get_gridspec()
        for axis in axes[row]:
            axis.remove()
        halves(figure.add_subplot(grid[row, :]), report)
    _maps(figure, axes[2], report)
    what = "output" if report.kind == "dense" else "last feature maps"
    sizes = f"{report.images} images, crops of {report.crop} px, {report.context} px of true context"
    figure.suptitle(f"{report.network}: error of the {what} without context; {sizes}", fontsize=11)
    return save_figure(figure, path)


def _decibel(values: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.maximum(20 * np.log10(np.asarray(values, dtype=float)), _FLOOR)


def _curves(axis: Any, report: BorderReport) -> None:
    for result in report.results:
        distances, errors = zip(*result.curve, strict=True)
        name = f"{result.name} (own)" if result.own else result.name
        style = padding_style(result.name) | {"markevery": max(1, len(distances) // 15), "markersize": 4}
        axis.plot(distances, _decibel(errors), label=figure_text(name), **style)
    axis.axvspan(0, report.band, color="0.92", zorder=0)
    axis.axhline(float(_decibel(report.tolerance)), color="0.6", linewidth=0.8)
    axis.set(xlabel="distance from the border (pixels of the image)", ylabel="error (dB of the spread)")
    axis.set_title("by distance; gray: the band of the table, line: what counts as none", fontsize=10)
    axis.legend(fontsize=8, ncols=2)
    axis.grid(alpha=0.3)


def _layers(axis: Any, report: BorderReport) -> None:
    for result in report.results:
        values = [layer.border for layer in result.layers]
        axis.plot(range(len(values)), _decibel(values), **padding_style(result.name) | {"markersize": 4})
    layers = report.results[0].layers
    step = max(1, len(layers) // 24)
    places = range(0, len(layers), step)
    axis.set_xticks(
        places, [figure_text(short_name(layers[place].name)) for place in places], rotation=60, ha="right", fontsize=7
    )
    axis.set(ylabel="error in the band (dB)")
    axis.set_title("by layer, in the order of execution", fontsize=10)
    axis.grid(alpha=0.3)


def _maps(figure: Any, axes: Any, report: BorderReport) -> None:
    for axis in axes:
        axis.set_axis_off()
    if report.example is None:
        return
    crop, errors = report.example
    picture = crop[:3] if len(crop) >= 3 else crop[:1].expand(3, -1, -1)
    low, high = float(picture.min()), float(picture.max())
    axes[0].imshow(((picture - low) / max(high - low, 1e-12)).permute(1, 2, 0).numpy())
    axes[0].set_title("one crop", fontsize=10)
    drawn = {name: _decibel(values.numpy()) for name, values in errors.items()}
    # One padding that explodes is not to make the others' maps all dark.
    most = float(np.median([np.percentile(values, 99) for values in drawn.values()])) if drawn else 0.0
    least = min((float(values.min()) for values in drawn.values()), default=_FLOOR)
    last = None
    for axis, result in zip(axes[1:], report.results, strict=False):
        if result.name in drawn:
            last = axis.imshow(drawn[result.name], cmap="magma", vmin=least, vmax=max(most, least + 6))
            axis.set_title(figure_text(result.name), fontsize=10)
    if last is not None:
        figure.colorbar(last, ax=list(axes[1:]), label="its error (dB of the spread)", shrink=0.9)
