"""Statistics of `pcpad compare` where there are few numbers."""

import math

import pytest

from pcpad.commands.comparison.statistics import epochs_to_reach, paired, summarise


def test_statistics_at_the_edges():
    assert summarise([]).count == 0
    assert (summarise([2.0]).mean, summarise([2.0]).stdev) == (2.0, None)
    assert summarise([1.0, 3.0]).stdev == pytest.approx(math.sqrt(2))
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
