"""Drawn damage: every kind, repeatable, never all or nothing."""

import cv2
import numpy as np
import pytest

from pcpad.datamodules.datasets.damages import DAMAGES, draw_damage


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("kind", [*DAMAGES, None])
def test_masks_of_every_kind(kind, size):
    for seed in range(20):
        mask = draw_damage(size, rng(seed), kind)
        assert mask.shape == (size, size)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        assert 0.2 < mask.mean() < 1


@pytest.mark.parametrize("kind", [*DAMAGES, None])
def test_a_seed_is_a_mask(kind):
    assert np.array_equal(draw_damage(64, rng(3), kind), draw_damage(64, rng(3), kind))
    assert not np.array_equal(draw_damage(64, rng(3), kind), draw_damage(64, rng(4), kind))


def test_kinds_are_as_thick_as_they_say():
    """By the largest distance of a hole's pixel from what is valid."""

    def depth(kind):
        return np.median(
            [cv2.distanceTransform(1 - draw_damage(128, rng(seed), kind), cv2.DIST_L2, 5).max() for seed in range(15)]
        )

    assert depth("scratches") < depth("strokes") < depth("page")
    assert depth("dust") < 6
    assert depth("blocks") > 8
