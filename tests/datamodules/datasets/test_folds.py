"""Folds: disjoint, whole, seeded, grouped, of all classes."""

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules import ImageNetDataModule
from pcpad.datamodules.datasets.folds import Fold

NAMES = [f"drive{index // 5}_{index}.jpg" for index in range(60)]


@pytest.mark.faults
def test_folds_are_disjoint_and_together_all():
    labels = np.repeat([0, 1, 2], 20)
    held = np.stack([Fold.parse(f"{number}/5").held_out(NAMES, labels) for number in range(1, 6)])
    assert (held.sum(0) == 1).all()
    assert all(np.bincount(labels[one]).tolist() == [4, 4, 4] for one in held)
    assert (held[1] == Fold.parse("2/5").held_out(NAMES, labels)).all()
    assert (held[1] != Fold.parse("2/5", seed=1).held_out(NAMES, labels)).any()


@pytest.mark.faults
def test_groups_stay_together():
    held = Fold.parse("1/4", group=r"^drive(\d+)_").held_out(NAMES)
    assert held.reshape(12, 5).all(1).sum() == 3
    assert held.sum() == 15


@pytest.mark.parametrize(("text", "group"), [("0/5", None), ("6/5", None), ("1/1", None), ("2", None), ("1/2", "(")])
def test_folds_that_are_none(text, group):
    with pytest.raises(ValueError, match=r"Expected argument `(fold|group)`"):
        Fold.parse(text, group=group)


def test_too_few():
    with pytest.raises(ValueError, match=r"12 groups \(by `group` .* cannot make 13 folds"):
        Fold.parse("1/13", group="drive[0-9]+").held_out(NAMES)
    with pytest.raises(ValueError, match=r"does not match drive0_0\.jpg"):
        Fold.parse("1/2", group="x").held_out(NAMES)


@pytest.mark.faults
def test_class_folders_in_folds(tmp_path):
    for number in range(90):
        path = tmp_path / "train" / f"class{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    seen = []
    for number in (1, 2, 3):
        data = ImageNetDataModule(tmp_path, num_workers=0, image_size=8, resize=8, fold=f"{number}/3")
        data.setup("fit")
        train, val = data.train_dataloader().dataset.split, data.val_dataloader().dataset.split
        assert not set(train.files.names) & set(val.files.names)
        assert len(train.files) + len(val.files) == 90
        assert set(val.labels) == set(range(10))
        assert str(val.files[0]).startswith(str(tmp_path / "train"))
        seen += val.files.names
    assert len(set(seen)) == len(seen) == 90
    with pytest.raises(ValueError, match="omitted without `fold`"):
        ImageNetDataModule(tmp_path, group="x")
