"""Dead-leaves images: repeatable, in the photograph's colors, with edges at all places."""

import numpy as np
import pytest

from pcpad.datamodules.datasets.dead_leaves import draw_dead_leaves


def photographs():
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize("size", [32, 96])
def test_images(size):
    for seed in range(5):
        image = draw_dead_leaves(size, photographs(), np.random.default_rng(seed))
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
        assert image.std() > 5


def test_a_seed_is_an_image():
    first, again, other = (draw_dead_leaves(48, photographs(), np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_colors_are_the_photographs():
    """Of a red photograph come red leaves, up to noise."""
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 200
    image = draw_dead_leaves(64, [red], np.random.default_rng(1)).astype(float)
    assert abs(image[..., 0].mean() - 200) < 6
    assert image[..., 1:].mean() < 6
