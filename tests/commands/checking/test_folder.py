"""`pcpad check folder`: everything wrong at once, the classes' shares, and eight samples."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcpad import cli


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for number in range(4):
            ids = np.zeros((16, 20), np.uint8)
            ids[:4] = 1
            ids[0, 0] = 9
            for folder, pixels in (("images", np.full((16, 20, 3), 51 * number, np.uint8)), ("labels", ids)):
                path = tmp_path / "data" / split / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return tmp_path / "data"


def check(*args, code=0):
    args = ["check", "folder", *map(str, args)]
    if not code:
        cli.main(args)
        return
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == code


def test_shares_and_samples(root, capsys):
    check("--data.root", root, "--data.classes", "{0: ground, 1: sky, 2: car}", "--data.ignore", "9")
    said = capsys.readouterr().out
    assert "Shares of the classes (4 train, 4 val)" in said
    row = next(line for line in said.splitlines() if "sky" in line and "%" not in line)
    assert row.replace("│", " ").split() == ["sky", f"{100 * 79 / 319:.2f}", f"{100 * 79 / 319:.2f}", "8"]
    assert "No pixel in train: car" in said
    assert "--model.mean '[0.300, 0.300, 0.300]' --model.std '[0.224, 0.224, 0.224]'" in said
    assert "0 broken, 0 missing, 0 twice, 0 unused" in said
    assert Image.open("check_folder.png").size[0] > 300


@pytest.mark.faults
def test_everything_wrong_at_once(root, capsys):
    (root / "train" / "images" / "0.png").unlink()
    (root / "train" / "labels" / "1.png").write_bytes((root / "train" / "labels" / "1.png").read_bytes()[:40])
    Image.fromarray(np.full((16, 20), 3, np.uint8)).save(root / "val" / "labels" / "2.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "val" / "labels" / "3.png")
    Image.new("RGB", (20, 16)).save(root / "val" / "images" / "1.jpg")
    (root / "val" / "images" / "film.mp4x").write_bytes(b"nothing known")
    options = ["--data.root", root, "--data.classes", "2", "--data.ignore", "9", "--csv", "out/l.csv"]
    check(*options, code=1)
    with Path("out/l.csv").open(newline="") as file:
        found = {row["path"]: (row["problem"], row["detail"]) for row in csv.DictReader(file)}
    assert {path: problem for path, (problem, _) in found.items()} == {
        "train/labels/0.png": "missing",
        "train/labels/1.png": "broken",
        "val/labels/2.png": "broken",
        "val/labels/3.png": "broken",
        "val/images/1.png": "twice",
        "val/images/film.mp4x": "unused",
    }
    assert "3 (320 pixels)" in found["val/labels/2.png"][1]
    assert "has 8x8" in found["val/labels/3.png"][1]
    assert "3 broken, 1 missing, 1 twice, 1 unused. Listed in out/l.csv" in capsys.readouterr().out


@pytest.mark.faults
def test_a_recipe_says_what_is_not_typed(root, capsys):
    Path("mine.yaml").write_text(f"data:\n  init_args:\n    root: {root}\n    classes: 2\n    ignore: 9\n")
    check("--config", "mine.yaml")
    assert "0 broken" in capsys.readouterr().out
    check("--config", "mine.yaml", "--data.classes", "1", code=1)
    assert "8 broken" in capsys.readouterr().out
    Path("other.yaml").write_text("model: 3\n")
    check("--config", "other.yaml", code=1)
    assert "other.yaml has no `data` with `init_args`" in capsys.readouterr().err
    check("--data.root", root, code=1)
    assert "The first masks below" in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.parametrize("ignore", [["--data.ignore", "#000000"], ["--data.ignore=[#000000, #ffffff]"]])
def test_a_color_that_is_ignored_as_a_shell_hands_it_over(tmp_path, monkeypatch, capsys, ignore):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        for folder, color in (("images", (9, 9, 9)), ("masks", (128, 64, 128))):
            path = tmp_path / "own" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (8, 8), color)
            picture.putpixel((0, 0), (0, 0, 0))
            picture.save(path)
    check("--data.root", "own", "--data.classes={road: #804080}", *ignore)
    assert "6 images with masks decoded: 0 broken" in capsys.readouterr().out
