"""Means, spreads and paired differences over seeds, or over the items of a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pcpad._renamed import moved

FEW_PAIRS = 5  # below, a test finds only differences that are large against the spread
FLIPS = 9999
POWER, ALPHA = 0.8, 0.05  # what `pairs_needed` answers for: what most fields plan studies with
MOST_NEEDED = 100_000


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
        p_flips: Of the two-sided sign-flip test, see `sign_flips`; None below two pairs.
        p_holm: `p`, corrected for the other comparisons of its family, see `corrected`; None outside of a family.
        p_flips_holm: `p_flips`, likewise.
        effect: Cohen's dz, the mean difference in standard deviations of the differences; None without any spread.
        effect_low: Where dz's 95 % confidence interval begins, see `effect_interval`.
        effect_high: Where it ends.
        needed: How many pairs it would take, see `pairs_needed`.
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
    p_flips: float | None = None
    p_holm: float | None = None
    p_flips_holm: float | None = None
    effect: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    needed: int | None = None


def summarize(values: Sequence[float]) -> Summary:
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
        The summary of `values`, with the mean of `values - baseline`, its 95 % confidence interval by Student's t, the
        p-values of the paired t-test and of sign flips, and the size of the effect.
    """
    seeds = [seed for seed in values if seed in baseline]
    differences = [values[seed] - baseline[seed] for seed in seeds]
    count = len(seeds)
    mean = math.fsum(differences) / count if count else math.nan
    found = replace(summarize(list(values.values())), pairs=count, difference=mean)
    if count < 2:
        return replace(found, note="too few seeds for a p-value")
    size = max(abs(number) for seed in seeds for number in (values[seed], baseline[seed]))
    found = replace(found, p_flips=sign_flips([0.0 if abs(each) <= 1e-12 * size else each for each in differences]))
    if max(differences) - min(differences) <= 1e-12 * size:  # what rounding leaves of no spread
        return replace(found, note="all pairs differ by the same: no p-value")
    from scipy.stats import ttest_rel

    result = ttest_rel([values[seed] for seed in seeds], [baseline[seed] for seed in seeds])
    interval = result.confidence_interval(0.95)
    effect = float(result.statistic) / math.sqrt(count)
    effect_low, effect_high = effect_interval(effect, count) or (None, None)
    return replace(
        found,
        low=float(interval.low),
        high=float(interval.high),
        p=float(result.pvalue),
        note=f"low power: {count} pairs" if count < FEW_PAIRS else "",
        effect=effect,
        effect_low=effect_low,
        effect_high=effect_high,
        needed=pairs_needed(effect),
    )


_MANY = 1000
"""More pairs than these, as items of a test set are, are flipped by chunks."""
_AT_ONCE = 50
"""How many flips a chunk holds."""


def sign_flips(differences: Sequence[float] | np.ndarray, flips: int = FLIPS, seed: int = 0) -> float:
    """The two-sided p-value of a mean of paired differences, by flips of their signs.

    Without a difference between the two that are paired, each sign would have been the other one as likely. Nothing is
    said of how differences are distributed.

    Args:
        differences: One for each pair.
        flips: How many are tried at random. Where there are no more of them than that, up to 13 pairs, all are.
        seed: Of the random ones.

    Returns:
        The share of flips with a mean that is at least as far from 0 on the same side, doubled, the data themselves
        counting as one: no less than 2 / 2ⁿ, so that five pairs never come below 0.0625.
    """
    from scipy.stats import permutation_test

    def mean(sample: np.ndarray, axis: int) -> np.ndarray:
        means: np.ndarray = sample.mean(axis=axis)
        return means

    sample = np.asarray(differences, dtype=float)
    if not sample.any():
        return 1.0
    random = np.random.default_rng(seed)
    if len(sample) > _MANY:
        return _flips_of_many(sample, flips, random)
    found = permutation_test((sample,), mean, permutation_type="samples", n_resamples=flips, rng=random)
    return float(found.pvalue)


