"""Importing works where the system lacks what Windows lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["pcpad", "tasks", "datamodules", "commands", "configs"]
EXCEPT = ["commands/comparison", "commands/compare.py"]
PROGRAM = """
import importlib, os, sys
for name in sys.argv[1:]:  # NumPy, torch and others, which on Linux rely on what Linux has
    importlib.import_module(name)
for name in [name for name in sys.modules if name.split(".")[0] in ("pcpad", "filelock")]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys(("fcntl", "pwd")))
del os.uname
for name in sys.argv[1:]:
    importlib.import_module(name)
from pathlib import Path
from pcpad.files import locked, write_text
with locked(Path("lock"), wait=False) as held:
    write_text(Path("held"), str(held))
"""


@pytest.mark.slow
def test_every_module_imports_without_fcntl_pwd_and_uname(tmp_path):
    names = ["pcpad.cli"]
    for file in sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        path = file.relative_to(ROOT)
        if not any(path.is_relative_to(part) for part in EXCEPT):
            words = path.with_suffix("").parts
            names.append(".".join(words if words[0] == "pcpad" else ("pcpad", *words)).removesuffix(".__init__"))
    run = subprocess.run([sys.executable, "-c", PROGRAM, *names], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "held").read_text() == "True"
