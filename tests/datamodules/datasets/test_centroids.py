"""Class centroids against a slow loop, and the file their index is kept in."""

import os

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pcpad.datamodules.datasets import centroids as centroids_module
from pcpad.datamodules.datasets.centroids import Centroids, find_centroids, load_centroids
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE
from pcpad.datamodules.reading import caches as caches_module


def png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


# Centroids


@pytest.mark.parametrize("tile", [16, 24, 100])
def test_centroids_equal_a_slow_loop(tile):
    ids = np.random.default_rng(1).choice([0, 3, 7, 18, IGNORE], (50, 70)).astype(np.uint8)
    ids[:20, :30] = 5
    expected = []
    for top in range(0, 50, tile):
        for left in range(0, 70, tile):
            part = ids[top : top + tile, left : left + tile]
            for train_id in range(19):
                if (part == train_id).any():
                    y, x = ndimage.center_of_mass(part == train_id)
                    # A hair more, as scipy divides floating-point numbers.
                    expected.append((train_id, top + int(y + 1e-9), left + int(x + 1e-9)))
    assert list(map(tuple, find_centroids(ids, tile).tolist())) == expected


def test_centroids_of_a_full_size_tile_are_exact():
    ids = np.zeros((1024, 2048), np.uint8)
    assert find_centroids(ids, 1024).tolist() == [[0, 511, 511], [0, 511, 1535]]


def test_no_centroids_of_ignored_pixels():
    assert find_centroids(np.full((4, 4), IGNORE, np.uint8), 4).shape == (0, 3)


@pytest.fixture
def labeled(tmp_path):
    pairs = []
    for number in range(3):
        pair = Pair(f"images/{number}.png", f"labels/{number}.png")
        ids = np.full((20, 40), 7, np.uint8)
        ids[4:8, 10 * number : 10 * number + 4] = 26
        png(tmp_path / pair.image, np.zeros((20, 40, 3), np.uint8))
        png(tmp_path / pair.label, ids)
        pairs.append(pair)
    return tmp_path, pairs


def counting(monkeypatch):
    looked = []

    def look(train_ids, tile):
        looked.append(tile)
        return find_centroids(train_ids, tile)

    monkeypatch.setattr(centroids_module, "find_centroids", look)
    return looked


def cars(found):
    car = found.select(found.train_id == 13)
    return list(zip(car.file.tolist(), car.y.tolist(), car.x.tolist(), strict=True))


def test_index_is_built_once_with_a_progress_bar(labeled, monkeypatch, capsys):
    root, pairs = labeled
    looked = counting(monkeypatch)
    first = load_centroids(root, "fine", pairs, 40)
    assert "class centroids of fine labels" in capsys.readouterr().err
    assert cars(first) == [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    assert looked == [40] * 3
    again = load_centroids(root, "fine", pairs, 40)
    assert looked == [40] * 3
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert [path.name for path in root.iterdir() if path.is_file()] == ["pcpad_centroids_fine_40.npz"]


@pytest.mark.parametrize("change", ["content", "time", "fewer", "tile", "other name", "damage"])
def test_index_is_rebuilt_when_anything_changes(labeled, monkeypatch, change):
    root, pairs = labeled
    load_centroids(root, "fine", pairs, 40)
    looked = counting(monkeypatch)
    label, tile, expected = root / pairs[1].label, 40, [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    if change == "content":
        ids = np.full((20, 40), 7, np.uint8)
        ids[10:12, 2:4] = 26
        png(label, ids)
        expected[1] = (1, 10, 2)
    elif change == "time":
        os.utime(label, ns=(1, 1))
    elif change == "fewer":
        pairs, expected = pairs[1:], [(0, 5, 11), (1, 5, 21)]
    elif change == "tile":
        tile, expected = 10, [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    elif change == "other name":
        (root / "labels/x.png").write_bytes(label.read_bytes())
        pairs = [pairs[0], Pair(pairs[1].image, "labels/x.png"), pairs[2]]
    else:
        (root / "pcpad_centroids_fine_40.npz").write_bytes(b"PK\3\4 no archive")
    found = load_centroids(root, "fine", pairs, tile)
    assert len(looked) == len(pairs)
    assert cars(found) == expected
    load_centroids(root, "fine", pairs, tile)
    assert len(looked) == len(pairs)


def test_index_of_read_only_data_lies_in_the_users_cache(labeled, tmp_path_factory, monkeypatch):
    root, pairs = labeled
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    write = caches_module._write

    def refuse_root(path, arrays):
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        write(path, arrays)

    monkeypatch.setattr(caches_module, "_write", refuse_root)
    looked = counting(monkeypatch)
    for _ in range(2):
        assert len(cars(load_centroids(root, "fine", pairs, 40))) == 3
    assert len(looked) == 3
    assert [path.name[16:] for path in (cache / "pcpad").iterdir()] == ["_pcpad_centroids_fine_40.npz"]
    assert not list(root.glob("*.npz"))


def test_index_that_can_be_kept_nowhere_is_used_with_a_warning(labeled, monkeypatch):
    root, pairs = labeled

    def refuse(path, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches_module, "_write", refuse)
    with pytest.warns(UserWarning, match="could not be saved and is rebuilt in each run: .*No space left"):
        assert len(cars(load_centroids(root, "fine", pairs, 40))) == 3


def test_a_failed_write_leaves_nothing(labeled, monkeypatch):
    root, pairs = labeled
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "labels" / "0.png"))  # a file: no folder can be made in it

    def fill_the_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill_the_disk)
    with pytest.warns(UserWarning, match="could not be saved"):
        load_centroids(root, "fine", pairs, 40)
    assert sorted(path.name for path in root.iterdir()) == ["images", "labels"]


def test_points_of_other_files_are_dropped_when_moved():
    found = Centroids(*(np.asarray(column, np.int32) for column in ([0, 1, 1, 2], [3, 4, 5, 6], [1] * 4, [2] * 4)))
    moved = found.moved(np.asarray([7, -1, 0], np.int32))
    assert moved.file.tolist() == [7, 0]
    assert moved.train_id.tolist() == [3, 6]
