"""What docs/own.md says, followed literally elsewhere; and that what README says and links to is so."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = (ROOT / "docs" / "own.md").read_text(encoding="utf-8").partition("\n## ")[0]


def block(language):
    """The first code block of that language in the page."""
    found = re.search(rf"```{language}[^\n]*\n(.*?)```", SECTION, flags=re.DOTALL)
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


def test_what_readme_links_to_is_there():
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README)]
    assert len(targets) > 20
    assert not [target for target in targets if "://" not in target and not (ROOT / target).is_file()]
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")} - {"docs/index.md"}
    assert pages <= set(targets)


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING", "SECURITY"])
def test_links_of_pages_that_a_forge_shows_lead_to_files_of_the_checkout(name):
    text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    made = [link for link in links if link and "://" not in link and not (ROOT / link).is_file()]
    assert not made, "these pages are read without the site, so they cannot link to what only the site has"


def test_readme_is_a_screen_and_a_half():
    assert len(README.splitlines()) <= 95
    for picture in re.findall(r"!\[[^\]]+\]\((docs/[^)]+)\)", README):
        assert (ROOT / picture).stat().st_size < 60_000


def test_readme_s_numbers_are_the_measured_ones():
    measured = (ROOT / "benchmarks" / "FILLING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [\w ,–]+ \| \*\*([\d.]+)\*\* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    assert len(rows) == 5
    assert not [number for row in rows for number in row if f"| 200 | {number} |" not in measured]
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    (ratio,) = re.findall(r"^\| resnet50, 224×224 \|(?: [^|]+ \|){4} ([^|]+) \|", results, re.MULTILINE)
    assert f"ResNet-50 in inference with partial padding takes {ratio} times" in README
