"""Data that is drawn for experiments: the parts of it, and that no two of them are the same."""

import hashlib

import cv2
import pytest

from benchmarks.evidence_drawn import draw_movements, draw_streets
from pcpad.datamodules import CityscapesPanopticDataModule, KineticsDataModule


def contents(folder, pattern):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob(pattern))]


@pytest.mark.slow
def test_movements_are_read_as_videos_and_differ_between_parts_and_seeds(tmp_path):
    for seed in (0, 1):
        draw_movements(tmp_path / str(seed), {"train": 2, "val": 1, "test": 1}, seed)
    data = KineticsDataModule(root=str(tmp_path / "0"), batch_size=2, num_workers=0, clip_length=8, stride=2, size=48)
    data.setup("fit")
    data.setup("test")
    assert (data.num_classes, len(data._split("train")), len(data._split("test"))) == (6, 12, 6)
    assert next(iter(data.train_dataloader()))["clip"].shape == (2, 3, 8, 48, 48)
    first = contents(tmp_path, "image_00001.jpg")
    assert len(set(first)) == len(first) == 2 * 24
    assert cv2.imread(str(next(tmp_path.rglob("image_00001.jpg")))).shape == (64, 84, 3)


@pytest.mark.slow
def test_streets_are_read_and_differ_between_parts_and_seeds(tmp_path):
    for seed in (0, 1):
        draw_streets(tmp_path / str(seed), {"train": 2, "val": 1}, seed)
    data = CityscapesPanopticDataModule(root=str(tmp_path / "0"), batch_size=2, num_workers=0, image_size=(64, 128))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert (len(batch["path"]), batch["label"].shape) == (2, (2, 1, 64, 128))
    assert len(list(data.val_dataloader())) == 1
    images = contents(tmp_path, "*_leftImg8bit.png")
    assert len(set(images)) == len(images) == 6
