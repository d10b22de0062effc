"""Real photographs, as their packages ship them."""

import pytest

from pcpad.datamodules import GaussianFilteringDataModule
from pcpad.datamodules.samples import SAMPLES


def test_sample_photographs(tmp_path):
    pytest.importorskip("skimage")
    summary = SAMPLES["photos"](tmp_path / "photos")
    assert "15 train" in str(summary)
    assert "6 test" in str(summary)
    held_out = {path.name for path in (tmp_path / "photos/test").iterdir()}
    assert "astronaut.png" in held_out
    assert not held_out & {path.name for path in (tmp_path / "photos/train").iterdir()}
    SAMPLES["photos"](tmp_path / "photos")  # a second call finds them
    data = GaussianFilteringDataModule(tmp_path / "photos", num_workers=0, crop_size=128, batch_size=2)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].float().std() > 10
