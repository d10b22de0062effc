"""Classes by number, id, color or file; and what is said of values that are none."""

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.datasets.class_values import parse_classes
from pcpad.datamodules.reading.label_files import read_label_file
from pcpad.errors import UserFileNotFoundError, UserValueError

IDS = np.array([[0, 1], [7, 255]], np.uint8)
ROAD, SKY, VOID = (128, 64, 128), (70, 130, 180), (0, 0, 0)


def saved(path, pixels, palette=None):
    image = Image.fromarray(np.asarray(pixels, np.uint8) if palette else np.asarray(pixels))
    if palette is not None:
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette([part for color in palette for part in color])
    image.save(path)
    return read_label_file(path)


def classes(file, given, ignore=None, root="."):
    return parse_classes(given, ignore, root).classes_of(file).tolist()


@pytest.mark.parametrize(
    ("given", "ignore", "expected", "names"),
    [
        ({0: "road", 1: "sky", 7: "car"}, None, [[0, 1], [2, 255]], ["road", "sky", "car"]),
        ({"0": "road", "1": "road", "7": "car"}, None, [[0, 0], [1, 255]], ["road", "car"]),  # as JSON keeps it
        ({7: "car"}, "others", [[255, 255], [0, 255]], ["car"]),
        ({0: "none", 255: "crack"}, [1, 7], [[0, 255], [255, 1]], ["none", "crack"]),
        (8, None, [[0, 1], [7, 255]], list("01234567")),
        ("8", 255, [[0, 1], [7, 255]], list("01234567")),
        (["a", "b"], [7, 255], [[0, 1], [255, 255]], ["a", "b"]),
    ],
)
def test_ids(tmp_path, given, ignore, expected, names):
    file = saved(tmp_path / "a.png", IDS)
    assert classes(file, given, ignore) == expected
    assert parse_classes(given, ignore, tmp_path).names == names


def test_colors_of_pictures_and_of_palettes(tmp_path):
    colors = {"road": "#804080", "sky": list(SKY), "car": [[0, 0, 1], [0, 0, 2]]}
    pixels = np.array([[ROAD, SKY], [(0, 0, 2), VOID]], np.uint8)
    assert classes(saved(tmp_path / "a.png", pixels), colors, "#000000") == [[0, 1], [2, 255]]
    assert classes(saved(tmp_path / "b.png", pixels), colors, [[0, 0, 0]]) == [[0, 1], [2, 255]]
    indexed = saved(tmp_path / "c.png", [[0, 1], [2, 3]], palette=[ROAD, SKY, (0, 0, 1), VOID])
    assert classes(indexed, colors, [0, 0, 0]) == [[0, 1], [2, 255]]
    assert classes(indexed, 4) == [[0, 1], [2, 3]], "of a palette without colors by name, the indices"
    assert parse_classes(colors, None, tmp_path).colors == [ROAD, SKY, (0, 0, 1)]


def test_files_that_name_classes(tmp_path):
    (tmp_path / "names.txt").write_text("road\nsky\n\n")
    (tmp_path / "colors.csv").write_text("name;r;g;b\nroad;128;64;128\nsky;70;130;180\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:70,130,180::\n")
    (tmp_path / "data.yaml").write_text("path: ../x\nnames: {0: road, 1: sky}\n")
    for name in ("names.txt", "colors.csv", "labelmap.txt", "data.yaml"):
        found = parse_classes(name, None, tmp_path)
        assert found.names == ["road", "sky"], name
        assert found.colors == ([ROAD, SKY] if name in ("colors.csv", "labelmap.txt") else None), name


