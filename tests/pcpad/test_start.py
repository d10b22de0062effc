"""Processes of their own, and what they take for Python's modules."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pcpad

pytestmark = pytest.mark.faults
START = """
import os, sys, random, json, subprocess, site, shlex, tempfile
sys.path.insert(0, {home!r})
from pathlib import Path
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.comparison.running import environment, start
axes = {{PADDING: ("zeros",), SEED: ("0",)}}
root = Path("grid")
grid = enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={{}}))
for verb, folder in (("fit", "fit"), ("test", "tests/best/padding=zeros")):
    path = root / grid.cells[0].name / folder / "fake" / "version_0" / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({{verb: {{"metrics": {{}}}}}}))
code = start(root, grid, grid.cells[0], environment(0, 1, 0)).wait(timeout=200)
print((root / grid.cells[0].name / "log.txt").read_text())
sys.exit(code)
"""


@pytest.mark.slow
def test_beside_a_checkout_python_s_own_modules_come_first(tmp_path):
    package = Path(pcpad.__file__).resolve().parent
    home = tmp_path / "checkout"
    root = package.parent if (package.parent / "pyproject.toml").is_file() else package
    shutil.copytree(package, home / "pcpad")
    for name in ("tasks", "datamodules", "commands", "configs", "cli.py", "pyproject.toml"):
        source = root / name
        if source.is_dir() and root != package:
            shutil.copytree(source, home / name)
        elif source.is_file():
            shutil.copy(source, home / name)
    # Where the user works, too: a checkout's own folder.
    (home / "random.py").write_text("raise SystemExit('the working folder was run')")
    (home / "shlex.py").write_text("raise SystemExit('the working folder was run')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = START.format(home=str(home))
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_empty_part_of_the_path_is_no_folder(monkeypatch):
    from pcpad.commands.comparison.running import environment

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/mine", ""]))
    assert environment(0, 1, 0)["PYTHONPATH"] == "/mine"
