"""Install pcpad and what it needs into this interpreter's environment, pinned and checked by hashes where possible.

`python .ci/install.py test` takes the versions and hashes of `requirements/test.txt` and then pcpad itself; `make`
calls it. Where these versions cannot be had (a platform or a Python that one of them has no wheel for), the newest that
pyproject.toml allows are installed instead, and that is said. Files that do not match their hashes never are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"test": "test", "demo": "samples,figures"}  # requirements/<name>.txt pins what pcpad[<extras>] needs
MISMATCH = "DO NOT MATCH THE HASHES"


def pip(*arguments: str, quietly: bool = False) -> tuple[int, str]:
    """Run `pip install`; its exit code and what it complained about."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if not quietly:
        sys.stderr.write(done.stderr)
    return done.returncode, done.stderr


def pinned(name: str) -> bool:
    """Install the pinned versions; False where they are not to be had.

    Raises:
        SystemExit: A file does not match its hash.
    """
    code, complaint = pip("--require-hashes", "--requirement", f"requirements/{name}.txt", quietly=True)
    if code == 0:
        return True
    if MISMATCH in complaint:
        message = (
            f"{complaint}\nmake: the package index offers a file whose hash is not in requirements/{name}.txt. "
            "If it is an index with builds of its own (torch for the CPU, say), run make again with PINNED=0."
        )
        raise SystemExit(message)
    reasons = [line for line in complaint.splitlines() if line.startswith("ERROR")] or complaint.splitlines()[-3:]
    print(*reasons, sep="\n", file=sys.stderr)
    print(
        f"make: the versions of requirements/{name}.txt cannot be had here: the newest that pyproject.toml allows are "
        "taken, unpinned and without hashes.",
        file=sys.stderr,
    )
    return False


def main() -> int:
    """Install; pip's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=EXTRAS)
    name = parser.parse_args().name
    ordinary = ("--force-reinstall", "--no-deps")  # not editable, and again where only our own files have changed
    if os.environ.get("PINNED", "1") not in ("", "0") and pinned(name):
        return pip(*ordinary, "--no-build-isolation", ".")[0]  # hatchling is among the pinned
    return pip(f".[{EXTRAS[name]}]")[0] or pip(*ordinary, ".")[0]


if __name__ == "__main__":
    sys.exit(main())
