"""Bars of the best accuracies under each padding, grouped over networks, as both papers have them."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from pcpad.commands.papers.lines import PADDING_WORDS, Groups, plan
from pcpad.commands.papers.making import suitable
from pcpad.commands.papers.published import PublishedFigure, number, published_tables
from pcpad.commands.papers.trained import Found
from pcpad.errors import UserValueError
from pcpad.tasks.pictures.plots import figure_text, need_matplotlib, new_figure, padding_style, save_figure

__all__ = ["draw_networks"]

_WIDTH = 0.8  # of a network's bars together


def draw_networks(figure: PublishedFigure, found: Found, path: Path) -> Path:
    """Draw a group of bars for each network that has runs, with every run as a dot.

    The published average of the 2018 paper's Table 2 is a diamond; the numbers of the 2022 paper's explicit padding
    are in its picture alone.

    Args:
        figure: `2018:F1`, of zeros and partial alone, or `2022:F4`.
        found: What there is.
        path: The picture, PNG or PDF.

    Returns:
        The path.

    Raises:
        UserValueError: No run of classification is there.
        ModuleNotFoundError: matplotlib is missing.
    """
    need_matplotlib()
    table = published_tables()["2018:T2"]
    groups = Groups(suitable(table, found), {})
    shown = ("zeros", "partial") if figure.name == "2018:F1" else (*PADDING_WORDS.values(), "circular")
    values: dict[str, dict[str, tuple[list[float], float | None]]] = {}
    for line in plan(table, groups):
        runs = groups.values(groups.of(line.network, line.padding), "val/top1", "best", "max")
        numbers = [100 * value for value in runs.values() if value == value]  # without NaN
        if numbers and line.padding in shown:
            average = number(line.published[table.columns.index("average")]) if line.published else None
            values.setdefault(line.network, {})[line.padding] = numbers, average
    if not values:
        message = f"{figure.name} is drawn of runs of classification that logged val/top1; --runs has none."
        raise UserValueError(message)
    drawing, grid = new_figure(1, 1, (2 + 1.6 * len(values), 4))
    _bars(grid[0, 0], values)
    drawing.suptitle(figure_text(figure.title), fontsize=9)
    return save_figure(drawing, path)


def _bars(axes: Any, values: dict[str, dict[str, tuple[list[float], float | None]]]) -> None:
    paddings = list(dict.fromkeys(padding for each in values.values() for padding in each))
    width = _WIDTH / len(paddings)
    labeled: set[str] = set()
    every = []
    for place, each in enumerate(values.values()):
        for padding, (numbers, average) in each.items():
            x = place + (paddings.index(padding) - (len(paddings) - 1) / 2) * width
            color = padding_style(padding)["color"]
            label = "" if padding in labeled else figure_text(padding)
            labeled.add(padding)
            axes.bar(x, statistics.fmean(numbers), width=0.9 * width, color=color, alpha=0.6, label=label)
            axes.plot([x] * len(numbers), numbers, "o", markersize=3, color="black", fillstyle="none")
            every += numbers
            if average is not None:
                label = "" if "published" in labeled else "published average"
                labeled.add("published")
                axes.plot([x], [average], "D", markersize=5, color="black", label=label)
                every.append(average)
    margin = 0.15 * (max(every) - min(every)) or 1.0
    axes.set_ylim(min(every) - margin, max(every) + margin)
    axes.set_xticks(range(len(values)), [figure_text(network) for network in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylabel("best top-1 accuracy (%)\n(axis does not start at 0)")
    axes.legend(fontsize=8)
