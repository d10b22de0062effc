"""Five kinds of holes."""

import cv2
import numpy as np
import pytest

from benchmarks.filling_holes import KINDS, SIZE, _covered, _curve, digest, draw_hole

NAMES = [f"photograph {number}" for number in range(20)]


def thickness(hole):
    """Twice the farthest any pixel of a hole is from what is valid."""
    return 2 * cv2.distanceTransform(np.pad(hole, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_and_a_kind_decide_the_hole(kind):
    holes = [draw_hole(name, kind) for name in NAMES]
    assert all(hole.shape == (SIZE, SIZE) and hole.dtype == bool for hole in holes)
    # Others count by these bytes.
    assert all(set(np.unique(hole.view(np.uint8))) == {0, 1} for hole in holes)
    assert [digest(hole) for hole in holes] == [digest(draw_hole(name, kind)) for name in NAMES]
    assert len({digest(hole) for hole in holes}) == len(NAMES)


@pytest.mark.parametrize(
    ("kind", "low", "high", "shares"),
    [("scratches", 2, 4.5, (0.01, 0.12)), ("strokes", 6, 13.5, (0.02, 0.2)), ("text", 2, 7, (0.01, 0.15))],
)
def test_lines_are_as_thick_as_they_should_be(kind, low, high, shares):
    for name in NAMES:
        hole = draw_hole(name, kind)
        across = thickness(hole)
        # Along their middles; where lines cross they are thicker.
        middles = across[(across >= cv2.dilate(across, np.ones((3, 3)))) & (across > 0)]
        assert low <= np.median(middles) <= high
        assert shares[0] < hole.mean() < shares[1]


@pytest.mark.parametrize("width", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("heading", [0.0, 0.3, 0.785, 1.2])
def test_a_line_has_its_area(width, heading):
    found = []
    for shift in np.linspace(0, 1, 9)[:-1] + 0.01:
        lines = np.zeros((8 * SIZE, 8 * SIZE), np.uint8)
        _curve(lines, FixedDraws(heading, 128 + shift), 10, 20, lambda: 0.0, (width, width))
        found.append(_covered(lines).sum() / (180 + 0.8 * width))
        pieces, _ = cv2.connectedComponents(_covered(lines).astype(np.uint8))
        assert pieces == 2  # the line has no gaps
    # A slanted line of one pixel goes from corner to corner; one between two rows takes both.
    assert 0.7 * width <= np.mean(found) <= 1.1 * width + 0.4


class FixedDraws:
    """A direction and a middle."""

    def __init__(self, heading, middle):
        self.heading, self.middle = heading, middle

    def uniform(self, low, high, size=None):
        return self.heading if size is None else np.full(size, self.middle)

    def integers(self, low, high):
        return low


def test_blocks_and_half_pages():
    for name in NAMES:
        blocks, half = draw_hole(name, "blocks"), draw_hole(name, "half page")
        assert 24 <= thickness(blocks).max() <= 90
        assert 24 * 24 <= blocks.sum() <= 5 * 44 * 44
        assert 0.43 < half.mean() < 0.57
        sides = [edge.all() for edge in (half[0], half[-1], half[:, 0], half[:, -1])]
        assert sum(sides) == 1
