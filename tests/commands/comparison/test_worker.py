"""A cell's own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.comparison.running import environment, start


def grid_of_one(root):
    axes = {PADDING: ("zeros",), SEED: ("0",)}
    grid = enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={}))
    for verb, folder in (("fit", "fit"), ("test", "tests/best/padding=zeros")):
        path = root / grid.cells[0].name / folder / "fake" / "version_0" / "results.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({verb: {"metrics": {}}}))
    return grid


def test_modules_of_the_current_folder_do_not_replace_python_s(tmp_path, monkeypatch):
    grid = grid_of_one(tmp_path / "grid")
    (tmp_path / "shlex.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    # As without any help from outside in finding pcpad.
    kept = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path).is_dir()]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in kept if not (Path(path) / "pcpad").is_dir()))
    process = start(Path("grid"), grid, grid.cells[0], environment(0, 1, 0))
    assert process.wait(timeout=100) == 0, Path("grid", grid.cells[0].name, "log.txt").read_text()
    lock = Path("grid", grid.cells[0].name, ".lock")
    assert lock.read_text().startswith(f"process {process.pid} on ")


@pytest.mark.slow
def test_it_imports_where_there_is_no_fcntl():
    code = (
        "import os, sys, lightning\n"  # others' packages ask for them on this system
        "sys.modules['fcntl'] = sys.modules['pwd'] = None; del os.uname\n"
        "import pcpad.commands.comparison.running, pcpad.commands.compare"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