@pytest.mark.faults
def test_values_that_are_no_classes_are_counted(tmp_path):
    file = saved(tmp_path / "a.png", IDS)
    with pytest.raises(UserValueError) as caught:
        classes(file, {0: "road", 1: "sky"})
    assert "a.png: 1 pixels hold ids that `classes` does not name: 7 (1 pixels). Expected 0 road, 1 sky" in str(
        caught.value
    )
    assert "ignored: 255" in str(caught.value)
    assert "--data.ignore others" in str(caught.value)
    colored = saved(tmp_path / "b.png", np.array([[ROAD, ROAD, SKY]], np.uint8))
    with pytest.raises(UserValueError, match=r"1 pixels hold colors .*: #4682b4 \(1 pixels\)\. Expected #804080 road"):
        classes(colored, {"road": "#804080"})
    jpeg = saved(tmp_path / "c.jpg", np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    with pytest.raises(UserValueError, match="JPEG, which changes values"):
        classes(jpeg, {"road": "#804080"})
    alpha = saved(tmp_path / "d.png", np.array([[(*ROAD, 255), (0, 0, 0, 0)]], np.uint8))
    with pytest.raises(UserValueError, match=r"#000000 \(1 pixels\).*1 pixels are transparent"):
        classes(alpha, {"road": "#804080"})
    white = saved(tmp_path / "e.png", np.array([[0, 255]], np.uint8))
    with pytest.raises(UserValueError, match="If white stands for a class"):
        classes(white, {0: "none", 1: "crack"}, ignore=7)


@pytest.mark.faults
def test_ids_where_colors_are_expected_and_the_other_way(tmp_path):
    with pytest.raises(
        UserValueError, match=r"as `classes` has ids, but each pixel is an RGB color: #804080 \(2 pixels\)"
    ):
        classes(saved(tmp_path / "a.png", np.array([[ROAD, ROAD]], np.uint8)), 3)
    with pytest.raises(UserValueError, match="one gray value: if these are ids"):
        classes(saved(tmp_path / "b.png", IDS), {"road": "#804080"})
    deep = saved(tmp_path / "c.png", np.array([[300]], np.uint16))
    assert classes(deep, {300: "x"}) == [[0]]
    with pytest.raises(UserValueError, match="more than 8 bits"):
        classes(deep, {"road": "#804080"})
    gray = saved(tmp_path / "d.png", np.array([[[1, 1, 1], [0, 0, 0]]], np.uint8))
    assert classes(gray, 2) == [[1, 0]], "gray saved as colors says the same"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("given", "ignore", "said"),
    [
        (0, None, "a number of classes"),
        (True, None, "a number of classes"),
        ({}, None, "a number of classes"),
        ({"road": None}, None, "names by id"),
        ({-1: "x"}, None, "ids in 0 … 65535"),
        ({0: "a", "0": "b"}, None, "gives 0 to a and to b"),
        (["a", "a"], None, "names 'a' twice"),
        (300, None, "at most 255 classes, but got 256"),
        ({"a": "#000001", "b": [0, 0, 1]}, None, "gives #000001 to a and to b"),
        ({"a": "#000001", "b": "blue"}, None, "Expected a color of 'b'.*but got 'blue'"),
        ({"a": [0, 0, 256]}, None, "Expected a color of 'a'"),
        ({0: "a"}, 0, "`ignore` holds 0, which `classes` gives to a"),
        ({0: "a"}, "blue", "Expected argument `ignore` to be ids"),
        ({"a": "#000001"}, 5, "Expected a color in `ignore`"),
    ],
)
def test_classes_that_make_no_sense(tmp_path, given, ignore, said):
    with pytest.raises(UserValueError, match=said):
        parse_classes(given, ignore, tmp_path)


@pytest.mark.faults
def test_files_of_classes_that_are_none(tmp_path):
    with pytest.raises(UserFileNotFoundError, match=r"`classes` is 'names.txt', which is not a file: looked for"):
        parse_classes("names.txt", None, tmp_path)
    (tmp_path / "names.txt").write_text("# nothing\n")
    with pytest.raises(UserValueError, match="names no classes"):
        parse_classes("names.txt", None, tmp_path)
    (tmp_path / "c.csv").write_text("name,r,g,b\nroad,1,2,x\n")
    with pytest.raises(
        UserValueError, match=r"c.csv, line 2: expected name,r,g,b with numbers 0 … 255, but got 'road,1,2,x'"
    ):
        parse_classes("c.csv", None, tmp_path)
    (tmp_path / "d.csv").write_text("r,g,b\n1,2,3\n")
    with pytest.raises(UserValueError, match="expected the columns name,r,g,b"):
        parse_classes("d.csv", None, tmp_path)
