"""Jobs of an engine that are lost, and what is done about it."""

import json

import pytest

from pcpad.commands.comparison import worker
from pcpad.commands.comparison.cells import TRAINING_FILE, failures, folder_of_test, write_failures
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.comparison.remote import RETRIES, LostError, run_here, run_on


class Jobs:
    """An engine whose jobs end as a list says, in that order for each cell."""

    name = "jobs"

    def __init__(self, root, grid, endings, retries=RETRIES):
        self.root, self.grid, self.endings, self.retries = root, grid, endings, retries
        self.submitted, self.canceled = [], []

    def submit(self, cells):
        self.submitted.append([cell.name for cell in cells])
        return list(cells)

    def ended(self, handles):
        return handles[:1]

    def result(self, handle):
        ending = self.endings[handle.name].pop(0)
        if ending in ("done", "done, then lost"):
            finish(self.root, self.grid, handle)
        if ending in ("lost", "done, then lost"):
            raise LostError(ending)
        if isinstance(ending, BaseException):
            raise ending
        return (0 if ending == "done" else ending), 61.0

    def cancel(self, handles):
        self.canceled += [cell.name for cell in handles]

    def close(self):
        pass


def finish(root, grid, cell):
    for verb, folder in (("fit", root / cell.name / "fit"), ("test", folder_of_test(root, grid, cell, "zeros"))):
        run = folder / "fake" / "version_0"
        run.mkdir(parents=True)
        (run / "results.json").write_text(json.dumps({verb: {"metrics": {}}}))


@pytest.fixture
def grid(tmp_path):
    axes = {PADDING: ("zeros",), SEED: ("0", "1", "2")}
    return enter_grid(tmp_path, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={}))


def by_seed(*endings):
    return {f"padding=zeros/seed={seed}": list(each) for seed, each in enumerate(endings)}


def test_what_is_lost_is_run_again_and_nothing_else(tmp_path, grid, capsys):
    finish(tmp_path, grid, grid.cells[0])
    engine = Jobs(tmp_path, grid, by_seed((), ("lost", 143, "done"), ("done, then lost",)))
    run_on(engine, tmp_path, grid, grid.cells)
    one, two = (f"padding=zeros/seed={seed}" for seed in (1, 2))
    assert engine.submitted == [[one, two], [one], [one]]
    printed = capsys.readouterr().out
    assert "1 of 3 runs are finished already" in printed
    assert printed.count(f"{one} was lost with its job, and is run again") == 2
    assert f"[1/2] {two} done (its job on jobs was lost after that)" in printed
    assert f"[2/2] {one} done in 1:01" in printed
    assert engine.canceled == []


@pytest.mark.parametrize(("retries", "times"), [(RETRIES, 4), (0, 1)])
def test_what_is_always_lost_is_a_crash_in_the_end(tmp_path, grid, capsys, retries, times):
    engine = Jobs(tmp_path, grid, by_seed(["lost"] * 9, ["done"], [worker.CRASHED]), retries)
    run_on(engine, tmp_path, grid, grid.cells)
    assert sum("padding=zeros/seed=0" in cells for cells in engine.submitted) == times
    error = f"its job was lost {times} times"
    assert failures(tmp_path / grid.cells[0].name) == [{"step": "fit", "error": error}]
    printed = capsys.readouterr().out
    assert f"padding=zeros/seed=0 CRASHED: {error}" in printed
    assert "padding=zeros/seed=2 CRASHED after 1:01: fit: nothing was printed" in printed


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_stopping_ends_the_jobs_under_way(tmp_path, grid, stop):
    engine = Jobs(tmp_path, grid, by_seed(["done"], [stop], []))
    with pytest.raises(type(stop)):
        run_on(engine, tmp_path, grid, grid.cells)
    assert engine.canceled == ["padding=zeros/seed=2"]


def test_jobs_that_would_fail_as_others_did_are_canceled(tmp_path, grid, capsys):
    def fails(engine):
        for cell in grid.cells[:2]:
            (tmp_path / cell.name).mkdir(parents=True, exist_ok=True)
            write_failures(tmp_path / cell.name, [{"step": "fit", "error": "no data"}])
        return run_on(engine, tmp_path, grid, grid.cells, keep_going=keep_going)

    endings, keep_going = ([worker.CRASHED], [worker.CRASHED], ["done"]), False
    (tmp_path / grid.cells[2].name).mkdir(parents=True)
    (tmp_path / grid.cells[2].name / TRAINING_FILE).touch()  # of an attempt before: it says nothing of this one
    engine = Jobs(tmp_path, grid, by_seed(*endings))
    (said,) = fails(engine)
    assert said.startswith("1 run, since padding=zeros/seed=0 and padding=zeros/seed=1 ended before their first")
    assert engine.canceled == ["padding=zeros/seed=2"]
    keep_going = True
    engine = Jobs(tmp_path, grid, by_seed(*([*each] for each in ([worker.CRASHED], [worker.CRASHED], ["done"]))))
    assert fails(engine) == []
    assert engine.canceled == []
    assert "padding=zeros/seed=2 done in 1:01" in capsys.readouterr().out


def test_a_machine_without_the_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"This machine has no .*grid\.json: the folder must be one that all"):
        run_here("elsewhere", "padding=zeros/seed=0", {}, str(tmp_path))


def test_a_cell_s_process_is_told_nothing_of_the_engine(tmp_path, grid, monkeypatch):
    for name in ("SLURM_NTASKS", "RAY_JOB_ID", "SUBMITIT_FOLDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "4")
    monkeypatch.chdir(tmp_path)
    codes, seen = [worker.ELSEWHERE, 0], []

    class Process:
        def __init__(self, *args):
            seen.append(args)
            self.code = codes.pop(0)

        def wait(self):
            return self.code

        poll = wait

    monkeypatch.setattr("pcpad.commands.comparison.remote.start", Process)
    monkeypatch.setattr("pcpad.commands.comparison.remote.time.sleep", lambda seconds: None)
    code, seconds = run_here(".", grid.cells[1].name, {**grid.tests, "cross": True}, str(tmp_path))
    assert code == 0
    assert seconds >= 0
    assert len(seen) == 2  # the lock of a job that was lost was still held
    _, asked, cell, environment = seen[0]
    assert asked.cross
    assert cell == grid.cells[1]
    assert environment["CUDA_VISIBLE_DEVICES"] == "4"
    assert not [name for name in environment if name.startswith(("SLURM_", "RAY_", "SUBMITIT_"))]
