"""The papers' claims on action recognition and synthesis, tested on drawn data as the protocols say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.evidence_rows import ALPHA, Cells, Claim, Form, Row, corrected
from benchmarks.paired import holm

__all__ = ["CONVERGED", "actions", "runs_needed", "synthesis"]

VIDEO = "test/video_top1"
CONVERGED = 0.5
"""The accuracy by video at which a run counts as converged; chance is 1/6."""
_TOLD = {"zeros": "60.5 → 62.0 % of videos, two rounds", "replicate": "59.8 → 62.0 % of videos, two rounds"}


def actions(cells: Cells) -> list[Row]:
    """2022 T5: how many runs converge, and, separately, how accurate those are."""
    found = {arm: cells.metric(arm, VIDEO) for arm in ("partial", *_TOLD)}
    rows = _counts(found)
    converged = {arm: _converged(accuracy) for arm, accuracy in found.items()}
    for of, scores in (("runs that converge", converged), ("all runs", found)):
        family = []
        for other, published in _TOLD.items():
            pair = scores["partial"], scores[other]
            said = Row(f"Of {of}, partial recognizes better than {other}", "2022 T5", published, "")
            family.append(Claim(said, cells.differences(*pair), Form(), prefix=_means(*pair)))
        tested = corrected(family)
        if scores is converged:
            tested = [_or_never(row, found["partial"], found[other]) for row, other in zip(tested, _TOLD, strict=True)]
        rows += tested
    return rows


def _or_never(row: Row, first: Mapping[int, float], second: Mapping[int, float]) -> Row:
    """The row, or why it has no test: runs there are, but no seed converges with both."""
    seeds = first.keys() & second.keys()
    if not seeds or _converged(first).keys() & _converged(second).keys():
        return row
    ours = f"of {len(seeds)} seeds none converges with both"
    return replace(row, ours=ours, verdict="cannot be tested by these runs")


def _converged(accuracy: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in accuracy.items() if value >= CONVERGED}


def _means(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    """The two means of the seeds that both have."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return ""
    means = (float(np.mean([values[seed] for seed in seeds])) for values in (first, second))
    return "{:.1f} against {:.1f} %, ".format(*(100 * mean for mean in means))


def _counts(found: Mapping[str, Mapping[int, float]]) -> list[Row]:
    rows, tables = [], []
    for other in _TOLD:
        rows.append(Row(f"More runs converge with partial than with {other}", "protocol", "not printed", "no runs"))
        tables.append([(len(_converged(found[arm])), len(found[arm])) for arm in ("partial", other)])
    there = [place for place, table in enumerate(tables) if all(total >= 2 for _, total in table)]
    p_values = [
        float(stats.fisher_exact([[yes, total - yes] for yes, total in tables[place]]).pvalue) for place in there
    ]
    for place, p in zip(there, holm(p_values), strict=True):
        (yes, total), (other_yes, other_total) = tables[place]
        rows[place] = replace(
            rows[place],
            ours=f"{yes} of {total} against {other_yes} of {other_total}",
            p=f"{p:.2g} (Fisher)",
            verdict=_counted(yes / total, other_yes / other_total, p),
        )
    return rows


def _counted(share: float, other: float, p: float) -> str:
    if p < ALPHA:
        return "**confirmed**" if share > other else "**contradicted**"
    needed = runs_needed(share, other)
    if needed is None:
        return "undecided at this size: no difference was seen at all"
    way = "as claimed" if share > other else "against the claim"
    return f"undecided at this size: the difference seen, {way}, would take about {needed} runs of each"


def runs_needed(first: float, second: float) -> int | None:
    """How many runs of each it takes to tell two shares apart at .05 with a power of .8.

    Args:
        first: A share in [0, 1].
        second: Another.

    Returns:
        The number by Fisher's exact test, by the normal approximation where that is above 200; None for equal shares.
    """
    if first == second:
        return None
    z = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    variance = first * (1 - first) + second * (1 - second)
    count = max(2, math.ceil(z**2 * variance / (first - second) ** 2))
    # The approximation's number is too small: the exact test is conservative.
    while count <= 200 and _power(first, second, count) < 0.8:
        count += 1
    return count


def _power(first: float, second: float, count: int) -> float:
    """How often Fisher's exact test of this many runs of each is below .05."""
    places = np.arange(count + 1)
    found = np.zeros((count + 1, count + 1))
    for total in range(2 * count + 1):
        there = places[max(0, total - count) : total + 1]
        chance = stats.hypergeom.pmf(there, 2 * count, total, count)
        p_values = np.where(chance[None] <= chance[:, None] * (1 + 1e-7), chance[None], 0).sum(axis=1)
        found[there, total - there] = p_values < ALPHA
    return float(stats.binom.pmf(places, count, first) @ found @ stats.binom.pmf(places, count, second))


def synthesis(cells: Cells) -> list[Row]:
    """2022 T7 by the judge's mIoU, and single instances, small and large ones separately."""
    arms = ("panoptic partial", "convolution")
    scores = {
        what: [{seed: score(run) for seed, run in cells.runs.get(arm, {}).items()} for arm in arms]
        for what, score in {
            "mIoU": lambda run: float(run["test"]["test/upsample_image/mIoU"]),
            "small": lambda run: _over_instances(run["small"]),
            "large": lambda run: _over_instances(run["large"]),
            "l1": lambda run: float(run["test"]["test/l1"]),
        }.items()
    }
    claims = {
        "mIoU": ("A judge segments what panoptic partial convolution draws better: mIoU", "2022 T7", "60.00 → 61.24 %"),
        "small": ("… and knows more of each small instance's pixels", "protocol", "not printed"),
        "large": ("… and of each large instance's pixels", "protocol", "not printed"),
    }
    real = _real(cells)
    rows = corrected(
        [
            Claim(
                Row(*said, ""), cells.differences(*scores[what]), Form(), prefix=f"{_means(*scores[what])}{real[what]}"
            )
            for what, said in claims.items()
        ]
    )
    gains = [
        {seed: value - convolution[seed] for seed, value in partial.items() if seed in convolution}
        for partial, convolution in (scores["small"], scores["large"])
    ]
    small = Row("The gain is larger with small instances than with large ones", "protocol", "not printed", "")
    near = Row("What it draws is nearer to the real image: ℓ1", "protocol", "not printed", "")
    rows += corrected([Claim(small, cells.differences(*gains), Form())])
    rows += corrected([Claim(near, cells.differences(*scores["l1"]), Form(4, 1, " of the value range"), sign=-1)])
    return rows


def _over_instances(maps: Sequence[Sequence[float]]) -> float:
    """The mean over all instances, from each map's number of instances and mean."""
    return sum(count * mean for count, mean in maps) / max(1.0, sum(count for count, _ in maps))


def _real(cells: Cells) -> dict[str, str]:
    """The judge's scores of the real images, which are the same for every run."""
    runs: list[dict[str, Any]] = [run for by_seed in cells.runs.values() for run in by_seed.values()]
    if not runs:
        return dict.fromkeys(("mIoU", "small", "large"), "")
    values = {"mIoU": float(runs[0]["test"]["test/upsample_image/real_mIoU"])}
    values |= {size: _over_instances(runs[0][f"real_{size}"]) for size in ("small", "large")}
    return {what: f"real images {100 * value:.1f} %, " for what, value in values.items()}
