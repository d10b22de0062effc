"""Pieces of holes by their thickness."""

import cv2
import numpy as np
import pytest

from benchmarks.filling_by_thickness import add_scores, bin_of, pieces_of, row
from benchmarks.filling_holes import digest, draw_hole


def test_pieces_and_their_thickness():
    hole = np.zeros((100, 100), bool)
    hole[10:15, 5:90] = True  # 5 thick
    hole[40:100, 20:60] = True  # at the border: 40 thick, since beyond it there is nothing
    found = sorted((round(thickness), int(piece.sum())) for thickness, piece in pieces_of(hole))
    assert found == [(6, 5 * 85), (40, 60 * 40)]


@pytest.mark.parametrize(("thickness", "place"), [(2, 0), (3, 0), (3.1, 1), (24, 5), (500, 8)])
def test_intervals(thickness, place):
    assert bin_of(thickness) == place


def test_each_piece_is_scored_by_itself(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photograph)
    hole, records = draw_hole("a", "blocks"), {}
    for method, error in (("ns", 8), ("telea", 4)):
        wrong = np.where(photograph < 128, photograph + error, photograph - error)
        (tmp_path / "blocks" / method).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "blocks" / method / "a.png"), wrong.astype(np.uint8))
        records["a", "blocks", method] = {"mask": digest(hole)}
    scores = {}
    add_scores(scores, tmp_path / "a.png", "blocks", records, tmp_path)
    assert sum(len(methods["ns"]) for methods in scores.values()) == len(list(pieces_of(hole)))
    for place, methods in scores.items():
        assert all(psnr == pytest.approx(20 * np.log10(255 / 8)) for psnr in methods["ns"].values())
        cells = row(place, methods)
        assert (cells["best"], cells["over the second"], cells["ns"]) == ("telea", "+6.02", "30.07")