def _flips_of_many(sample: np.ndarray, flips: int, random: np.random.Generator) -> float:
    """The same for many pairs, for which SciPy takes minutes and gigabytes, as it draws and keeps each flip."""
    total = sample.sum()
    sums = np.concatenate(
        [
            np.where(random.random((min(_AT_ONCE, flips - at), len(sample))) < 0.5, -sample, sample).sum(axis=1)
            for at in range(0, flips, _AT_ONCE)
        ]
    )
    close = 1e-12 * np.abs(sample).sum()  # sums that differ by rounding alone are equal
    sides = (sums >= total - close).sum(), (sums <= total + close).sum()
    return min(1.0, 2 * (int(min(sides)) + 1) / (flips + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that any false one among them is as rare as one test's (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def corrected(family: Sequence[Summary]) -> list[Summary]:
    """Comparisons that are looked at together, with p-values that hold for all of them at once; see `holm`."""
    found = list(family)
    for place, p in _adjusted([each.p for each in found]):
        found[place] = replace(found[place], p_holm=p)
    for place, p in _adjusted([each.p_flips for each in found]):
        found[place] = replace(found[place], p_flips_holm=p)
    return found


def _adjusted(p_values: Sequence[float | None]) -> list[tuple[int, float]]:
    """Place and adjusted p-value of those that there are."""
    there = [(place, p) for place, p in enumerate(p_values) if p is not None]
    return list(zip([place for place, _ in there], holm([p for _, p in there]), strict=True))


def effect_interval(effect: float, count: int) -> tuple[float, float] | None:
    """The 95 % confidence interval of Cohen's dz, by the noncentral t-distribution.

    Args:
        effect: dz as it was found.
        count: Of how many pairs.

    Returns:
        Its ends: the effects for which one as large, or one as small, would be found in 2.5 % of studies. None where
        differences are so much alike that these cannot be computed.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    root = math.sqrt(count)
    found = abs(effect) * root

    def above(noncentrality: float, level: float) -> float:
        return float(nct.cdf(found, count - 1, noncentrality)) - level

    reach = 10 + 4 * found
    try:
        low, high = (brentq(above, -10.0, reach, args=(level,)) / root for level in (0.975, 0.025))
    except ValueError:  # the distribution's far tails are no numbers
        return None
    return (low, high) if effect >= 0 else (-high, -low)


@cache
def pairs_needed(effect: float) -> int | None:
    """How many pairs a paired two-sided t-test at 5 % needs to find an effect four times in five (power 0.8).

    Args:
        effect: Cohen's dz, taken for the true one: that of few pairs is a rough guess.

    Returns:
        The number; None where it is more than 100000.
    """
    from scipy.stats import nct, t

    def power(count: int) -> float:
        critical, away = t.ppf(1 - ALPHA / 2, count - 1), abs(effect) * math.sqrt(count)
        return float(nct.sf(critical, count - 1, away) + nct.cdf(-critical, count - 1, away))

    # The normal distribution's answer is at most a few below: no long way to go, and no far tails on it.
    guess = (1.959963984540054 + 0.8416212335729143) / max(abs(effect), 1e-9)
    count = max(2, math.floor(min(guess**2, MOST_NEEDED)))
    while count <= MOST_NEEDED and power(count) < POWER:
        count += 1
    return count if count <= MOST_NEEDED else None


def first_to_reach(history: Mapping[int, float], level: float, mode: str) -> int | None:
    """The first epoch, or step, at which a metric reached a level; see `epochs_to_reach`."""
    for when in sorted(history):
        value = history[when]
        if (value >= level) if mode == "max" else (value <= level):
            return when
    return None


def epochs_to_reach(history: Mapping[int, float], level: float, mode: str) -> int | None:
    """How many epochs a run was trained until a metric first reached a level.

    Args:
        history: Epoch, from 0, to value.
        level: The level.
        mode: `max` where higher is better, `min` where lower is.

    Returns:
        The number of epochs, 1 for the first; None when it never did. NaN reaches nothing.
    """
    epoch = first_to_reach(history, level, mode)
    return None if epoch is None else epoch + 1


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
