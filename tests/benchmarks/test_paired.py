"""Paired differences over pictures."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmarks.paired import compare, holm, markdown, sign_flips, write_section


def pairs(differences):
    names = [f"p{number}" for number in range(len(differences))]
    baseline = dict(zip(names, np.linspace(20, 30, len(names)), strict=True))
    return {name: baseline[name] + float(one) for name, one in zip(names, differences, strict=True)}, baseline


def test_compares_as_scipy_does():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    values, baseline = pairs(differences)
    found = compare({**values, "alone": 1.0}, {**baseline, "other": 2.0})
    expected = stats.ttest_1samp(differences, 0)
    interval = expected.confidence_interval(0.95)
    assert found.count == 40
    assert found.difference == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_t == pytest.approx(expected.pvalue)
    assert found.p_flips == pytest.approx(found.p_t, abs=0.03)
    assert found.larger == (differences > 0).mean()


def test_sign_flips_are_as_exact_ones():
    differences = np.array([0.5, 1.0, -0.2, 0.8, 0.3, 0.9])
    mean = differences.mean()
    flips = [np.mean(differences * signs) for signs in itertools.product([1, -1], repeat=6)]
    assert sign_flips(differences) == pytest.approx(2 * np.mean(np.array(flips) >= mean - 1e-12))


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_no_spread_is_no_test(difference, p):
    found = compare({name: difference for name in "abcde"}, dict.fromkeys("abcde", 0.0))
    assert (found.low, found.difference, found.high, found.p_t) == (difference, difference, difference, p)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_markdown():
    assert markdown([{"a": 1, "b": "x"}]) == "| a | b |\n|---|---|\n| 1 | x |\n"
    assert markdown([]) == ""


def test_a_section_is_replaced_and_the_rest_stays(tmp_path):
    file = tmp_path / "page.md"
    write_section(file, "first", "one")
    write_section(file, "second", "two")
    file.write_text("# Title\n\n" + file.read_text() + "\nThe end.\n")
    write_section(file, "first", "another")
    text = file.read_text()
    assert text.startswith("# Title\n\n<!-- first -->\nanother\n<!-- /first -->\n\n<!-- second -->\ntwo\n")
    assert text.endswith("The end.\n")
    assert "one" not in text
