"""Where two segmentations differ near tiles' edges."""

import torch

from pcpad.commands.figures.places import edges, most_different, near_edges
from pcpad.tiling import Tiling


def test_most_different_places_by_brute_force():
    windows = Tiling(20).windows(40, 60)
    different = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.2
    found = most_different(different, windows, 12, 3)
    rows, columns = edges(windows)
    assert (rows, columns) == ([0, 20, 40], [0, 20, 40, 60])
    on_rows = {(min(max(0, row - 6), 28), left) for row in rows for left in range(0, 49, 4)}
    on_columns = {(top, min(max(0, column - 6), 48)) for column in columns for top in range(0, 29, 4)}
    scores = {at: int(different[at[0] : at[0] + 12, at[1] : at[1] + 12].sum()) for at in on_rows | on_columns}
    best = min(scores, key=lambda at: (-scores[at], at))
    assert (found[0].window[:2], found[0].pixels) == (best, scores[best])
    assert len(found) == 3
    covered = torch.zeros(40, 60)
    for place in found:
        covered[place.window.rows, place.window.columns] += 1
    assert covered.max() == 1


def test_near_edges_counts_both_sides():
    near = near_edges(20, 30, Tiling((20, 15)).windows(20, 30), 2)
    assert near[10].nonzero().flatten().tolist() == [0, 1, 13, 14, 15, 16, 28, 29]
    assert near[:2].all()
    assert near[18:].all()
