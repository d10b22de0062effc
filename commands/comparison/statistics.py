"""Means, spreads and paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

FEW_PAIRS = 5  # below, a test finds only differences that are large against the spread


@dataclass(frozen=True)
class Summary:
    """Numbers of several runs, by themselves and against others', pair by pair.

    Args:
        count: How many.
        mean: Their mean; NaN without any.
        stdev: The sample standard deviation, dividing by n − 1; None below two.
        pairs: How many seeds the others have too; None where they are compared with none.
        difference: The mean of the pairs' differences; NaN without any.
        low: Where the 95 % confidence interval of the mean difference begins; None where there is none.
        high: Where it ends.
        p: Of the two-sided paired t-test; None where there is none.
        note: Why there is none, or how far to trust it; may be empty.
    """

    count: int
    mean: float
    stdev: float | None
    pairs: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    note: str = ""


def summarise(values: Sequence[float]) -> Summary:
    """Mean and spread.

    Args:
        values: Finite numbers.

    Returns:
        Their summary.
    """
    count = len(values)
    if not count:
        return Summary(0, math.nan, None)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Summary(count, mean, spread)


def paired(values: Mapping[str, float], baseline: Mapping[str, float]) -> Summary:
    """Compare two kinds of runs, seed by seed: runs of one seed share their initial weights and data order.

    Args:
        values: Seed to finite number.
        baseline: Seed to finite number; seeds that only one of them has are left out of the comparison.

    Returns:
        The summary of `values`, with the mean of `values - baseline`, its 95 % confidence interval by Student's t, and
        the paired t-test's p-value.
    """
    seeds = [seed for seed in values if seed in baseline]
    differences = [values[seed] - baseline[seed] for seed in seeds]
    count = len(seeds)
    mean = math.fsum(differences) / count if count else math.nan
    found = replace(summarise(list(values.values())), pairs=count, difference=mean)
    if count < 2:
        return replace(found, note="too few seeds for a p-value")
    size = max(abs(number) for seed in seeds for number in (values[seed], baseline[seed]))
    if max(differences) - min(differences) <= 1e-12 * size:  # what rounding leaves of no spread
        return replace(found, note="all pairs differ by the same: no p-value")
    from scipy.stats import ttest_rel

    result = ttest_rel([values[seed] for seed in seeds], [baseline[seed] for seed in seeds])
    interval = result.confidence_interval(0.95)
    note = f"low power: {count} pairs" if count < FEW_PAIRS else ""
    return replace(found, low=float(interval.low), high=float(interval.high), p=float(result.pvalue), note=note)


def epochs_to_reach(history: Mapping[int, float], level: float, mode: str) -> int | None:
    """How many epochs a run was trained until a metric first reached a level.

    Args:
        history: Epoch, from 0, to value.
        level: The level.
        mode: `max` where higher is better, `min` where lower is.

    Returns:
        The number of epochs, 1 for the first; None when it never did. NaN reaches nothing.
    """
    for epoch in sorted(history):
        value = history[epoch]
        if (value >= level) if mode == "max" else (value <= level):
            return epoch + 1
    return None
