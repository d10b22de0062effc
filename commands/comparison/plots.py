"""Figures of a study: bars with every run as a dot, and convergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.grid import PADDING, short_name
from pcpad.commands.comparison.metrics import Metric, Numbers
from pcpad.commands.comparison.results import Result, Study
from pcpad.commands.comparison.statistics import summarize
from pcpad.tasks.pictures.plots import figure_text, need_matplotlib, new_figure, padding_style, place_style, save_figure

_MOST_PANELS = 12
_LONG = 12  # epochs from which the last third gets a panel of its own


def style(study: Study, value: str) -> dict[str, Any]:
    """Color, line style and marker of a compared value."""
    if study.grid.compared == PADDING:
        return padding_style(value)
    return place_style(study.values.index(value))


def draw(study: Study) -> list[Path]:
    """Draw what there is to draw.

    Args:
        study: The runs.

    Returns:
        The pictures written into the grid's folder: `bars.png`, and `convergence.png` where training was logged.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    need_matplotlib()
    paths = [_draw_bars(study, study.root / "bars.png"), draw_convergence(study, study.root / "convergence.png")]
    return [path for path in paths if path is not None]


def _panels(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    columns = 2 if count == 4 else min(count, 3)
    rows = math.ceil(count / columns)
    figure, grid = new_figure(rows, columns, (width * columns, height * rows))
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _title(study: Study, setting: tuple[str, ...], text: str) -> str:
    return f"{study.words(setting)}\n{text}" if setting else text


def _draw_bars(study: Study, path: Path) -> Path | None:
    found = [study.results(setting, *measure) for setting in study.settings for measure in study.measures]
    panels = [rows for rows in found if any(row.finite for row in rows)][:_MOST_PANELS]
    if not panels:
        path.unlink(missing_ok=True)
        return None
    width = 1.2 + 0.75 * len(study.values)
    figure, axes = _panels(len(panels), max(4.2, width), 3.8)
    for axis, rows in zip(axes, panels, strict=False):
        _bars(study, axis, rows)
    handles, labels = _bar_legend()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)
    return save_figure(figure, path)


def _bars(study: Study, axis: Any, rows: Sequence[Result]) -> None:
    metric = rows[0].metric
    numbers = Numbers(metric.name, [value for row in rows for value in row.finite.values()])
    tops = []
    for place, row in enumerate(rows):
        values = [numbers.scale * value for value in row.finite.values()]
        summary = summarize(values)
        if not values:
            axis.text(place, 0.5, "no run", ha="center", rotation=90, transform=axis.get_xaxis_transform())
            continue
        color = style(study, row.value)["color"]
        spread = summary.stdev or 0.0
        axis.bar(place, summary.mean, width=0.62, color=color, alpha=0.55, edgecolor=color)
        if summary.stdev is not None:
            axis.errorbar(place, summary.mean, yerr=spread, color="black", capsize=4, linewidth=1.2)
        shifts = [
            0.12 * (index - (len(values) - 1) / 2) / max(1, (len(values) - 1) / 3) for index in range(len(values))
        ]
        axis.plot([place + shift for shift in shifts], values, "o", markersize=4, color="black", fillstyle="none")
        tops += [*values, summary.mean - spread, summary.mean + spread]
    low, high = min(tops), max(tops)
    margin = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    from_zero = low >= 0 and low - margin <= 0.3 * high
    axis.set_ylim(0 if from_zero else low - margin, high + margin)
    axis.set_xticks(range(len(rows)), [figure_text(row.value) for row in rows], rotation=20 if len(rows) > 4 else 0)
    axis.set_xlabel(short_name(study.grid.compared))
    axis.set_ylabel(metric.name + numbers.unit + ("" if from_zero else "\n(axis does not start at 0)"))
    text = f"{study.label(metric, rows[0].when)}; {metric.direction}"
    axis.set_title(_title(study, rows[0].setting, text), fontsize=9)


def _bar_legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bar = Patch(facecolor="0.7", edgecolor="0.4")
    whisker = Line2D([], [], color="black", marker="|", linestyle="-")
    dot = Line2D([], [], color="black", marker="o", markersize=4, fillstyle="none", linestyle="")
    return [bar, whisker, dot], ["mean over seeds", "± stdev (n − 1)", "single runs"]


def draw_convergence(study: Study, path: Path) -> Path | None:
    """Draw the mean of each compared value's runs at every epoch.

    Args:
        study: The runs.
        path: The picture; removed where there is nothing to draw.

    Returns:
        The picture; None without any.
    """
    metrics = [metric for metric in study.metrics if not metric.is_test]
    if not metrics and study.grid.monitor:
        metrics = [Metric(study.grid.monitor, study.grid.mode)]
    panels = []
    for setting in study.settings:
        for metric in metrics:
            runs = [run for value in study.values for run in study.group(setting, value)]
            epochs = max((len(run.epochs(metric)) for run in runs), default=0)
            panels += [(setting, metric, 0)] * (epochs > 0)
            # Once the first epochs' rise is over, curves differ by less than a line's width in the whole picture.
            panels += [(setting, metric, epochs - epochs // 3)] * (epochs >= _LONG)
    panels = panels[:_MOST_PANELS]
    if not panels:
        path.unlink(missing_ok=True)
        return None
    figure, axes = _panels(len(panels), 5.2, 3.8)
    for axis, (setting, metric, skip) in zip(axes, panels, strict=False):
        _curves(study, axis, setting, metric, skip)
    return save_figure(figure, path)


def _curves(study: Study, axis: Any, setting: tuple[str, ...], metric: Metric, skip: int) -> None:
    by = study.by(metric)
    histories = {
        value: [
            run.epochs(metric) for run in study.group(setting, value) if run.epochs(metric) and run.by(metric) == by
        ]
        for value in study.values
    }
    numbers = Numbers(metric.name, [v for runs in histories.values() for run in runs for v in run.values()])
    most = 0
    for value, runs in histories.items():
        if not runs:
            continue
        # Where each run has a finite value: a mean over other runs at each epoch would jump.
        epochs = [epoch for epoch in sorted(runs[0]) if all(math.isfinite(run.get(epoch, math.nan)) for run in runs)][
            skip:
        ]
        summaries = [summarize([numbers.scale * run[epoch] for run in runs]) for epoch in epochs]
        means = [summary.mean for summary in summaries]
        spreads = [summary.stdev or 0.0 for summary in summaries]
        shown = style(study, value)
        shown_epochs = [epoch + (by == "epoch") for epoch in epochs]
        every = max(1, len(epochs) // 12)
        axis.plot(
            shown_epochs, means, label=figure_text(f"{value} (n = {len(runs)})"), markersize=4, markevery=every, **shown
        )
        low, high = _band(means, spreads)
        axis.fill_between(shown_epochs, low, high, color=shown["color"], alpha=0.15, linewidth=0)
        most = max(most, len(runs))
    axis.set_xlabel(f"{by}s trained")
    axis.set_ylabel(metric.name + numbers.unit)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    text = "mean over seeds, band ± stdev (n − 1)" if most > 1 else "one run each"
    text = f"the last third; {text}" if skip else f"{text}; {metric.direction}"
    axis.set_title(_title(study, setting, text), fontsize=9)
    if skip:
        return  # the legend stands in the panel before, and would hide curves here
    axis.legend(fontsize=8, title=short_name(study.grid.compared), title_fontsize=8)


def _band(means: Sequence[float], spreads: Sequence[float]) -> tuple[list[float], list[float]]:
    pairs = list(zip(means, spreads, strict=True))
    return [mean - spread for mean, spread in pairs], [mean + spread for mean, spread in pairs]
