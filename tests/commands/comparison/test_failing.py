"""A failure that meets all cells ends a comparison after two of them; others do not."""

import json

import pytest

from pcpad.commands.comparison import running, worker
from pcpad.commands.comparison.cells import TRAINING_FILE, write_failures
from pcpad.commands.comparison.failing import SharedFailures, alike
from pcpad.commands.comparison.grid import PADDING, SEED, Cell, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.comparison.running import run_cells

NO_DATA = "FileNotFoundError: Data set not found in /data: no run starts without it"


def make_grid(root, paddings=("zeros", "reflect", "partial"), seeds=("0", "1", "2"), **axes):
    axes = {PADDING: paddings, **axes, SEED: seeds}
    return enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={}))


class Ended:
    """A cell's process that fails as `errors` says: before it trained, after that (`trained: …`), or not at all."""

    pid = -1

    def __init__(self, root, cell, errors, started):
        started.append(cell.name)
        folder = root / cell.name
        folder.mkdir(parents=True, exist_ok=True)
        worker.forget_attempt(folder)
        error = errors(cell)
        trained, _, later = (error or "trained: ").partition("trained: ")
        self.code = worker.CRASHED if trained or later else 0
        if not trained:
            (folder / TRAINING_FILE).touch()
        if self.code:
            write_failures(folder, [{"step": "fit", "error": trained or later}])

    def poll(self):
        return self.code


def go(root, grid, monkeypatch, errors, **options):
    """Run a grid whose cells fail so: which were started, and what is said of the others."""
    started = []
    monkeypatch.setattr(running, "start", lambda root, grid, cell, environment: Ended(root, cell, errors, started))
    monkeypatch.setattr(running.time, "sleep", lambda seconds: None)
    return started, run_cells(root, grid, grid.cells, **options)


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_cells_that_fail_alike_before_they_train_spare_the_others(tmp_path, monkeypatch, jobs):
    grid = make_grid(tmp_path)
    started, said = go(tmp_path, grid, monkeypatch, lambda cell: NO_DATA, jobs=jobs)
    assert started == ["padding=zeros/seed=0", "padding=reflect/seed=0"]
    (line,) = said
    assert line.startswith("7 runs, since padding=zeros/seed=0 and padding=reflect/seed=0 ended before their first ")
    assert f"with the same error: {NO_DATA}; fix it and repeat the command" in line
    assert line.endswith("run them regardless with --keep-going")
    started, said = go(tmp_path, grid, monkeypatch, lambda cell: NO_DATA, jobs=jobs, keep_going=True)
    assert (len(started), said) == (9, [])


def test_a_padding_that_cannot_run_spares_its_own_cells_alone(tmp_path, monkeypatch):
    grid = make_grid(tmp_path)
    too_small = {"reflect": "RuntimeError: padding too large for reflect"}
    started, said = go(tmp_path, grid, monkeypatch, lambda cell: too_small.get(cell.values[PADDING]))
    assert [name for name in started if "reflect" in name] == ["padding=reflect/seed=0", "padding=reflect/seed=1"]
    assert len(started) == 8
    assert said[0].startswith("1 run, since padding=reflect/seed=0 and padding=reflect/seed=1 ended")


@pytest.mark.parametrize(
    "errors",
    [
        lambda cell: "trained: RuntimeError: CUDA out of memory",
        lambda cell: f"RuntimeError: of {cell.values[SEED] * 2}{cell.values[PADDING] * 2}",
        lambda cell: (
            None if cell.values[PADDING] == "zeros" else f"{NO_DATA} {sorted(cell.values.items())!r} {id(cell)}"
        ),
    ],
    ids=["of training", "each another", "none alike"],
)
def test_other_failures_stop_nothing(tmp_path, monkeypatch, errors):
    started, said = go(tmp_path, make_grid(tmp_path), monkeypatch, errors)
    assert (len(started), said) == (9, [])


def test_what_holds_for_one_value_of_a_further_axis_stays_there(tmp_path, monkeypatch):
    grid = make_grid(tmp_path, ("zeros", "partial"), **{"data.split": ("cv0", "cv2")})
    started, said = go(
        tmp_path, grid, monkeypatch, lambda cell: NO_DATA if cell.values["data.split"] == "cv2" else None
    )
    assert [name for name in started if "cv2" in name] == [
        "padding=zeros/data.split=cv2/seed=0",
        "padding=partial/data.split=cv2/seed=0",
    ]
    assert len(started) == 8
    assert said[0].startswith("4 runs, since ")


def test_one_that_trains_in_this_call_shows_that_the_rest_is_sound(tmp_path):
    failed = SharedFailures(tmp_path)
    zeros, reflect, partial, more = (Cell({PADDING: padding, SEED: "0"}) for padding in ("zeros", "a", "b", "c"))
    for cell in (reflect, partial):
        write_failures(tmp_path / cell.name, [{"step": "fit", "error": NO_DATA}])
        failed.note(cell, worker.CRASHED)
    assert failed.spared([more], [zeros]) == [more]
    (tmp_path / zeros.name).mkdir(parents=True)
    (tmp_path / zeros.name / TRAINING_FILE).touch()
    assert failed.spared([more], [zeros]) == []
    failed.note(zeros, 0)
    assert failed.spared([more]) == []


@pytest.mark.parametrize("code", [-9, 137, 255])
def test_processes_that_were_killed_say_nothing_of_others(tmp_path, code):
    failed = SharedFailures(tmp_path)
    cells = [Cell({PADDING: padding, SEED: "0"}) for padding in ("zeros", "reflect", "partial")]
    for cell in cells[:2]:
        write_failures(tmp_path / cell.name, [{"step": "fit", "error": "killed by SIGKILL (out of memory?)"}])
        failed.note(cell, code)
    assert failed.spared(cells[2:]) == []


def test_a_cells_own_words_make_no_difference():
    one, other = (Cell({PADDING: padding, SEED: seed}) for padding, seed in (("zeros", "0"), ("my.own-padding", "10")))
    for text in (
        "no folder grid/{name}/fit",
        "Expected 10, but got {padding} with seed {seed} of 10",
        "'{padding}': 0 of {seed}",
    ):
        said = [
            text.format(name=cell.name, padding=cell.values[PADDING], seed=cell.values[SEED]) for cell in (one, other)
        ]
        assert alike(one, said[0], other, said[1]), said
    assert not alike(one, "zeros and 1", other, "my.own-padding and 2")
    assert not alike(one, "zeros", other, "zeros and more")


@pytest.mark.slow
def test_a_missing_folder_ends_a_comparison_of_real_runs_early(tmp_path, small_grid):
    process = small_grid.start("grid", "--data.root=nowhere", "--seeds=3")
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "pcpad: not run: 4 runs, since padding=zeros/seed=0 and padding=partial/seed=0 ended before" in printed
    assert "nowhere" in printed.partition("with the same error: ")[2]
    assert len(small_grid.fits("grid")) == 2
    assert json.loads((tmp_path / "grid" / "padding=zeros" / "seed=0" / "crashed.json").read_text())[0]["step"] == "fit"
    assert not list((tmp_path / "grid").rglob(TRAINING_FILE))
    small_grid.run("grid", "--seeds=3", "--trainer.max_epochs=1")
    assert len(list((tmp_path / "grid").rglob(TRAINING_FILE))) == 6
