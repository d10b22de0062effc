"""What README says about one's own tasks, data, paddings and metrics, followed literally outside of the repository."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
SECTION = README.read_text(encoding="utf-8").partition("## Your own task")[2].partition("\n## ")[0]


def block(language):
    """The first code block of that language in the section."""
    found = re.search(rf"```{language}\n(.*?)```", SECTION, flags=re.DOTALL)
    assert found, language
    return found[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("somewhere")
    (root / "mine.py").write_text(block("python"), encoding="utf-8")
    return root


def pcpad(folder, line):
    """Run a console line in a process of its own; its output."""
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "pcpad"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pcpad", *words[1:]],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_lines_work_in_the_folder_of_mine(folder):
    fit, test, bench = block("console").splitlines()
    assert "val/mse: best" in pcpad(folder, fit)
    results = json.loads((folder / "runs/brightness/version_0/results.json").read_text())["fit"]
    assert results["trained_with"] == "half"
    assert results["history"]["1"] < results["history"]["0"]
    assert "trained with half padding, tested with half" in pcpad(folder, test)
    assert "half" in pcpad(folder, bench)
