"""The one style of plots."""

import errno

import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from PIL import Image

from pcpad.paddings import padding_names
from pcpad.tasks.pictures.plots import (
    COLORS,
    curve_style,
    figure_text,
    new_figure,
    padding_style,
    place_style,
    save_figure,
)


class Broken(Artist):
    """Cannot be drawn."""

    def draw(self, renderer):
        message = "nonsense"
        raise ValueError(message)


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
    broken = axes[0, 0].add_artist(Broken())  # found out while drawing
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    broken.remove()
    assert save_figure(figure, tmp_path / "a.SVG").read_bytes().startswith(b"<?xml")
    assert sorted(file.name for file in tmp_path.rglob("*.*")) == ["a.SVG", "a.png"]


@pytest.mark.faults
@pytest.mark.parametrize("title", ["$\\nonsense{$", "a_b costs $5 or $6", "esc\x1b[2J \udcff"])
def test_names_are_no_formulas_and_no_control_characters(tmp_path, title):
    figure, axes = new_figure(1, 1, (4, 3))
    axes[0, 0].set_title(title)
    axes[0, 0].plot([0, 1], [0, 1], label=figure_text(f"_{title}"))
    axes[0, 0].set_xticks([0], [figure_text(title)])
    legend = axes[0, 0].legend()
    assert len(legend.get_texts()) == 1, "matplotlib leaves out what begins with _"
    text = save_figure(figure, tmp_path / "a.svg").read_text(encoding="utf-8")
    shown = title.replace("\x1b", r"\x1b").replace("\udcff", r"\xff")
    assert f"<!-- {shown} -->" in text
    assert not set(text) & {"\x1b", "\udcff"}


@pytest.mark.faults
def test_a_full_disk_leaves_the_figure_that_was_there(tmp_path, monkeypatch):
    figure, _ = new_figure(1, 1, (4, 3))
    path = save_figure(figure, tmp_path / "a.png")
    before = path.read_bytes()

    def full(axes, renderer):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Axes, "draw", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == before
