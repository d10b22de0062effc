"""Errors by distance, and their intervals."""

from fractions import Fraction

import pytest
import torch

from pcpad.adaptation.profiles import Interval, Profile, Samples, interval_of


def test_rings_are_counted_from_the_border():
    profile = Profile((4, 6), Fraction(2))
    assert profile.pixels.tolist() == [16, 8]
    assert profile.distances == [0, 2]
    reference = torch.randn(3, 2, 4, 6)
    found = reference.clone()
    found[:, :, 1:3, 1:5] += 2.0
    profile.update(found, reference)
    spread = float(reference.var((-2, -1), correction=0).mean(1).sum())
    assert profile.curve() == pytest.approx([0, (3 * 4 / spread) ** 0.5], rel=1e-5, abs=1e-6)
    assert profile.reach() == 4
    assert profile.margin(0.01) is None
    assert profile.margin(1e6) == 0


def test_sides_are_told_apart():
    profile = Profile((8, 8), Fraction(1))
    reference = torch.randn(2, 1, 8, 8)
    found = reference.clone()
    found[..., -1] += 1
    profile.update(found, reference)
    sides = profile.sides(1)
    assert sides["right"] > 0.1
    assert sides["top"] == sides["bottom"] == sides["left"] == 0


def test_intervals_hold_the_mean_and_shrink_with_images():
    draw = torch.Generator().manual_seed(1)
    widths = []
    for count in (20, 500):
        values = torch.randn(count, generator=draw, dtype=torch.float64)
        found = interval_of(Samples(count).mean(values))
        assert found.low < found.value < found.high
        assert found.value == pytest.approx(float(values.mean()))
        widths.append(found.high - found.low)
    assert widths[0] > 3 * widths[1]
    assert widths[1] == pytest.approx(4 / 500**0.5, rel=0.2)


def test_intervals_apart():
    assert Interval(1, 0, 2).apart(Interval(4, 3, 5))
    assert not Interval(1, 0, 3.5).apart(Interval(4, 3, 5))
