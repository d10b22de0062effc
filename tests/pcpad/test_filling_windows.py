"""Groups of holes, and the pieces they are filled in: each pixel of a hole is in one piece, once."""

import numpy as np
import pytest

from pcpad._filling_windows import groups, pieces


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (130, 65), (257, 511)])
@pytest.mark.parametrize("most", [1 << 10, 1 << 20])
@pytest.mark.parametrize("share", [0.0005, 0.3, 1.0])
def test_every_pixel_of_a_hole_is_in_one_piece(size, most, share):
    hole = (np.random.default_rng(0).random(size) < share).astype(np.uint8)
    seen = np.zeros(size, int)
    for group in groups(hole):
        for piece in pieces(group, size, 16, most):
            seen[piece.top : piece.bottom, piece.left : piece.right] += group.owned(piece)
            inner = np.zeros(size, bool)
            inner[piece.around][piece.inner] = True
            assert inner.sum() == (piece.bottom - piece.top) * (piece.right - piece.left)
    assert (seen[hole != 0] == 1).all()
    assert seen.max(initial=0) <= 1


def test_holes_near_each_other_are_one_group_and_others_are_not():
    hole = np.zeros((400, 400), np.uint8)
    hole[10:12, 10:14] = hole[20, 20] = hole[300:310, 200] = 1
    boxes = [(each.top, each.left, each.bottom, each.right) for each in groups(hole)]
    assert boxes == [(10, 10, 21, 21), (300, 200, 310, 201)]


def test_no_hole_is_no_group():
    assert not list(groups(np.zeros((50, 50), np.uint8)))
