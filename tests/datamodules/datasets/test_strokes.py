"""Drawn masks: their range, their spread, and ranges that no mask can be in."""

import numpy as np
import pytest

from pcpad.datamodules.datasets.hole_masks import (
    hole_share,
)
from pcpad.datamodules.datasets.strokes import check_hole_ratio, draw_mask


def rng(seed=0):
    return np.random.default_rng(seed)


# Drawing


@pytest.mark.parametrize("size", [32, 256])
@pytest.mark.parametrize("ratio", [(0, 0.3), (0.2, 0.4), (0.59, 0.6), (0.9, 0.95)])
def test_drawn_masks_are_in_the_range(ratio, size):
    for seed in range(30):
        mask = draw_mask(size, ratio, rng(seed))
        assert mask.shape == (size, size)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        assert ratio[0] < hole_share(mask) <= ratio[1]


def test_all_shares_are_drawn_about_equally_often():
    shares = [hole_share(draw_mask(128, (0, 0.6), rng(seed))) for seed in range(600)]
    counts, _ = np.histogram(shares, 6, (0, 0.6))
    assert counts.min() > 70
    assert counts.max() < 135


def test_a_seed_is_a_mask():
    assert np.array_equal(draw_mask(64, (0.1, 0.5), rng(3)), draw_mask(64, (0.1, 0.5), rng(3)))
    assert not np.array_equal(draw_mask(64, (0.1, 0.5), rng(3)), draw_mask(64, (0.1, 0.5), rng(4)))


def test_holes_are_everywhere():
    seen = np.mean([draw_mask(64, (0.1, 0.5), rng(seed)) == 0 for seed in range(400)], axis=0)
    assert seen.min() > 0.1  # corners too


@pytest.mark.parametrize("ratio", [(0.5, 0.5), (0.6, 0.2), (-0.1, 0.5), (0.5, 1.0), (0.5, 0.5001)])
def test_ranges_no_mask_can_be_in_are_refused(ratio):
    with pytest.raises(ValueError, match="`hole_ratio`"):
        check_hole_ratio("hole_ratio", 32, ratio)
