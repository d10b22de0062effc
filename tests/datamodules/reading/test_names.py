"""Names of eight million files within a gigabyte."""

import os
import pickle
import sys
import tracemalloc

import pytest

from pcpad.datamodules.reading.folders import FileTable, list_images
from pcpad.datamodules.reading.names import Names

pytestmark = pytest.mark.faults


def test_names_are_used_as_a_list():
    listed = ["a/b.jpg", "ä.jpg", "b\udcff.jpg", "c d.png"]
    names = Names(listed)
    assert names == listed
    assert list(names) == listed
    assert names[1:3] == listed[1:3]
    assert names[-1] == "c d.png"
    assert "ä.jpg" in names
    assert pickle.loads(pickle.dumps(names)) == names
    assert Names(["a"]) != Names(["b"])
    with pytest.raises(IndexError):
        names[4]


def test_names_below_folders_are_sorted_as_a_list_of_them_is(tmp_path):
    names = [
        "a/z.jpg",
        "a-1/b.jpg",
        "a.jpg",
        "a b/c.jpg",
        "a/b/c.jpg",
        "a/b-c.jpg",
        "a0/x.jpg",
        "B/x.jpg",
        "\xe4/x.jpg",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(list_images(tmp_path)) == sorted(names)


class Entry:
    """Of a folder of which nobody wants to write a hundred thousand files."""

    def __init__(self, folder, name, is_dir):
        self.name, self.path, self._is_dir = name, f"{folder}/{name}", is_dir

    def is_dir(self):
        return self._is_dir


class Folder(list):
    def __enter__(self):
        return iter(self)

    def __exit__(self, *_):
        pass


def test_what_a_file_s_name_takes_while_it_is_listed(monkeypatch):
    def scandir(path):
        if path.endswith("root"):
            return Folder(Entry(path, f"{number:03}", True) for number in range(100))
        return Folder(Entry(path, f"{number:08}.jpg", False) for number in range(1000))

    monkeypatch.setattr(os, "scandir", scandir)
    tracemalloc.start()
    table = FileTable("root", list_images("root"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table) == 100_000
    assert str(table[99_999]) == "root/099/00000999.jpg"
    # 16 letters and a place; eight million of them in 0.3 GB. As lists they took 170 and more.
    assert peak / len(table) < 40
    assert sys.getsizeof(table.names._text) / len(table) < 20
