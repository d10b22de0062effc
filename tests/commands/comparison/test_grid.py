"""The folder of a comparison, and what is asked of it later."""

import pytest

from pcpad.commands.comparison.grid import CRASH_FILE, LOCK_FILE, Cell, Grid
from pcpad.commands.comparison.grid_file import enter_grid, read_grid
from pcpad.errors import UserValueError
from pcpad.files import locked

CELLS = tuple(Cell({"model.padding": padding, "seed_everything": "0"}) for padding in ("zeros", "partial"))


def asked(classes):
    axes = ("model.padding", "seed_everything")
    return Grid(("small.yaml",), (), axes, CELLS, resolved={"model.num_classes": classes}, metrics=())


@pytest.fixture
def crashed(tmp_path):
    """A folder whose first run crashed before it trained."""
    folder = tmp_path / "grid"
    enter_grid(folder, asked(10))
    (folder / CELLS[0].name).mkdir(parents=True)
    (folder / CELLS[0].name / CRASH_FILE).write_text("[]")
    return folder


def test_runs_that_only_crashed_give_way_to_another_configuration(crashed, capsys):
    enter_grid(crashed, asked(3))
    assert read_grid(crashed).resolved == {"model.num_classes": 3}
    assert "had crashed before they trained" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "tests/results.json"])
def test_runs_that_trained_do_not(crashed, name):
    path = crashed / CELLS[1].name / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UserValueError, match="num_classes: 10 in the folder, 3 asked for"):
        enter_grid(crashed, asked(3))


def test_a_run_under_way_does_not(crashed):
    with locked(crashed / CELLS[1].name / LOCK_FILE), pytest.raises(UserValueError, match="another configuration"):
        enter_grid(crashed, asked(3))


def test_runs_that_were_only_listed_do_not(tmp_path):
    enter_grid(tmp_path / "grid", asked(10))
    with pytest.raises(UserValueError, match="another configuration"):
        enter_grid(tmp_path / "grid", asked(3))
