"""Shares: whole groups, the same in every run, and no split without anything."""

import pytest

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.errors import UserValueError

FRAMES = [Pair(f"images/drive{drive}_{frame:03}.jpg", "") for drive in range(5) for frame in range(20)]


def divided(shares, pairs, root):
    return {split: {pair.image for pair in found} for split, found in shares.divide({"": pairs}, root).items()}


def test_shares(tmp_path):
    parts = divided(Shares(0.2, 0.1), FRAMES, tmp_path)
    assert {split: len(found) for split, found in parts.items()} == {"train": 70, "val": 20, "test": 10}
    assert parts == divided(Shares(0.2, 0.1), FRAMES[::-1], tmp_path)
    assert parts != divided(Shares(0.2, 0.1, seed=1), FRAMES, tmp_path)
    more = divided(Shares(0.2, 0.1), [*FRAMES, Pair("images/new.jpg", "")], tmp_path)
    assert len(more["val"] ^ parts["val"]) <= 2, "one file more leaves the others where they are"


def test_groups_stay_together(tmp_path):
    parts = divided(Shares(0.2, 0.2, group=r"drive(\d)"), FRAMES, tmp_path)
    assert {split: len(found) for split, found in parts.items()} == {"train": 60, "val": 20, "test": 20}
    drives = [{name[12] for name in found} for found in parts.values()]
    assert not drives[0] & drives[1] | drives[0] & drives[2] | drives[1] & drives[2]


def test_training_gives_to_a_validation_that_is_missing(tmp_path):
    parts = Shares(0.25).divide({"train": FRAMES[:8], "test": FRAMES[8:10]}, tmp_path)
    assert {split: len(found) for split, found in parts.items()} == {"train": 6, "val": 2, "test": 2}


@pytest.mark.faults
def test_too_few(tmp_path):
    with pytest.raises(UserValueError, match=r"1 files below .* make 1 pairs of image and mask, too few"):
        divided(Shares(0.2), FRAMES[:1], tmp_path)
    with pytest.raises(UserValueError, match=r"20 files below .* make 1 groups \(by --data.group 'drive'\)"):
        divided(Shares(0.2, group="drive"), FRAMES[:20], tmp_path)
    with pytest.raises(UserValueError, match=r"--data.group 'x' does not match images/drive0_000"):
        divided(Shares(0.2, group="x"), FRAMES, tmp_path)
