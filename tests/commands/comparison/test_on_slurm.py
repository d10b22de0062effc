"""Cells as jobs of SLURM, by submitit's local executor: there is no SLURM where tests run."""

import os
import signal
import stat
import time
from pathlib import Path

import pytest

from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.on_slurm import OnSlurm, own_folder

pytestmark = pytest.mark.slurm


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_the_same_table(small_grid):
    pytest.importorskip("submitit")
    process = small_grid.start("slurm", "--on=slurm", "--slurm=cluster=local")
    first = small_grid.folder / "slurm" / "padding=zeros" / "seed=0"
    deadline = time.monotonic() + 600
    while not (first / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    cell = int((first / ".lock").read_text().split()[1])
    parent = int(Path(f"/proc/{cell}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)  # the job, as if its machine went down
    printed, _ = process.communicate(timeout=1200)
    print(printed)
    assert process.returncode == 0, printed
    assert "padding=zeros/seed=0 was lost with its job, and is run again" in printed
    assert small_grid.fits("slurm") == {
        "padding=zeros/seed=0": 2,
        "padding=partial/seed=0": 1,
        "padding=zeros/seed=1": 1,
        "padding=partial/seed=1": 1,
    }
    folder = small_grid.folder / "slurm" / ".slurm"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.rglob("*.pkl"))
    assert not [path for path in small_grid.folder.rglob("*.pkl") if folder not in path.parents]
    small_grid.run("jobs", "--jobs=2")
    assert small_grid.tables("slurm") == small_grid.tables("jobs")


def make_grid():
    axes = {PADDING: ("zeros",), SEED: ("0",)}
    return Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={})


@pytest.mark.parametrize(
    ("typed", "error", "said"),
    [
        ([], RuntimeError, "No SLURM on this machine .*cluster=local tries the same"),
        (["cluster=nowhere"], ValueError, "expected slurm or local"),
        (["cluster=local", "partition"], ValueError, "Expected --slurm NAME=VALUE"),
        (["cluster=local", "partitoin=gpu"], ValueError, "partitoin"),
    ],
)
def test_mistakes_are_one_message(tmp_path, monkeypatch, typed, error, said):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(error, match=said):
        OnSlurm(tmp_path, make_grid(), 1, 0, typed)


def test_the_folder_of_jobs_is_one_s_own(tmp_path):
    path = tmp_path / "jobs"
    path.mkdir(mode=0o777)
    assert stat.S_IMODE(own_folder(path).stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(FileExistsError, match="must be a folder of your own"):
        own_folder(tmp_path / "link")
