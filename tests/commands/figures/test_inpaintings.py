"""`pcpad figure inpaintings`."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad import cli
from pcpad.commands.figures.inpaintings import filled_rows
from pcpad.tasks import InpaintingTask

WEIGHTS = {"valid": 1.0, "hole": 6.0, "perceptual": 0.0, "style": 0.0, "tv": 0.1}


def small(partial):
    torch.manual_seed(0)
    return InpaintingTask(depth=3, width=4, partial=partial, loss_weights=WEIGHTS).eval()


def test_what_was_known_is_the_pictures_own():
    mask = torch.ones(2, 1, 32, 32)
    mask[:, :, 8:16, 8:16] = 0
    batch = {"image": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), "mask": mask}
    rows = filled_rows([small(True), small(False)], batch)
    assert [len(row.images) for row in rows] == [4, 4]
    known = mask[0, 0].bool().numpy()
    for picture in rows[0].images[1:3]:
        np.testing.assert_array_equal(picture[known], rows[0].images[3][known])
    assert rows[0].labels[0] == "hole: 6 %"
    assert rows[0].labels[1] != rows[0].labels[2]


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_column_for_each_checkpoint(ending, tmp_path, save_checkpoint):
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for number in range(2):
            picture = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / part / f"{number}.png")
    paths = [
        save_checkpoint(small(partial), tmp_path / f"{partial}.ckpt", "partial" if partial else "zeros")
        for partial in (False, True)
    ]
    output = tmp_path / f"sheet.{ending}"
    options = ["--data", "Places2DataModule", "--data.root", str(tmp_path / "photos"), "--data.image_size", "32"]
    cli.main(["figure", "inpaintings", "--checkpoints", *paths, *options, "--images", "2", "--output", str(output)])
    assert output.read_bytes().startswith(b"%PDF" if ending == "pdf" else b"\x89PNG")
