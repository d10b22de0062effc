"""Cells that are left out of a grid."""

import pytest

from pcpad.commands.comparison.axes import exclude, names_of
from pcpad.commands.comparison.grid import PADDING, SEED, expand

AXES = {PADDING: ("zeros", "partial"), "model.network": ("a", "b"), "data.network": ("c",), SEED: ("0", "1")}


def left(*excluded):
    return [tuple(cell.values.values()) for cell in exclude(expand(AXES), excluded)]


def test_cells_of_all_values_named_are_left_out():
    assert len(left()) == 8
    assert set(left()) - set(left("padding=partial,seed=1")) == {("partial", "a", "c", "1"), ("partial", "b", "c", "1")}
    assert set(left()) - set(left("model.network=a,seed=0", "padding=zeros")) == {
        ("zeros", "a", "c", "0"),
        ("partial", "a", "c", "0"),
        ("zeros", "a", "c", "1"),
        ("zeros", "b", "c", "0"),
        ("zeros", "b", "c", "1"),
    }


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        (["partial"], "Expected --exclude NAME=VALUE"),
        (["network=a"], "with names of padding, model.network, data.network, seed"),  # of two
        (["padding=partail"], "padding is zeros, partial in this grid, never 'partail'. Did you mean 'partial'"),
        (["padding=zeros", "padding=partial"], "leaves nothing to run"),
    ],
)
def test_what_is_not_in_the_grid_cannot_be_left_out(excluded, said):
    with pytest.raises(ValueError, match=said):
        left(*excluded)


def test_names_are_short_where_they_are_clear():
    assert names_of([PADDING, "model.network", "data.split", SEED]) == {
        "padding": PADDING,
        "model.padding": PADDING,
        "network": "model.network",
        "model.network": "model.network",
        "split": "data.split",
        "data.split": "data.split",
        "seed": SEED,
        "seed_everything": SEED,
    }
    assert "network" not in names_of(AXES)
