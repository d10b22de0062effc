"""Damaged crops: everything random follows from the crop's seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules.datasets.damages import DAMAGES
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.restoration_crops import DamagedCrops, DamagedSquares
from pcpad.datamodules.reading.folders import find_images


@pytest.fixture
def files(tmp_path):
    draws = np.random.default_rng(0)
    for index, size in enumerate([(50, 70), (20, 90), (64, 64)]):
        Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    return find_images(tmp_path)


@pytest.mark.parametrize("leaves", [0, 1])
def test_a_seed_is_a_crop(files, leaves):
    crops = DamagedCrops(files, 32, 10, leaves)
    first, again = crops[Crop(3, None, 11)], crops[Crop(4, None, 11)]
    assert first["image"].shape == (3, 32, 32)
    assert first["mask"].shape == (1, 32, 32)
    assert first["image"].dtype == first["mask"].dtype == torch.uint8
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["image"], crops[Crop(3, None, 12)]["image"])
    assert len(crops) == 10
    assert set(crops[2]) == {"image", "mask"}


def test_evaluation_has_every_kind_of_damage_for_each_photograph(files):
    squares = DamagedSquares(files, 48, 0)
    assert len(squares) == 3 * len(DAMAGES)
    assert squares.file_of(len(DAMAGES)).endswith("1.png")
    assert torch.equal(squares[1]["image"], squares[0]["image"])
    assert not torch.equal(squares[1]["mask"], squares[0]["mask"])
    assert torch.equal(squares[1]["mask"], DamagedSquares(files, 48, 0)[1]["mask"])
    assert not torch.equal(squares[1]["mask"], DamagedSquares(files, 48, 1)[1]["mask"])
