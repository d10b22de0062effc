"""The notebooks in `examples/`: percent files that import public names alone, and find what they say."""

import ast
import importlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
CELL = re.compile(r"^# %%( \[markdown\])?$", re.MULTILINE)
MOST_SECONDS = 60  # of one core's time


def cells(path):
    """Kind ("markdown" or "code") and text of each cell."""
    text = path.read_text(encoding="utf-8")
    marks = list(CELL.finditer(text))
    assert marks
    assert marks[0].start() == 0, "the file begins with a cell"
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        ("markdown" if mark[1] else "code", text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_a_notebook_of_cells(path):
    found = cells(path)
    assert found[0][0] == "markdown"
    assert found[0][1].startswith("# # "), "the first cell has the title"
    assert {"markdown", "code"} == {kind for kind, _ in found}
    for kind, text in found:
        assert text
        if kind == "markdown":
            assert not [line for line in text.splitlines() if line != "#" and not line.startswith("# ")]
        else:
            compile(text, path.name, "exec")
    assert not re.search(r"^# %%(?!( \[markdown\])?$)", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_imports_public_names_only(path):
    ours = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("pcpad.")], (
                "import names from there"
            )
        if not isinstance(node, ast.ImportFrom) or not node.module.startswith("pcpad"):
            continue
        module = importlib.import_module(node.module)
        for alias in node.names:
            ours += 1
            assert not [word for word in f"{node.module}.{alias.name}".split(".") if word.startswith("_")]
            assert hasattr(module, alias.name)
            assert alias.name in getattr(module, "__all__", [alias.name])
    assert ours


@pytest.fixture
def run(tmp_path):
    """Run an example in a folder of its own; what it printed, and the folder."""

    def _run(name):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            [sys.executable, FOLDER / f"{name}.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < MOST_SECONDS
        return done.stdout, tmp_path

    return _run


def numbers(text, line):
    """The numbers in the line that begins with a text."""
    (found,) = [each for each in text.splitlines() if each.strip(" │|").startswith(line)]
    return [float(number) for number in re.findall(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?", found.split(line, 1)[1])]


def assert_pictures(folder, *names):
    """They are there, and show something."""
    for name in names:
        with Image.open(folder / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) > 200, name
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, name


@pytest.mark.slow
def test_borders_of_your_network(run):
    text, folder = run("borders_of_your_network")
    assert numbers(text, "right pixels:")[0] > 60  # a quarter by chance
    zeros, partial, reflect, replicate = numbers(text, "error, outermost 8 px")
    assert min(partial, reflect, replicate) < zeros
    assert "Recommended:" in text
    assert "6 modules converted, 1 left" in text
    assert "the same bit for bit: True" in text
    assert numbers(text, "tiles of 80 pixels")[0] > 0
    assert numbers(text, "tiles with an exact margin")[0] == 0
    assert_pictures(folder, "borders_error.png", "borders_seams.png")


@pytest.mark.slow
def test_fill_a_photograph(run):
    text, folder = run("fill_a_photograph")
    assert "valid pixels unchanged: True" in text
    for damage in ("scratches", "writing"):
        auto, _network, _biharmonic, telea, ns = numbers(text, damage)
        assert auto > max(telea, ns)
    assert_pictures(folder, "filled_photograph.png", "filled.png")
    with Image.open(folder / "filled.png") as picture:
        assert picture.size == (512, 512)


@pytest.mark.slow
def test_segmentation_of_your_folder(run):
    text, folder = run("segmentation_of_your_folder")
    assert len(list((folder / "textures").rglob("*.png"))) == 2 * (24 + 8)
    regular, tiles, margin = (numbers(text, name) for name in ("regular", "tile64_o0 ", "tile64_o0_margin_32"))
    assert regular[0] > 50
    assert regular[0] != tiles[0]
    assert abs(margin[0] - regular[0]) < abs(tiles[0] - regular[0])
    assert len(re.findall(r"border_tile64", text)) == 3
    assert_pictures(folder, "segmentation.png", "leave_out.png")


@pytest.mark.slow
def test_compare_paddings(run):
    text, folder = run("compare_paddings")
    border, interior = text.split("inside of them")
    for padding in ("zeros", "partial", "replicate"):
        outside, inside = numbers(border, padding), numbers(interior, padding)
        assert len(outside) == len(inside) == (2 if padding == "zeros" else 6)
        assert outside[0] > inside[0]
        assert padding != "zeros" or outside[0] > 3 * inside[0], "only the border is hard"
    assert_pictures(folder, "paddings_compared.png")


@pytest.mark.slow
def test_masks_after_a_concatenation(run):
    text, folder = run("masks_after_a_concatenation")
    assert numbers(text, "holes before:") == [2500, 2116]  # 50² and 46²: two pixels less on each side
    assert json.loads(re.search(r"with (\[.*?\])", text)[1]) == [1764, 2116]
    assert numbers(text, "largest difference to a mask per channel:")[0] < 1e-5
    for shortcut in ("union, valid where either is", "intersection, valid where both are"):
        at_the_hole, elsewhere = numbers(text, shortcut)
        assert at_the_hole > 0.01
        assert elsewhere < 1e-3
    assert "valid pixels [16384, 6144]" in text
    assert_pictures(folder, "masks.png")
