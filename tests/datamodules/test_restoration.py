"""Damaged pictures in batches, for the network that comes with pcpad."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules import RestorationDataModule
from pcpad.errors import UserFileNotFoundError, UserValueError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, draws = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        (root / split).mkdir()
        for index in range(count):
            image = Image.fromarray(draws.integers(0, 256, (40, 60, 3), dtype=np.uint8))
            image.save(root / split / f"{index}.png")
    return root


def data(root, **options):
    given = {"num_workers": 0, "batch_size": 4, "crops": 8, "image_size": 32, "eval_image_size": 32, **options}
    return RestorationDataModule(root, **given)


def test_batches_are_images_and_masks(folder):
    module = data(folder)
    module.setup("fit")
    loaders = module.train_dataloader(), module.val_dataloader()
    assert [sum(len(batch["image"]) for batch in loader) for loader in loaders] == [8, 2 * 6]
    for loader in loaders:
        batch = next(iter(loader))
        assert batch["image"].shape == (4, 3, 32, 32)
        assert batch["mask"].shape == (4, 1, 32, 32)
        assert {batch["image"].dtype, batch["mask"].dtype} == {torch.uint8}


def test_two_runs_train_on_the_same_pictures(folder):
    batches = []
    for _ in range(2):
        module = data(folder)
        module.setup("fit")
        batches.append(next(iter(module.train_dataloader())))
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


@pytest.mark.parametrize(
    "options",
    [{"image_size": 16}, {"eval_image_size": 8}, {"crops": 0}, {"leaves": 1.5}, {"held_out": 1}, {"mask_seed": -1}],
)
def test_values_out_of_range_are_refused(folder, options):
    with pytest.raises(UserValueError, match=next(iter(options))):
        data(folder, **options)


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(UserFileNotFoundError, match="pcpad sample photos"):
        data(tmp_path / "none").setup("fit")
