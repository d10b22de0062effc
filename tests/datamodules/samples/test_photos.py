"""Real photographs, as their packages ship them."""

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules import GaussianFilteringDataModule
from pcpad.datamodules.samples import SAMPLES


def photo(path, seed, size=(60, 80), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for index in range(count):
            photo(tmp_path / split / f"{index}.png", [len(split), index], mode=("RGB", "L", "RGBA")[index])
    return tmp_path


def make(root, stage="fit", **options):
    data = GaussianFilteringDataModule(root, **{"num_workers": 0, "crop_size": 32, "batch_size": 2} | options)
    data.setup(stage)
    return data


def test_sample_photographs(tmp_path):
    pytest.importorskip("skimage")
    summary = SAMPLES["photos"](tmp_path / "photos")
    assert "15 train" in str(summary)
    assert "6 test" in str(summary)
    held_out = {path.name for path in (tmp_path / "photos/test").iterdir()}
    assert "astronaut.png" in held_out
    assert not held_out & {path.name for path in (tmp_path / "photos/train").iterdir()}
    SAMPLES["photos"](tmp_path / "photos")  # a second call finds them
    batch = next(iter(make(tmp_path / "photos", "test", crop_size=128).test_dataloader()))
    assert batch["image"].float().std() > 10
