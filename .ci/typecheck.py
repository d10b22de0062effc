"""Run mypy over a checkout as over an install: `python .ci/typecheck.py`; further options are mypy's.

The suite's folders stand beside `pcpad/` and install inside it, which mypy has no setting for. So the package is laid
out in a temporary folder as the wheel has it. Messages name the checkout's files.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent


def installed_as() -> dict[str, str]:
    """Paths in the checkout to those in the wheel, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    return {**{name: name for name in wheel["packages"]}, **wheel["force-include"]}


def lay_out(folder: Path) -> None:
    """Copy the package into a folder as the wheel has it; times are kept, so that mypy's cache holds."""
    for here, there in installed_as().items():
        if (ROOT / here).is_dir():
            shutil.copytree(ROOT / here, folder / there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / here, folder / there)


def in_checkout(text: str) -> str:
    """Mypy's messages with the checkout's paths."""
    for here, there in installed_as().items():
        text = re.sub(rf"^{re.escape(there)}(?=[/\\:])", here, text, flags=re.MULTILINE)
    return text


def main(options: list[str]) -> int:
    """Run mypy; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        os.chdir(folder)
        config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
        said, wrong, code = api.run(["-p", "pcpad", *config, *options])
        os.chdir(ROOT)
    sys.stdout.write(in_checkout(said))
    sys.stderr.write(wrong)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
