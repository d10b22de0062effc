"""What is said of a cell whose process ended, however it did."""

import json
import os
import signal
import sys

import pytest

from pcpad.commands.comparison import running, worker
from pcpad.commands.comparison.cells import failures, finished_entry
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("sys.exit(255)", "ended with exit code 255"),
        ("sys.exit(3)", "ended with exit code 3"),
        ("sys.exit(130)", "killed by SIGINT"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), 40)", "killed by "),
        ("sys.exit(1)", "a last word"),
    ],
)
def test_however_a_cell_ends_the_others_are_run(tmp_path, capsys, monkeypatch, ending, said):
    axes = {PADDING: ("zeros", "partial"), SEED: ("0",)}
    resolved = {"checkpoint": {"monitor": "val/top1", "mode": "max"}}
    grid = enter_grid(tmp_path / "grid", Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved))
    popen, started = running.subprocess.Popen, []

    def ends(command, **options):
        started.append(command)
        code = f"import os, sys; print('a last word', flush=True); {ending}"
        return popen([sys.executable, "-c", code], **options)

    monkeypatch.setattr(running.subprocess, "Popen", ends)
    running.run_cells(tmp_path / "grid", grid, grid.cells)
    assert len(started) == 2
    assert all(worker.__name__ in command for command in started)
    printed = capsys.readouterr().out
    for cell in grid.cells:
        (failed,) = failures(tmp_path / "grid" / cell.name)
        assert failed["step"] == "fit"
        assert failed["error"].startswith(said)
        assert f"{cell.name} CRASHED after 0:0" in printed


def test_each_signal_has_its_name():
    assert {running._how(-number) for number in signal.Signals} >= {"killed by SIGSEGV", "killed by SIGTERM"}


def test_the_newest_run_is_that_of_the_highest_number_whatever_the_clock_said(tmp_path):
    for number, when in ((0, 3e9), (2, 2e9), (10, 1e9)):
        run = tmp_path / "fit" / f"version_{number}"
        run.mkdir(parents=True)
        (run / "results.json").write_text(json.dumps({"fit": {"metrics": {"x": number}}}))
        os.utime(run / "results.json", (when, when))
        os.utime(run, (when, when))
    assert finished_entry(tmp_path, "fit")["metrics"] == {"x": 10.0}


def test_cells_are_run_though_the_clock_goes_back(tmp_path, capsys, monkeypatch):
    axes = {PADDING: ("zeros", "partial"), SEED: ("0",)}
    grid = enter_grid(tmp_path / "grid", Grid(("fake.yaml",), (), tuple(axes), expand(axes), {}))
    popen, now = running.subprocess.Popen, [2e9]

    def earlier():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(running.time, "time", earlier)
    monkeypatch.setattr(
        running.subprocess, "Popen", lambda command, **options: popen([sys.executable, "-V"], **options)
    )
    running.run_cells(tmp_path / "grid", grid, grid.cells)
    printed = capsys.readouterr().out
    assert "padding=zeros/seed=0 done in 0:0" in printed
    assert "padding=partial/seed=0 done in 0:0" in printed
    assert "-" not in printed
