"""Indices of many videos: kept while they are made, read once, looked at when they are used."""

import os
import time
import zipfile

import numpy as np
import pytest

from pcpad.datamodules import KineticsDataModule
from pcpad.datamodules.datasets import video_table as table_module
from pcpad.datamodules.datasets.video_table import load_videos
from pcpad.datamodules.reading.video_files import BrokenVideoError

pytestmark = pytest.mark.faults
NAMES = [f"{letter}.mp4" for letter in "abcdef"]


@pytest.fixture
def root(videos, tmp_path, monkeypatch):
    """Six videos, links to one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = tmp_path / "data"
    first = videos.write(folder / NAMES[0], 4)
    for name in NAMES[1:]:
        os.link(first, folder / name)
    return folder


@pytest.fixture
def looked(monkeypatch):
    """The names of the videos that are looked through; one called in `looked.end` raises Ctrl-C."""

    class Looked(list):
        end = None

    looked, index = Looked(), table_module.index_video

    def look(path):
        if path.name == looked.end:
            raise KeyboardInterrupt
        looked.append(path.name)
        return index(path)

    monkeypatch.setattr(table_module, "index_video", look)
    return looked


def test_what_was_found_before_an_interruption_is_kept(root, looked):
    looked.end = "d.mp4"
    with pytest.raises(KeyboardInterrupt):
        load_videos(root, NAMES)
    looked.end = None
    table, broken = load_videos(root, NAMES)
    assert (len(table), broken) == (6, [])
    assert list(looked) == NAMES, "each once"


def test_what_was_found_before_a_kill_is_kept(root, looked, monkeypatch):
    """Nothing runs at SIGKILL, and at SIGTERM before training: what is in the file by then is what is left."""
    from pcpad.datamodules.datasets import video_indices as indices_module

    monkeypatch.setattr(indices_module, "_SECONDS", 0.0)
    monkeypatch.setattr(indices_module, "_SHARE", 0)
    write, kept = indices_module.write_arrays, []
    monkeypatch.setattr(
        indices_module,
        "write_arrays",
        lambda places, arrays: kept.append(len(arrays["sizes"])) or write(places, arrays),
    )
    load_videos(root, NAMES)
    assert kept[:3] == [1, 2, 3]


def test_writing_takes_a_small_part_of_the_time(root, monkeypatch):
    from pcpad.datamodules.datasets import video_indices as indices_module

    clock, writes = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def write(places, arrays):
        writes.append(clock[0])
        clock[0] += 2

    monkeypatch.setattr(indices_module, "write_arrays", write)
    known = indices_module.KnownVideos(root)
    for number in range(1000):
        clock[0] += 1
        known.add(f"{number}.mp4", indices_module.Entry(1, 1, b"x", ""))
    assert 2 * len(writes) < clock[0] / 15
    assert len(writes) > 15


def test_each_video_is_asked_for_once_and_the_file_read_once(videos, tmp_path, monkeypatch):
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            videos.write(tmp_path / split / "a" / f"{number}.mp4", 20)
    KineticsDataModule(tmp_path, num_workers=0).setup("fit")
    stats, reads, stat = [], [], os.stat

    def counted(path, *args, **options):
        stats.append(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else None
        return stat(path, *args, **options)

    archive = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args, **options: reads.append(1) or archive(*args, **options))
    monkeypatch.setattr(os, "stat", counted)
    KineticsDataModule(tmp_path, num_workers=0).setup("fit")
    monkeypatch.setattr(os, "stat", stat)
    assert len([path for path in stats if path.endswith(".mp4")]) == 5
    assert len(reads) == 1


def test_an_index_is_looked_at_when_it_is_used(root, looked):
    load_videos(root, NAMES)
    with np.load(root / "pcpad_videos.npz") as stored:
        content = dict(stored)
    content["packed"] = content["packed"].copy()
    content["packed"][: content["ends"][1]] = 7
    np.savez_compressed(root / "pcpad_videos.npz", **content)
    table, broken = load_videos(root, NAMES, lazily=True)
    assert (len(table), broken) == (6, [])
    assert len(looked) == 6, "nothing is made before it is used"
    assert table.index(0).pts.tolist() == table.index(1).pts.tolist()
    table.index(0)
    assert list(looked) == [*NAMES, "a.mp4"], "made anew, once"
    (root / "a.mp4").unlink()
    table, _ = load_videos(root, NAMES[1:], lazily=True)
    (root / "b.mp4").write_bytes(b"no video")
    table._packed = bytes(len(table._packed))
    with pytest.raises(BrokenVideoError, match=r"b\.mp4: not a video file"):
        table.index(0)


def test_what_another_run_finds_meanwhile_is_kept(root, looked, monkeypatch):
    index = table_module.index_video

    def look(path):
        if path.name == "c.mp4":
            monkeypatch.setattr(table_module, "index_video", index)
            load_videos(root, NAMES[3:])
        return index(path)

    monkeypatch.setattr(table_module, "index_video", look)
    load_videos(root, NAMES[:3])
    before = len(looked)
    load_videos(root, NAMES)
    assert len(looked) == before == 6
