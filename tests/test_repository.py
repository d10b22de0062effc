"""What stands around the code says what is so: citation, guide for contributors, workflows, forms."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import pcpad

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name):
    """A module of `.ci/`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


RELEASE, INSTALL = script("release_check"), script("install")
PINNED = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "requirements").glob("*.txt"))}


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
    assert matrix["python"] == RELEASE.PYTHONS
    assert matrix["dependencies"] == ["newest"]
    for system in ("macos-latest", "windows-latest"):
        pythons = [one["python"] for one in matrix["include"] if one["system"] == system]
        assert pythons == [matrix["python"][0], matrix["python"][-1]]
    oldest = [one for one in matrix["include"] if one["dependencies"] == "oldest"]
    assert [one["python"] for one in oldest] == [matrix["python"][0]]
    systems = {*matrix["system"], *(one["system"] for one in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    said = " ".join(step.get("run", "") for step in job["steps"])
    assert ".[test]" in said
    assert not [path for path in re.findall(r"tests/[\w/.]+", said) if not (ROOT / path).exists()]
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize("working", ["python3.11", "python3.13", "python3", None])
def test_make_takes_the_first_python_that_runs_and_is_new_enough(working, tmp_path):
    new = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    for name in ("python3.11", "python3.12", "python3.13", "python3.14", "python3"):
        # A version manager's command fails without such a version; that of an old system is too old.
        (tmp_path / name).write_text(new if name == working else "#!/bin/sh\necho not found >&2\nexit 127\n")
        (tmp_path / name).chmod(0o755)
    command = ["make", "-n", "demo", f"VENV={tmp_path / 'none'}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if working is None:
        assert done.returncode == 2
        assert "no Python 3.11 or later was found: make PYTHON=/path/to/python" in done.stderr
        done = subprocess.run([*command, "PYTHON=mine"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f"{working or 'mine'} -m venv" in done.stdout


def test_forms_ask_for_what_the_doctor_says():
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
    assert "pcpad doctor" in (ROOT / ".github" / "ISSUE_TEMPLATE" / "fault.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["tests", "docs", "release"])
def test_workflows_are_complete(name):
    """Each job runs somewhere, each step does one thing, and rights are given where they are needed."""
    workflow = read(f".github/workflows/{name}.yml")
    assert {"name", True, "jobs"} <= set(workflow)  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert "@" in step.get("uses", "@")
    named = set(re.findall(r"make ([\w-]+)", str(workflow["jobs"])))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets | {"docs"}


def test_a_release_is_checked_and_then_published_without_a_password():
    workflow = read(".github/workflows/release.yml")
    check, publish = workflow["jobs"]["check"], workflow["jobs"]["publish"]
    assert any("make release-check" in step.get("run", "") for step in check["steps"])
    assert tuple(str(check["steps"][1]["with"]["python-version"]).split()) == tuple(RELEASE.PYTHONS)
    assert publish["needs"] == "check"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["if"] == "github.event_name == 'push'"
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "secrets" not in str(workflow)


def test_hooks_run_the_linter_of_the_tests():
    hooks = {each["repo"]: each for each in read(".pre-commit-config.yaml")["repos"]}
    assert all(repo.startswith("https://github.com/") for repo in hooks)
    ruff = hooks["https://github.com/astral-sh/ruff-pre-commit"]
    assert {hook["id"] for hook in ruff["hooks"]} == {"ruff-check", "ruff-format"}
    (pinned,) = re.findall(r"^ruff==(\S+)", PINNED["test"], re.MULTILINE)
    assert ruff["rev"] == f"v{pinned}"


def versions(name):
    """Of each package the versions that a file pins; one for some Pythons, another for others."""
    found = {}
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", PINNED[name], re.MULTILINE):
        found.setdefault(canonicalize_name(package), []).append(Version(version))
    return found


@pytest.mark.parametrize("name", ["demo", "release", "test"])
def test_pinned_requirements_have_hashes_and_no_hosts(name):
    entries = re.split(r"\n(?=\S)", PINNED[name].strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+ ", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert not re.search(r"://|index-url|find-links|trusted-host| @ |file:", PINNED[name])


def test_pinned_requirements_are_what_the_project_asks_for():
    built = Requirement("\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]))
    assert str(built) in (ROOT / "requirements" / "build.in").read_text()
    for name, extras in INSTALL.EXTRAS.items():
        asked = [Requirement(line) for line in PROJECT["dependencies"]] + [built]
        for extra in extras.split(","):
            asked += [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
        pinned = versions(name)
        for requirement in asked:
            if canonicalize_name(requirement.name) == "pcpad":
                inner = [PROJECT["optional-dependencies"][extra] for extra in sorted(requirement.extras)]
                asked += [Requirement(line) for lines in inner for line in lines]
                continue
            found = pinned.get(canonicalize_name(requirement.name))
            assert found, f"{requirement} is not pinned in requirements/{name}.txt: make requirements"
            assert all(requirement.specifier.contains(version) for version in found), requirement
    assert set(versions("demo")) <= set(versions("test"))


def test_installing_says_when_it_cannot_pin_and_refuses_other_files(monkeypatch, capsys):
    calls = []

    def pip(*arguments, quietly=False):
        calls.append(arguments)
        return (1, complaint) if "--require-hashes" in arguments else (0, "")

    monkeypatch.setattr(INSTALL, "pip", pip)
    monkeypatch.setattr(sys, "argv", ["install.py", "demo"])
    monkeypatch.setenv("PINNED", "1")
    complaint = "ERROR: No matching distribution found for torch==9"
    assert INSTALL.main() == 0
    told = capsys.readouterr().err
    assert "No matching distribution" in told
    assert "unpinned and without hashes" in told
    assert [each[0] for each in calls] == ["--require-hashes", ".[samples,figures]", "--force-reinstall"]
    calls.clear()
    complaint = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
    with pytest.raises(SystemExit, match="PINNED=0"):
        INSTALL.main()
    assert len(calls) == 1, "nothing is installed"
    monkeypatch.setenv("PINNED", "0")
    assert INSTALL.main() == 0
    assert calls[1][0] == ".[samples,figures]"


def test_the_release_check_finds_what_is_missing_and_too_much(tmp_path):
    wheel, sdist = tmp_path / "pcpad-1-py3-none-any.whl", tmp_path / "pcpad-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in ("pcpad/__init__.py", "pcpad/cli.py", "tests/test_cli.py", "pcpad/data.ckpt"):
            file.writestr(name, "")
    wrong = RELEASE.wrong_in_wheel(wheel)
    assert {
        "too much: tests/test_cli.py",
        "not of this package: tests/test_cli.py",
        "too much: pcpad/data.ckpt",
    } <= set(wrong)
    missing = ("pcpad/py.typed", "pcpad/models/restoration.safetensors", "pcpad/configs/cls_digits.yaml", "METADATA")
    assert {f"missing: {name}" for name in missing} <= set(wrong)
    assert "missing: pcpad/cli.py" not in wrong
    with tarfile.open(sdist, "w:gz") as file:
        file.add(ROOT / "Makefile", "pcpad-1/Makefile")
        file.add(ROOT / "Makefile", "pcpad-1/runs/last.ckpt")
    wrong = RELEASE.wrong_in_sdist(sdist)
    assert "missing: tests/" in wrong
    assert "missing: Makefile" not in wrong
    assert "too much: runs/last.ckpt" in wrong


def test_the_changelog_has_a_section_for_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    forms = [re.fullmatch(r"(\d+\.\d+\.\d+\S*) \((unreleased|\d{4}-\d\d-\d\d)\)", head) for head in heads]
    assert all(forms), f"expected `## 1.2.3 (2030-12-31)` or `(unreleased)`, got {heads}"
    assert forms[0][1] == pcpad.__version__, "the newest section is of the package's version"
    assert [Version(form[1]) for form in forms] == sorted({Version(form[1]) for form in forms}, reverse=True)
    assert all(form[2] != "unreleased" for form in forms[1:])
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all("\n- " in section for section in sections), "a section without a line"
