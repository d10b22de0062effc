"""`pcpad figure seams`."""

import numpy as np
import pytest
from PIL import Image

from pcpad import cli
from pcpad.commands.figures import seams
from pcpad.commands.figures.seams import mark_edges
from pcpad.tasks import GaussianFilteringTask
from pcpad.tasks.pictures.sheets import draw_sheet
from pcpad.tiling import Tiling, Window


def test_lines_lie_on_seams_and_borders():
    drawn = mark_edges(np.full((64, 64, 3), 100, np.uint8), Window(0, 32, 64, 64), Tiling(64).windows(64, 128))
    assert drawn.shape == (320, 320, 3)
    lines = (drawn != 100).any(-1)
    assert lines[:, 159:161].all(), "the seam at column 64"
    assert lines[:5].all()
    assert lines[-5:].all()
    assert not lines[5:-5, :159].any()
    assert not lines[5:-5, 161:].any()


def test_seams_end_to_end(segmentations, streets, tmp_path, capsys, scenes):
    args = ["figure", "seams", "--checkpoints", *segmentations, *scenes(streets), "--size", "64", "--images", "2"]
    for name in ("a.png", "b.png"):
        cli.main([*args, "--output", str(tmp_path / name)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "Right within 4 pixels of a seam or border: zeros " in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width == 4 * 320 + 5 * 10
        assert sheet.height > 4 * 320


@pytest.mark.slow
@pytest.mark.faults
def test_tiles_that_overlap_as_in_the_papers_figure_6(segmentations, streets, tmp_path, capsys, scenes, monkeypatch):
    headings = []

    def sheet(rows, columns, heading, **options):
        headings.append((heading, rows))
        return draw_sheet(rows, columns, heading=heading, **options)

    monkeypatch.setattr(seams, "draw_sheet", sheet)
    args = ["figure", "seams", "--checkpoints", *segmentations, *scenes(streets), "--size", "64", "--images", "2"]
    printed = []
    for overlap in ("0", "1/3"):
        cli.main([*args, "--overlap", overlap, "--output", str(tmp_path / "a.png")])
        printed.append(capsys.readouterr().out.splitlines()[0])
    assert headings[0][0].endswith("near the edges of 64 x 64 tiles")
    assert headings[1][0].endswith("near the edges of 64 x 64 tiles, which overlap by 1/3")
    assert printed[0] != printed[1], "tiles at columns 0, 43 and 64 have other edges, and other predictions"


@pytest.mark.parametrize("overlap", ["1", "-0.5", "a third"])
def test_no_overlap_of_that_kind(overlap, segmentations, streets, failing, scenes):
    args = ["seams", "--checkpoints", *segmentations, *scenes(streets), f"--overlap={overlap}"]
    said = failing(*args)
    assert "overlap" in said or "fraction" in said


@pytest.mark.slow
def test_equal_networks_are_said(segmentations, streets, failing, scenes):
    zeros = segmentations[0]
    assert "tell them apart with --labels" in failing("seams", "--checkpoints", zeros, zeros, *scenes(streets))
    args = ["seams", "--checkpoints", zeros, zeros, "--labels", "a", "b", *scenes(streets), "--images", 1, "--size", 64]
    assert "the same network?" in failing(*args)


def test_other_classes_are_said(segmentations, images, streets, tmp_path, failing, opinionated, scenes):
    other = opinionated(tmp_path / "x.ckpt", "partial", 0)
    message = failing("seams", "--checkpoints", segmentations[0], other, *scenes(streets))
    assert "differ in their number of classes" in message


def test_a_network_without_classes_is_refused(save_checkpoint, streets, tmp_path, failing):
    names = [tmp_path / f"{padding}.ckpt" for padding in ("zeros", "partial")]
    for name in names:
        save_checkpoint(GaussianFilteringTask(width=4, padding=name.stem), name, name.stem)
    assert "does not say how many classes" in failing("seams", "--checkpoints", *names)
