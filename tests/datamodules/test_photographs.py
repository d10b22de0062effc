"""Squares of unlabeled photographs."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules import PhotographsDataModule
from pcpad.errors import UserFileNotFoundError, UserValueError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for index in range(18):
        size = (20, 24) if index else (9, 30)  # the first is small
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"{index}.png")
    return root


def data(root, **options):
    module = PhotographsDataModule(root, batch_size=4, num_workers=0, **{"size": 16, **options})
    module.setup("fit")
    return module


@pytest.mark.filterwarnings("ignore:.*smaller than 16")
def test_batches_are_images_alone(folder):
    module = data(folder)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batch = next(iter(loader))
        assert list(batch) == ["image"]
        assert batch["image"].shape[1:] == (3, 16, 16)
        assert batch["image"].dtype == torch.uint8


def test_resized_ones_are_all_large_enough(folder):
    module = data(folder, resize=18)
    count = sum(
        len(batch["image"]) for loader in (module.train_dataloader(), module.val_dataloader()) for batch in loader
    )
    assert count in (16, 18)  # the last, smaller batch of training is left out


@pytest.mark.filterwarnings("ignore:.*smaller than 16")
def test_evaluation_is_the_middle_and_the_same_each_time(folder):
    module = data(folder)
    first, second = (torch.cat([batch["image"] for batch in module.val_dataloader()]) for _ in range(2))
    assert torch.equal(first, second)


def test_fewer_than_sixteen_are_refused(folder, tmp_path):
    for index in range(15):
        (tmp_path / f"{index}.png").write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(UserValueError, match=r"has 15 photographs: .* needs at least 16"):
        data(tmp_path)


def test_no_photographs_are_said(tmp_path):
    with pytest.raises(UserFileNotFoundError):
        data(tmp_path / "none")


@pytest.mark.parametrize("options", [{"size": 0}, {"resize": 8}, {"flip": 2.0}, {"held_out": 0.0}])
def test_values_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(UserValueError):
        PhotographsDataModule(tmp_path, **{"size": 16, **options})
