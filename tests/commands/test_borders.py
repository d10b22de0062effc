"""`pcpad borders` from the command line."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from pcpad import cli

MODULE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))

def classify():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

def unpadded():
    return nn.Sequential(nn.Conv2d(3, 3, 3))

def several():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
        def forward(self, x):
            return {"a": self.conv(x), "b": self.conv(x).mean((2, 3))}
    return Several()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with a module of the user's, and 16 photographs beside it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "nets.py").write_text(MODULE)
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(16):
        small = Image.fromarray(draw.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        small.resize((72, 64), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{index:02}.png")
    monkeypatch.chdir(home)
    return home


def run(*args):
    cli.main(["borders", "--import", "nets", "--images", "../photos", *map(str, args)])


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        run(*args)
    assert caught.value.code not in (0, None)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_a_network_of_the_users_is_measured_and_drawn(folder, capsys):
    run("--network", "nets:make", "--paddings", "partial,replicate", "--noise", 20)
    printed = capsys.readouterr().out
    assert "zeros (own)" in printed
    assert "Recommended:" in printed
    found = json.loads((folder / "borders" / "borders.json").read_text())
    assert found["verdict"] in printed
    assert [result["name"] for result in found["results"]] == ["zeros", "partial", "replicate"]
    assert found["results"][0]["psnr"]["border"]["value"] > 0
    with (folder / "borders" / "borders.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["layer"] for row in rows} == {"", "0", "2"}
    assert {row["padding"] for row in rows} == {"zeros", "partial", "replicate"}
    with Image.open(folder / "borders" / "borders.png") as picture:
        assert min(picture.size) > 500


def test_probes_are_printed_and_written(folder, capsys):
    run(
        "--network",
        "nets:classify",
        "--paddings",
        "circular",
        "--probe",
        "position,pattern,uneven,blind",
        "--output",
        "o",
    )
    printed = capsys.readouterr().out
    assert "PosENet" in printed
    assert "No layer pads unevenly" in printed
    found = json.loads((folder / "o" / "borders.json").read_text())
    assert set(found["probes"]) == {"position", "pattern", "uneven", "blind"}
    assert found["probes"]["pattern"]["zeros"] > 1
    assert found["probes"]["blind"]["circular"] < found["probes"]["blind"]["zeros"]
    assert found["kind"] == "classifier"


def test_a_classifier_by_name_sees_its_size_with_context(folder):
    run("--network", "timm/test_resnet", "--untrained", "--paddings", "partial", "--limit", 16)
    found = json.loads((folder / "borders" / "borders.json").read_text())
    assert (found["crop"], found["context"]) == (160, 64)


@pytest.mark.faults
def test_a_network_without_padding_ends_well(folder, capsys):
    run("--network", "nets:unpadded")
    said = capsys.readouterr().out
    assert "nothing to measure" in said
    assert "errors of the output" not in said  # the title of a table without columns
    assert json.loads((folder / "borders" / "borders.json").read_text())["results"] == []


@pytest.mark.faults
def test_pictures_that_cannot_be_read_are_named_after_the_rest_is_done(folder, capsys):
    broken = folder.parent / "photos" / "broken.png"
    broken.write_bytes((folder.parent / "photos" / "00.png").read_bytes()[:100])
    message = failing(capsys, "--network", "nets:make", "--paddings", "partial")
    assert "1 files could not be read" in message
    assert "broken.png" in message
    assert json.loads((folder / "borders" / "borders.json").read_text())["images"] == 16


@pytest.mark.faults
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--network", "nets:mak"], "has no function 'mak'"),
        (["--network", "other:make"], "allow it by --import other"),
        (["--network", "resnet18"], "resnet18 has random weights"),
        (["--network", "nets:make", "--paddings", "partal"], "Did you mean 'partial'"),
        (["--network", "nets:make", "--output", "nets.py"], "is a file"),
        (["--network", "nets:make", "--images", "."], "no images"),
        (["--network", "nets:make", "--crop", "64", "--context", "8"], "do not fit"),
        (["--network", "nets:make", "--probe", "posenet"], "expected some of position,pattern,uneven,blind"),
        (["--network", "nets:several", "--output_key", "c"], "one of a (1, 3, 64, 64), b (1, 3)"),
        (["--network", "nets:make", "--weights", "absent.pth"], "No weight file at"),
    ],
)
def test_mistakes_are_one_message(args, words, folder, capsys):
    before = sorted(folder.iterdir())
    assert words in failing(capsys, *args)
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before


@pytest.mark.faults
def test_few_images_are_refused(folder, capsys):
    (folder.parent / "photos" / "00.png").unlink()
    assert "has 15 images, and at least 16 are needed" in failing(capsys, "--network", "nets:make")


@pytest.mark.faults
def test_files_among_the_photographs_are_not_replaced(folder, capsys):
    (folder.parent / "photos" / "borders.png").write_bytes((folder.parent / "photos" / "00.png").read_bytes())
    message = failing(capsys, "--network", "nets:make", "--output", "../photos")
    assert "would replace a file of" in message


def test_the_largest_output_is_taken_and_another_by_its_name(folder):
    run("--network", "nets:several", "--paddings", "partial")
    assert json.loads((folder / "borders" / "borders.json").read_text())["kind"] == "dense"
    run("--network", "nets:several", "--paddings", "partial", "--output_key", "b")
    assert json.loads((folder / "borders" / "borders.json").read_text())["kind"] == "classifier"
