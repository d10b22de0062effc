"""Build the wheel and the sdist, look into both, and run each from a bare environment: what `make release-check` does.

`python .ci/release_check.py` needs the standard library alone; its tools go into a temporary environment. It ends with
a table, and says what could not be checked here.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]  # as in .github/workflows/tests.yml
PARTS = ("pcpad", "tasks", "datamodules", "commands", "configs")
KINDS = {".py", ".yaml", ".safetensors", ".md", ".typed"}  # of files in the wheel; anything else is there by mistake
LARGEST_WHEEL = 10_000_000  # bytes
SDIST = (
    "tests/",
    "benchmarks/",
    "examples/",
    "requirements/",
    ".github/",
    ".ci/",
    "Makefile",
    "CHANGELOG.md",
    "LICENSE",
)
QUICK = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=20", "--trainer.limit_val_batches=4",
         "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")  # fmt: skip
DRAW = """
import numpy as np
from PIL import Image
pixels = np.random.default_rng(0).integers(90, 110, (60, 80, 3), dtype=np.uint8)
mask = np.zeros((60, 80), np.uint8)
mask[20:26, 10:70] = 255
pixels[mask > 0] = 255
Image.fromarray(pixels).save('photo.png')
Image.fromarray(mask).save('mask.png')
"""
LOOK = """
import numpy as np, sys
from PIL import Image
before, after, hole = (np.asarray(Image.open(name)) for name in ('photo.png', sys.argv[1], 'mask.png'))
assert before.shape == after.shape and (before[hole == 0] == after[hole == 0]).all(), 'valid pixels changed'
assert after[hole > 0].max() < 160, 'the hole is not filled'
"""


class Failed(Exception):
    """Something that must not be released; the message says what."""


@dataclass(frozen=True)
class Tried:
    """How an artifact did under one Python: seconds to install and to run, or what went wrong."""

    python: str
    artifact: str
    installed: float = 0.0
    ran: float = 0.0
    wrong: str = ""


def run(command: Iterable[str | Path], where: Path | None = None, **variables: str) -> str:
    """Run a command outside of the checkout's reach; its output, or `Failed` with the end of it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=where, env=environment | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        message = f"{' '.join(words[:6])} … ended with {done.returncode}:\n{done.stdout[-3000:]}"
        raise Failed(message)
    return done.stdout


def script(environment: Path, name: str) -> Path:
    """A program of a virtual environment."""
    return environment / ("Scripts" if os.name == "nt" else "bin") / name


