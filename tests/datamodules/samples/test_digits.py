"""The digits as an image folder: format, split, and never over anybody's files."""

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

import pcpad.datamodules
from pcpad.datamodules.samples import SAMPLES, SampleSummary
from pcpad.datamodules.samples import digits as digits_module
from pcpad.datamodules.samples import writing as writing_module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("sklearn")
    root = tmp_path_factory.mktemp("samples") / "new" / "digits"
    assert SAMPLES["digits"](root) == SampleSummary("digits", root, {"train": 1078, "val": 360, "test": 359}, True)
    return root


def files(root, split):
    return sorted(path.relative_to(root / split).as_posix() for path in (root / split).rglob("*.png"))


def test_layout_and_stratified_split(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["pcpad_sample.json", "test", "train", "val"]
    names = [name for split in ("train", "val", "test") for name in files(folder, split)]
    assert len(names) == len({name.split("/")[1] for name in names}) == 1797
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert sorted(path.name for path in (folder / split).iterdir()) == list("0123456789")
        for digit in range(10):
            of_digit = [name for name in names if name.startswith(f"{digit}/{digit}_")]
            assert abs(len(list((folder / split / str(digit)).iterdir())) - share * len(of_digit)) < 1


def test_images_are_scikit_learns_at_full_range_without_a_margin(folder):
    from sklearn.datasets import load_digits

    source = load_digits()
    reach = 0
    for name in files(folder, "val"):
        with Image.open(folder / "val" / name) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), "L", "PNG")
            gray = np.asarray(image)
        digit, number = name[:-4].split("/")[1].split("_")
        assert source.target[int(number)] == int(digit)
        blocks = gray.reshape(8, 4, 8, 4).mean((1, 3))
        # Bicubic enlarging keeps a block's mean to within its overshoot; a shifted or mixed-up image would not.
        assert np.corrcoef(blocks.ravel(), source.images[int(number)].ravel())[0, 1] > 0.95
        assert gray.max() > 230
        assert gray.min() == 0
        reach += bool(max(gray[0].max(), gray[-1].max()) > 64)
    assert reach > 350


def test_seed_and_size(folder, tmp_path, monkeypatch):
    images, labels = digits_module._load()
    monkeypatch.setattr(digits_module, "_load", lambda: (images[:200], labels[:200]))
    for name, options in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"image_size": 8})):
        SAMPLES["digits"](tmp_path / name, **options)
    assert files(tmp_path / "a", "train") == files(tmp_path / "b", "train") != files(tmp_path / "c", "train")
    name = files(tmp_path / "d", "val")[0]
    with Image.open(tmp_path / "d" / "val" / name) as image:
        assert np.array_equal(np.asarray(image), images[int(name[-8:-4])])
    with pytest.raises(ValueError, match=r"`image_size` to be at least 8.*got 4"):
        SAMPLES["digits"](tmp_path / "e", image_size=4)


def test_second_run_writes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    summary = SAMPLES["digits"](folder)
    assert not summary.written
    assert str(summary) == f"digits: 1078 train, 360 val, 359 test in {folder} (already there)"
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_refuses_a_folder_it_did_not_write(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=rf"{tmp_path} is not empty and was not written by"):
        SAMPLES["digits"](tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileExistsError, match="is a file"):
        SAMPLES["digits"](tmp_path / "thesis.tex")


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "{not json"])
def test_refuses_a_marker_it_cannot_read(tmp_path, content):
    (tmp_path / writing_module.MARKER).write_text(content)
    with pytest.raises(FileExistsError, match="was not written by"):
        SAMPLES["digits"](tmp_path)


def test_without_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pcpad\[samples\]'"):
        SAMPLES["digits"](tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


def test_registry_imports_without_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in [name for name in sys.modules if name.startswith("pcpad.datamodules.samples")]:
        monkeypatch.delitem(sys.modules, name)
    # Importing sets the submodule on its parent, which monkeypatch puts back too.
    monkeypatch.setattr(pcpad.datamodules, "samples", None)
    assert "digits" in importlib.import_module("pcpad.datamodules.samples").SAMPLES
