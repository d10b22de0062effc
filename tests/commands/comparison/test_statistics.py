"""Statistics of `pcpad compare` where there are few numbers."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from pcpad.commands.comparison import statistics
from pcpad.commands.comparison.statistics import (
    corrected,
    effect_interval,
    epochs_to_reach,
    holm,
    paired,
    pairs_needed,
    sign_flips,
    summarize,
)


def test_statistics_at_the_edges():
    assert summarize([]).count == 0
    assert (summarize([2.0]).mean, summarize([2.0]).stdev) == (2.0, None)
    assert summarize([1.0, 3.0]).stdev == pytest.approx(math.sqrt(2))
    one = paired({"0": 1.0}, {"0": 0.5, "1": 9.0})
    assert (one.pairs, one.difference, one.p, one.note) == (1, 0.5, None, "too few seeds for a p-value")
    assert paired({"0": 1.0}, {"1": 1.0}).pairs == 0
    same = paired({"0": 0.3, "1": 0.4}, {"0": 0.1, "1": 0.2})
    assert same.p is None
    assert "differ by the same" in same.note
    assert paired(dict(zip("01234", range(5), strict=True)), dict.fromkeys("01234", 0.0)).note == ""
    assert epochs_to_reach({0: 0.1, 1: math.nan, 2: 0.9}, 0.9, "max") == 3
    assert epochs_to_reach({0: 0.1}, 0.9, "max") is None
    assert epochs_to_reach({0: 3.0, 5: 1.0}, 1.0, "min") == 6


def by_seed(values):
    return {str(seed): float(value) for seed, value in enumerate(values)}


@pytest.mark.parametrize("count", [2, 5, 9])
def test_signs_are_flipped_in_every_way(count):
    draw = np.random.default_rng(count)
    one, two = draw.normal(0.5, 1, count), draw.normal(0, 1, count)
    differences = one - two
    means = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=count)]
    share = np.mean(np.array(means) >= abs(differences.sum()) * (1 - 1e-12))
    found = paired(by_seed(one), by_seed(two))
    assert found.p_flips == pytest.approx(share)
    as_pairs = stats.permutation_test(
        (one, two),
        lambda a, b: np.mean(a) - np.mean(b),
        permutation_type="samples",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert found.p_flips == pytest.approx(as_pairs.pvalue)


def test_signs_by_hand():
    assert sign_flips([1, 2, 3]) == 2 / 8  # +++ and ---
    assert sign_flips([1, 2, -3]) == 1  # a mean of 0 is no farther from 0 than any
    assert sign_flips([1, 2, -1]) == 6 / 8  # sums of 4, 2, 2 and 0, and their negatives: 2 or more in six of eight
    assert sign_flips([0.0, 0.0]) == 1
    same = paired(by_seed([0.3, 0.4, 0.5, 0.6, 0.7]), by_seed([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert (same.p, same.p_flips, same.effect, same.needed) == (None, 2 / 32, None, None)
    equal = paired(by_seed([0.1, 0.2]), by_seed([0.1, 0.2]))
    assert (equal.p, equal.p_flips) == (None, 1)
    many = np.random.default_rng(0).normal(0.3, 1, 200)
    assert sign_flips(many) == sign_flips(many) == 2 / 10_000  # at random, but the same each time
    assert sign_flips(many - many.mean()) > 0.9


@pytest.mark.parametrize("mean", [0, 0.05, 0.15])
def test_flips_of_many_pairs_say_the_same_in_little_memory(mean, monkeypatch):
    sample = np.random.default_rng(1).normal(mean, 1, 400)
    by_scipy = sign_flips(sample)
    monkeypatch.setattr(statistics, "_MANY", 300)
    assert sign_flips(sample) == pytest.approx(by_scipy, abs=0.02)
    assert sign_flips(-sample) == pytest.approx(by_scipy, abs=0.02)
    tracemalloc.start()
    sign_flips(np.random.default_rng(1).normal(mean, 1, 20_000), flips=200)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_effects_by_hand():
    # Differences of 1, 2 and 3: mean 2, standard deviation 1.
    found = paired(by_seed([2, 4, 6]), by_seed([1, 2, 3]))
    assert found.effect == pytest.approx(2)
    assert found.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    # What the interval is: at its ends the effect found is as far out as 2.5 % of studies are.
    low, high = found.effect_low, found.effect_high
    assert low < 2 < high
    assert stats.nct.sf(2 * math.sqrt(3), 2, low * math.sqrt(3)) == pytest.approx(0.025)
    assert stats.nct.cdf(2 * math.sqrt(3), 2, high * math.sqrt(3)) == pytest.approx(0.025)
    # Where the interval of the difference begins at 0, that of the effect does: the same test.
    edge = stats.t.ppf(0.975, 9) / math.sqrt(10)
    assert effect_interval(edge, 10)[0] == pytest.approx(0, abs=1e-9)
    low, high = effect_interval(-0.7, 6)
    assert (-high, -low) == pytest.approx(effect_interval(0.7, 6))


@pytest.mark.parametrize(("effect", "count"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (-0.5, 34), (50.0, 2)])
def test_pairs_needed_are_those_of_tables_of_power(effect, count):
    """Two-sided, 5 %, power 0.8: G*Power's values for two dependent means, and those of Cohen's tables."""
    assert pairs_needed(effect) == count


def test_pairs_needed_for_next_to_nothing():
    assert pairs_needed(0.0) is None
    assert pairs_needed(0.001) is None


def test_holm_by_hand():
    # 3 * 0.01, 2 * 0.02, 1 * 0.03 is less than the one before; and never more than 1.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []
    base = by_seed([0, 0, 0, 0, 0, 0])
    some = [paired(by_seed(values), base) for values in ([1, 2, 3, 2, 1, 2], [1, -1, 2, -2, 1, 0], [1, 1, 1, 1, 1, 1])]
    found = corrected([summarize([1.0]), *some])
    assert found[0].p_holm is None
    assert found[1].p_holm == pytest.approx(2 * some[0].p)  # of two: the last has no p-value
    assert found[2].p_holm == pytest.approx(some[1].p)
    assert found[3].p_holm is None
    assert found[1].p_flips_holm == found[3].p_flips_holm == pytest.approx(3 * 2 / 64)
