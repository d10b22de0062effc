"""Comparisons item by item, of the scores that tests leave of each image or video."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pcpad.commands.comparison.cells import ITEMS_FILE, folder_of_test
from pcpad.commands.comparison.grid import PADDING, short_name
from pcpad.commands.comparison.metrics import Metric, Numbers
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.statistics import FLIPS, Summary, corrected, paired, summarize
from pcpad.errors import UserValueError
from pcpad.files import read_text
from pcpad.tables import as_typed
from pcpad.tasks.evaluation.metric_names import known_mode


@dataclass(frozen=True)
class ItemResult:
    """A score of each item, the mean of the runs that differ by their seed alone.

    Args:
        setting: Values of the grid's options that are neither compared nor the seed.
        value: What is compared.
        metric: The score.
        seeds: Over how many runs an item's score is averaged: those that the baseline has too.
        summary: Over the items, and of their differences to the baseline's, item by item.
        better: The share of items with the better score; None for the baseline.
    """

    setting: tuple[str, ...]
    value: str
    metric: Metric
    seeds: int
    summary: Summary
    better: float | None


def item_file(root: Path, study: Study, value: str, setting: tuple[str, ...], seed: str) -> Path | None:
    """Where a run's own test left the scores of each item; None where there is no such run."""
    for run in study.group(setting, value):
        if run.cell.seed == seed and run.cell.values.get(PADDING) in run.tests:
            return folder_of_test(root, study.grid, run.cell, run.cell.values.get(PADDING)) / ITEMS_FILE
    return None


def read_items(path: Path) -> dict[str, dict[str, float]]:
    """A table of `pcpad test --per_image`.

    Args:
        path: The file.

    Returns:
        Column to item to number, of the columns whose names say which way is better. Cells without a number are left
        out; an item that is there twice is told apart by a number.

    Raises:
        UserValueError: It is damaged.
    """
    found: dict[str, dict[str, float]] = {}
    try:
        with io.StringIO(read_text(path), newline="") as file:
            rows = list(csv.DictReader(file))
        seen: dict[str, int] = {}
        for row in rows:
            name = as_typed(row.pop("file"))
            seen[name] = seen.get(name, 0) + 1
            item = name if seen[name] == 1 else f"{name} ({seen[name]})"
            for column, cell in row.items():
                if cell and known_mode(column):
                    found.setdefault(column, {})[item] = float(cell)
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        message = f"{path} is damaged ({type(error).__name__}: {error}): remove it, and the test is done again"
        raise UserValueError(message) from error
    return found


@lru_cache(maxsize=1)
def item_results(study: Study) -> list[ItemResult]:
    """Every score of a grid's tests with `--per-image`, by score, setting and compared value; empty without any."""
    tables = {(setting, value): _by_seed(study, setting, value) for setting in study.settings for value in study.values}
    columns = dict.fromkeys(column for table in tables.values() for items in table.values() for column in items)
    found = []
    for column in columns:
        rows = [row for setting in study.settings for row in _rows(study, tables, setting, column)]
        summaries = corrected([row.summary for row in rows])
        found += [replace(row, summary=summary) for row, summary in zip(rows, summaries, strict=True)]
    return found


def _by_seed(study: Study, setting: tuple[str, ...], value: str) -> dict[str, dict[str, dict[str, float]]]:
    found = {}
    for seed in study.seeds:
        path = item_file(study.root, study, value, setting, seed)
        if path is not None and path.is_file():
            found[seed] = read_items(path)
    return found


def _rows(
    study: Study,
    tables: Mapping[tuple[tuple[str, ...], str], Mapping[str, Mapping[str, Mapping[str, float]]]],
    setting: tuple[str, ...],
    column: str,
) -> Iterator[ItemResult]:
    metric = Metric(column, known_mode(column))
    base = {seed: items[column] for seed, items in tables[setting, study.baseline].items() if column in items}
    for value in study.values:
        own = {seed: items[column] for seed, items in tables[setting, value].items() if column in items}
        if value == study.baseline and own:
            yield ItemResult(setting, value, metric, len(own), summarize(list(_means(own, list(own)).values())), None)
        seeds = [seed for seed in own if seed in base]
        if value == study.baseline or not own:
            continue
        one, two = _means(own, seeds), _means(base, seeds)
        differences = [one[item] - two[item] for item in one if item in two]
        sign = -1 if metric.mode == "min" else 1
        better = sum(sign * each > 0 for each in differences) / len(differences) if differences else None
        yield ItemResult(setting, value, metric, len(seeds), paired(one, two), better)


def _means(by_seed: Mapping[str, Mapping[str, float]], seeds: Sequence[str]) -> dict[str, float]:
    """Item to the mean of its scores in the runs of some seeds; of items that all of these have a finite one of."""
    if not seeds:
        return {}
    items = [item for item in by_seed[seeds[0]] if all(item in by_seed[seed] for seed in seeds)]
    means = {item: math.fsum(by_seed[seed][item] for seed in seeds) / len(seeds) for item in items}
    return {item: mean for item, mean in means.items() if math.isfinite(mean)}


def item_row(study: Study, row: ItemResult) -> dict[str, Any]:
    """A row of `items.csv`, all digits of it."""
    found = row.summary
    return {
        short_name(study.grid.compared): row.value,
        **study.named(row.setting),
        "score": row.metric.name,
        "items": found.count,
        "seeds": row.seeds,
        "mean": found.mean,
        "stdev": found.stdev,
        "baseline": study.baseline,
        "pairs": found.pairs,
        "diff": found.difference,
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "note": found.note,
        "p_flips": found.p_flips,
        "p_holm": found.p_holm,
        "p_flips_holm": found.p_flips_holm,
        "dz": found.effect,
        "dz_low": found.effect_low,
        "dz_high": found.effect_high,
        "better": row.better,
    }


def item_cells(row: ItemResult) -> dict[str, str]:
    """A row of the table that people read, by heading."""
    found, numbers = row.summary, Numbers(row.metric.name, [row.summary.mean])
    compared = bool(found.pairs) and found.difference is not None
    interval = found.low is not None and found.high is not None
    return {
        "items": str(found.count),
        "seeds": str(row.seeds),
        "mean": numbers.plain(found.mean) if found.count else "–",
        "diff": numbers.signed(found.difference or 0.0) if compared else "–",
        "95 % interval": f"{numbers.signed(found.low or 0)} … {numbers.signed(found.high or 0)}" if interval else "–",
        "better": "–" if row.better is None else f"{100 * row.better:.1f} %",
        "dz": "–" if found.effect is None else f"{found.effect:+.2f}",
    }


NOTE = (
    "Item by item, diff is between the means of an item's scores over the runs of the seeds that both have; the tests "
    "and the interval are over items. They say what these trained networks do on further items like these, and nothing "
    f"of networks trained anew, which is what pairs of seeds are for. p flips is of {FLIPS} flips; p Holm is corrected "
    "for all comparisons by the same score."
)
