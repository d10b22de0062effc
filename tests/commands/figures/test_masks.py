"""`pcpad figure masks`, and how `pcpad paper` draws the papers' masks with it."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad import cli
from pcpad.commands.figures.masks import factor_text, panoptic_map, window_masks
from pcpad.functional import padding_ratio


@pytest.mark.parametrize("center", [(1, 1), (3, 6), (4, 3)], ids=["corner", "side", "inside"])
def test_a_windows_mask_and_its_factor_agree(center):
    valid = torch.nn.functional.pad(torch.ones(5, 6), (1, 1, 1, 1))
    (mask,) = window_masks(valid, [center])
    ratio = float(padding_ratio((5, 6), 3, padding=1)[center[0] - 1, center[1] - 1])
    assert factor_text(ratio) == f"9/{int(mask.sum())}"


def test_the_panoptic_map_has_cars_that_touch():
    ids = panoptic_map()[0, 0]
    assert (ids[8, 8], ids[8, 9]) == (2, 3)
    assert len(ids.unique()) == 5


@pytest.mark.parametrize(
    ("name", "ending"), [("2018:F2", "png"), ("2022:F1", "pdf"), ("2022:F2", "png"), ("2022:F3", "pdf")]
)
def test_the_papers_masks_are_drawn_without_runs(name, ending, tmp_path):
    output = tmp_path / f"figure.{ending}"
    cli.main(["paper", name, "--output", str(output)])
    written = output.read_bytes()
    assert written.startswith(b"%PDF" if ending == "pdf" else b"\x89PNG")
    if ending == "png":
        assert len(np.unique(np.asarray(Image.open(output).convert("L")))) > 4


def test_a_mask_of_ones_own_is_drawn_and_a_missing_one_is_said(tmp_path, failing):
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 32, 1).repeat(64, 0)).save(tmp_path / "mask.png")
    cli.main(["figure", "masks", "hole", "--mask", str(tmp_path / "mask.png"), "--output", str(tmp_path / "a.png")])
    assert (tmp_path / "a.png").is_file()
    missing = tmp_path / "nowhere.png"
    assert str(missing) in failing("masks", "hole", "--mask", missing, "--output", tmp_path / "b.png")


def test_a_mask_that_would_not_be_drawn_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["figure", "masks", "windows", "--mask", "hole.png", "--output", str(tmp_path / "masks.png")])
    assert "only `figure masks hole`" in capsys.readouterr().err
