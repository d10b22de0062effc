"""Pictures with holes at a fraction of their size, and back."""

import numpy as np
import pytest

from pcpad._filling_scales import enlarged, reduced


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 3, 8])
def test_only_what_is_valid_is_averaged(kind, scale):
    draws = np.random.default_rng(0)
    pixels = (draws.random((21, 34, 3)) * (1 if kind is np.float32 else 255)).astype(kind)
    hole = draws.random((21, 34)) < 0.5
    small, small_hole = reduced(pixels, hole, scale)
    assert small.dtype == kind
    for row, column in np.ndindex(*small_hole.shape):
        part = (slice(row * scale, (row + 1) * scale), slice(column * scale, (column + 1) * scale))
        valid = pixels[part][~hole[part]].astype(float)
        assert small_hole[row, column] == (len(valid) / hole[part].size < 0.25)
        if not small_hole[row, column]:
            assert np.abs(small[row, column] - valid.mean(axis=0)).max() <= (1e-5 if kind is np.float32 else 0.51)


def test_few_valid_pixels_count_where_there_are_no_more():
    hole = np.ones((16, 16), bool)
    hole[3, 3] = False
    small, small_hole = reduced(np.full((16, 16, 1), 9, np.uint8), hole, 4)
    assert (~small_hole).sum() == 1
    assert small[0, 0, 0] == 9


def test_back_to_its_size():
    small = np.full((3, 4, 3), 77, np.uint8)
    assert np.array_equal(enlarged(small, 4, (11, 15)), np.full((11, 15, 3), 77))
    assert enlarged(small[..., :1], 2, (6, 8)).shape == (6, 8, 1)
