"""`pcpad figure leave-out`."""

from fractions import Fraction

import numpy as np
from PIL import Image

from pcpad import cli
from pcpad.commands.figures.leave_out import leave_out_rows
from pcpad.metrics.border import centered_rectangle


def test_the_middle_is_black_and_the_rest_as_it_was():
    picture = np.random.default_rng(0).integers(1, 256, (30, 50, 3), dtype=np.uint8)
    fractions = (Fraction(1, 3), Fraction(7, 8), Fraction(0), Fraction(1, 2))
    rows = leave_out_rows(picture, fractions)
    assert [len(row.images) for row in rows] == [3, 1]
    for fraction, shown in zip(fractions, [image for row in rows for image in row.images], strict=True):
        middle = centered_rectangle(30, 50, fraction)
        expected = picture.copy()
        expected[middle.rows, middle.columns] = 0
        np.testing.assert_array_equal(shown, expected)
    assert rows[1].labels == ["leave out 1/2: 75.0 % of the pixels are counted"]
    tiled = leave_out_rows(picture[:24, :48], fractions[-1:], tile=24)[0].images[0]
    assert not tiled[6:18, [*range(6, 18), *range(30, 42)]].any()
    assert tiled[:, 18:30].all()


def test_tiles_that_overlap_have_no_middles(tmp_path, failing):
    Image.new("RGB", (50, 24)).save(tmp_path / "a.png")
    assert "without overlap" in failing("leave-out", tmp_path / "a.png", "--tile", 24)


def test_a_sheet_needs_no_matplotlib(tmp_path, monkeypatch, dots_per_inch):
    monkeypatch.setattr("pcpad.tasks.pictures.plots.find_spec", lambda name: None)
    Image.new("RGB", (32, 16)).save(tmp_path / "a.png")
    cli.main(["figure", "leave-out", str(tmp_path / "a.png"), "--output", str(tmp_path / "b.png")])
    assert dots_per_inch(tmp_path / "b.png") == 150
