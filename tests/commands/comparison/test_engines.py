"""Where cells are run, as it is typed."""

import sys

import pytest

from pcpad.commands.comparison.engines import check_engine, engine, gpus_of_cell
from pcpad.commands.comparison.grid import Grid
from pcpad.commands.comparison.request import parser
from pcpad.commands.comparison.running import run_cells


def asked(*words):
    return parser().parse_args(["--output", "x", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--jobs=0"], "--jobs must be at least 1"),
        (["--jobs=2", "--on=ray"], "--jobs has no effect here: it needs no --on"),
        (["--address=1.2.3.4:5"], "--address has no effect here: it needs --on ray"),
        (["--address=1.2.3.4:5", "--on=slurm"], "--address has no effect here: it needs --on ray"),
        (["--slurm=partition=gpu", "--on=ray"], "--slurm has no effect here: it needs --on slurm"),
        (["--cell-cpus=2"], "--cell-cpus has no effect here: it needs --on ray or --on slurm"),
        (["--cell-gpus=0"], "--cell-gpus has no effect here"),
        (["--cell-gpus=-1", "--on=ray"], "--cell-gpus must be 0 or more"),
        (["--on=ray", "--list"], "--on ray runs cells, and --list runs none"),
        (["--on=slurm", "--report"], "--on slurm runs cells, and --report runs none"),
        (["--keep-going", "--list"], "--keep-going runs cells, and --list runs none"),
    ],
)
def test_options_without_effect_are_refused(words, said):
    with pytest.raises(ValueError, match=said):
        check_engine(asked(*words))


@pytest.mark.parametrize("words", [[], ["--jobs=3"], ["--on=ray", "--address=h:1"], ["--on=slurm", "--cell-gpus=0"]])
def test_those_with_effect_are_not(words):
    check_engine(asked(*words))


def make_grid(**trainer):
    return Grid(("fake.yaml",), (), (), (), resolved={"trainer": trainer})


def test_without_on_cells_run_here():
    with engine(asked("--jobs=3"), make_grid(accelerator="cpu")) as run:
        assert (run.func, run.keywords) == (run_cells, {"jobs": 3, "gpus": 0, "keep_going": False})


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_engine_that_is_not_installed_or_too_much_for_it(name, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=f"--on {name} gives each run one machine"):
        engine(asked(f"--on={name}"), make_grid(num_nodes=2)).__enter__()
    for variable in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(variable, "")
    for module in ("ray", "submitit"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=rf"--on {name} needs .*pip install 'pcpad\[{name}\]'"):
        engine(asked(f"--on={name}", "--output", str(tmp_path)), make_grid()).__enter__()


@pytest.mark.parametrize(
    ("trainer", "gpus"),
    [
        ({"accelerator": "cpu", "devices": 2}, 0),
        ({}, 1),
        ({"devices": "auto"}, 1),
        ({"devices": 2}, 2),
        ({"devices": "4"}, 4),
        ({"devices": [0, 3]}, 2),
        ({"devices": -1}, 1),
    ],
)
def test_a_cell_has_the_gpus_that_it_asks_for(trainer, gpus):
    assert gpus_of_cell(make_grid(**trainer)) == gpus
