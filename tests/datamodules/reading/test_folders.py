"""Listing folders of images, and the table of their names."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading.folders import FileTable, class_folders, list_images

pytestmark = [
    # Said by torchvision 0.29 for each image; images.py silences it, but pytest resets the filters before each test.
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def write_picture(path, seed, size=(48, 36)):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)


def test_listing_skips_hidden_files_follows_links_and_ends(tmp_path):
    write_picture(tmp_path / "a" / "deeper" / "1.jpg", 0)
    write_picture(tmp_path / "elsewhere.png", 1)
    (tmp_path / "a" / "._1.jpg").write_bytes(b"macOS resource fork")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".cache").mkdir()
    write_picture(tmp_path / "a" / ".cache" / "2.jpg", 2)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "linked").mkdir()
    write_picture(tmp_path / "linked" / "3.WEBP", 3)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "linked", target_is_directory=True)
    assert list_images(tmp_path / "a") == ["deeper/1.jpg", "link/3.WEBP"]


def test_file_table_keeps_any_name(tmp_path):
    names = ["a/1.jpg", "b/ü 名.png", os.fsdecode(b"c/\xff.jpg"), "d"]
    table = pickle.loads(pickle.dumps(FileTable(tmp_path, names)))
    assert [table[index] for index in range(len(table))] == [tmp_path / name for name in names]


@pytest.mark.faults
def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    for name, target in (("one", "two"), ("two", "one"), ("self", "self"), ("a/up", "..")):
        (tmp_path / name).symlink_to(target)
    assert list_images(tmp_path) == ["a/x.png"]
    assert class_folders(tmp_path) == ["a"]
