"""The one style of plots."""

import pytest
from PIL import Image

from pcpad.paddings import padding_names
from pcpad.tasks.pictures.plots import COLORS, curve_style, new_figure, padding_style, place_style, save_figure


def test_each_padding_has_a_look_of_its_own():
    looks = [tuple(padding_style(name).values()) for name in padding_names()]
    assert len(set(looks)) == len(looks)
    assert {look[0] for look in looks} <= set(COLORS)
    assert padding_style("zeros")["color"] == "#E69F00"
    assert padding_style("partial")["color"] == "#0072B2"


def test_a_padding_of_someone_else_s_keeps_its_look():
    # In every process, and whatever else is registered.
    assert padding_style("half") == {"color": "#44AA99", "linestyle": "-.", "marker": "o"}
    assert padding_style("half") != padding_style("thirds")


def test_curves_named_after_a_padding_have_its_look():
    assert curve_style("trained with zeros", 4) == curve_style("zeros", 0) == padding_style("zeros")
    assert curve_style("border_tile512", 4) == place_style(4) == place_style(12)


def test_a_figure_is_whole_or_not_there(tmp_path):
    figure, axes = new_figure(2, 3, (3, 2))
    assert axes.shape == (2, 3)
    path = save_figure(figure, tmp_path / "new" / "a.png", dots_per_inch=50)
    with Image.open(path) as picture:
        assert picture.size == (150, 100)
    before = path.read_bytes()
    axes[0, 0].set_title("$\\nonsense{$")  # found out while drawing
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    axes[0, 0].set_title("")
    assert save_figure(figure, tmp_path / "a.SVG").read_bytes().startswith(b"<?xml")
    assert sorted(file.name for file in tmp_path.rglob("*.*")) == ["a.SVG", "a.png"]
