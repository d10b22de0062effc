"""What stands around the code says what is so: citation, guide for contributors, workflows, forms."""

import re
import tomllib
from pathlib import Path

import yaml

import pcpad

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version():
    citation = read("CITATION.cff")
    assert citation["version"] == pcpad.__version__
    assert citation["license"] == PROJECT["license"]
    assert {reference["year"] for reference in citation["references"]} == {2018, 2022}
    assert all(reference["authors"] and reference["title"] for reference in citation["references"])


def test_what_the_guide_names_is_there():
    named = set(re.findall(r"`((?:pcpad|tasks|datamodules|commands|configs|benchmarks|tests)/[\w/.]*)`", GUIDE))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).exists()]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make (test[\w-]*)", GUIDE)) <= targets
    for name in re.findall(r"\]\((\w+\.md)\)", GUIDE):
        assert (ROOT / name).is_file()


def test_the_workflow_runs_every_python_and_system():
    workflow = read(".github/workflows/tests.yml")
    job = workflow["jobs"]["tests"]
    matrix = job["strategy"]["matrix"]
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=")
    systems = {*matrix["system"], *(one["system"] for one in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    said = " ".join(step.get("run", "") for step in job["steps"])
    assert ".[test]" in said
    assert not [path for path in re.findall(r"tests/[\w/.]+", said) if not (ROOT / path).exists()]
    assert workflow["permissions"] == {"contents": "read"}


def test_forms_ask_for_what_the_doctor_says():
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
    assert "pcpad doctor" in (ROOT / ".github" / "ISSUE_TEMPLATE" / "fault.yml").read_text(encoding="utf-8")