def make_tools(folder: Path) -> Path:
    """An environment with the tools, of the versions and hashes in `requirements/release.txt`; its folder."""
    run([sys.executable, "-m", "venv", folder])
    pinned = ROOT / "requirements" / "release.txt"
    run([script(folder, "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", pinned])
    return folder


def build(tools: Path, output: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it; both pass `twine check --strict`."""
    run([script(tools, "python"), "-m", "build", "--no-isolation", "--outdir", output, ROOT])
    (wheel,), (sdist,) = output.glob("*.whl"), output.glob("*.tar.gz")
    print(run([script(tools, "twine"), "check", "--strict", wheel, sdist]).strip())
    return wheel, sdist


def wrong_in_wheel(wheel: Path) -> list[str]:
    """What is in the wheel and ought not to be, and the other way round."""
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if not name.endswith("/")}
    files = (path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in KINDS)
    sources = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts} | {"cli.py"}
    expected = {name if name.startswith("pcpad/") else f"pcpad/{name}" for name in sources}
    described = {name for name in names if PurePosixPath(name).parts[0].endswith(".dist-info")}
    wrong = [f"missing: {name}" for name in sorted(expected - names)]
    wrong += [f"too much: {name}" for name in sorted(names - expected - described)]
    needed = ("METADATA", "entry_points.txt", "licenses/LICENSE")
    wrong += [f"missing: {name}" for name in needed if not any(path.endswith(f"/{name}") for path in described)]
    wrong += [f"not of this package: {name}" for name in sorted(names - described) if not name.startswith("pcpad/")]
    for needed_kind in ("pcpad/py.typed", "pcpad/configs/", "pcpad/models/restoration.safetensors"):
        wrong += [] if any(name.startswith(needed_kind) for name in names) else [f"missing: {needed_kind}"]
    if wheel.stat().st_size > LARGEST_WHEEL:
        wrong.append(f"{wheel.stat().st_size} bytes, more than {LARGEST_WHEEL}")
    return wrong


def wrong_in_sdist(sdist: Path) -> list[str]:
    """What is not in the sdist, or is what an ignored folder of the checkout holds."""
    with tarfile.open(sdist) as file:
        names = [name.partition("/")[2] for name in file.getnames()]
    wrong = [f"missing: {part}" for part in SDIST if not any(name.startswith(part) for name in names)]
    junk = re.compile(r"(^|/)(__pycache__|\.venv|\.git|runs|dist|\.pytest_cache)/|\.(ckpt|pyc)$")
    return wrong + [f"too much: {name}" for name in names if junk.search(name)]


def find_python(version: str, tools: Path) -> str | None:
    """An interpreter of that version on this machine that starts; pyenv's and uv's too."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}*/bin/python{version}")
    candidates = [shutil.which(f"python{version}"), *map(str, sorted(homes))]
    try:
        found = run([script(tools, "uv"), "python", "find", "--no-python-downloads", "--no-project", version])
        candidates.append(found.strip().splitlines()[-1])
    except Failed:
        pass
    for candidate in filter(None, candidates):
        try:
            says = run([candidate, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"])
        except (Failed, OSError):
            continue  # a shim of a version that is not chosen
        if says.strip() == version:
            return candidate
    return None


def try_out(artifact: Path, python: str, version: str, tools: Path, folder: Path) -> Tried:
    """Install an artifact into a new environment and use it there."""
    kind = "wheel" if artifact.suffix == ".whl" else "sdist"
    environment, place = folder / "environment", folder / "elsewhere"
    place.mkdir(parents=True)
    start = time.monotonic()
    try:
        uv = script(tools, "uv")
        run([uv, "venv", "--quiet", "--no-project", "--python", python, environment])
        inside = script(environment, "python")
        run([uv, "pip", "install", "--quiet", "--python", inside, f"pcpad[samples] @ {artifact.as_uri()}"])
        run([uv, "pip", "check", "--quiet", "--python", inside])
        installed = time.monotonic()
        use(environment, place)
    except Failed as failed:
        return Tried(version, kind, wrong=str(failed))
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    return Tried(version, kind, installed - start, time.monotonic() - installed)


def use(environment: Path, place: Path) -> None:
    """What a new user does first: look, list, train for a moment, fill a picture."""
    python, pcpad = script(environment, "python"), script(environment, "pcpad")
    released = re.search(r'^__version__ = "(.+)"', (ROOT / "pcpad" / "__init__.py").read_text(), re.MULTILINE)
    assert released
    home = run([python, "-P", "-c", "import pcpad; print(pcpad.__version__, pcpad.__file__)"], place).split(maxsplit=1)
    if home[0] != released[1] or not Path(home[1].strip()).is_relative_to(environment):
        message = f"imported was {home}"
        raise Failed(message)
    if f"pcpad {released[1]}" not in run([pcpad, "--version"], place):
        message = "`pcpad --version` names another version"
        raise Failed(message)
    listed = run([pcpad, "configs"], place)
    absent = [path.name for path in (ROOT / "configs").glob("*.yaml") if path.stem not in listed]
    if absent:
        message = f"`pcpad configs` does not list {', '.join(absent)}"
        raise Failed(message)
    run([pcpad, "sample", "digits", "data/digits"], place)
    run([pcpad, "fit", "--config", "cls_digits.yaml", *QUICK], place, CUDA_VISIBLE_DEVICES="")
    if not list(place.glob("runs/cls_digits/version_0/checkpoints/*.ckpt")):
        message = "`pcpad fit` left no checkpoint"
        raise Failed(message)
    run([python, "-c", DRAW], place)
    run([pcpad, "fill", "photo.png", "--masks", "mask.png", "--output", "filled"], place, CUDA_VISIBLE_DEVICES="")
    run([python, "-c", LOOK, "filled/photo.png"], place)


def report(tried: list[Tried], absent: list[str]) -> None:
    """The table, and what is not known."""
    print("\n| Python | artifact | installed, s | ran, s | |\n|---|---|---:|---:|---|")
    for one in tried:
        result = "failed" if one.wrong else "passed"
        print(f"| {one.python} | {one.artifact} | {one.installed:.0f} | {one.ran:.0f} | {result} |")
    for one in tried:
        if one.wrong:
            print(f"\nPython {one.python}, {one.artifact}: {one.wrong}")
    print("\nNot checked here:")
    for version in absent:
        print(f"- Python {version}: no interpreter was found")
    print(f"- systems other than {platform.system()} on {platform.machine()}")
    print("- a GPU: everything ran on the CPU")
    print("- the upload itself; that needs the forge's identity (.github/workflows/release.yml)")


def main() -> int:
    """Build, look, try; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where the artifacts are left (dist)")
    parser.add_argument("--pythons", nargs="*", default=PYTHONS, metavar="3.N", help="none: build and look only")
    given = parser.parse_args()
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    print(f"pcpad for Python {required}")
    shutil.rmtree(given.output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        tools = make_tools(folder / "tools")
        wheel, sdist = build(tools, given.output.resolve())
        for artifact, wrong in ((wheel, wrong_in_wheel(wheel)), (sdist, wrong_in_sdist(sdist))):
            size = artifact.stat().st_size / 1e6
            print(f"{artifact.name}: {size:.1f} MB, contents {'wrong' if wrong else 'as they should be'}")
            print(*(f"  {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
            if wrong:
                return 1
        pythons = {version: find_python(version, tools) for version in given.pythons}
        tried = []
        for version, python in pythons.items():
            for artifact in (wheel, sdist) if python else ():
                tried.append(try_out(artifact, str(python), version, tools, folder / f"{version}{artifact.suffix}"))
                print(
                    f"Python {version}, {tried[-1].artifact}: {'failed' if tried[-1].wrong else 'passed'}", flush=True
                )
        report(tried, [version for version in dict.fromkeys([*PYTHONS, *pythons]) if not pythons.get(version)])
    return int(any(one.wrong for one in tried) or bool(pythons and not tried))


if __name__ == "__main__":
    sys.exit(main())
