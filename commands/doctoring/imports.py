"""Whether pcpad's dependencies can be imported, tried in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from pcpad.commands.doctoring.sections import Section

__all__ = ["IMPORTED", "import_all", "look_at_imports"]

IMPORTED = (
    "numpy",
    "torch",
    "torchvision",
    "torchmetrics",
    "lightning.pytorch",
    "jsonargparse",
    "cv2",
    "albumentations",
    "timm",
    "segmentation_models_pytorch",
    "skimage",
    "av",
    "isal",
)
"""In the order in which they are tried."""

_PROBE = Path(__file__).with_name("probe.py")
_MARK = "pcpad-doctor:"
_SECONDS = 300
_LONGEST = 300  # characters of an error
# What errors of imports mean, and what to do.
_KNOWN = (
    (
        r"torchvision::nms",
        "torchvision was built for another torch: install the two from one index, torchvision 0.(N + 15) for torch 2.N "
        "(pip install --upgrade torch torchvision)",
    ),
    (
        r"libGL|libgthread|libSM|libXext",
        "this OpenCV needs a screen's libraries: pip uninstall -y opencv-python opencv-contrib-python && "
        "pip install --force-reinstall opencv-python-headless",
    ),
    (
        r"_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1|numpy\.dtype size changed",
        "it was built for another NumPy: pip install --upgrade what is named here",
    ),
    (r"GLIBC|GLIBCXX", "it was built for a newer system: install an older build of it, or update the system"),
    (r"lib(cu|nv|nccl)\w*\.so", "parts of CUDA are missing: pip install --force-reinstall torch"),
    (r"undefined symbol|DLL load failed|Symbol not found", "two builds are mixed: reinstall both it and torch"),
    (r"partially initialized module|circular import", "a file of the current folder may have the same name: rename it"),
)


def look_at_imports() -> tuple[Section, dict[str, Any] | None]:
    """Import everything, and report what fails.

    Returns:
        The section, and what torch found of the machine; None where it could not be imported.
    """
    section = Section("Imports")
    found = import_all(list(IMPORTED))
    works = [name for name in IMPORTED if not found[name].get("error")]
    section.add("work", ", ".join(works) or "none")
    said: set[str] = set()
    for name in IMPORTED:
        error = found[name].get("error")
        if not error:
            continue
        line = _first_line(error)
        if line in said:  # torch's, which all that import it repeat
            section.fault(f"{name} cannot be imported either, for the same reason", "see above")
        else:
            section.fault(f"{name} cannot be imported: {line}", _advice(name, error))
        said.add(line)
    return section, found["torch"].get("machine")


def import_all(names: list[str]) -> dict[str, dict[str, Any]]:
    """Import modules in another process, and after one that ended it the rest in a new process.

    Args:
        names: Of the modules.

    Returns:
        What is known of each; `error` where it cannot be imported.
    """
    found: dict[str, dict[str, Any]] = {}
    while left := [name for name in names if name not in found]:
        ended, output = _run(left)
        begun = None
        for line in output.splitlines():
            if not line.startswith(_MARK):
                continue  # what the package itself prints
            said = json.loads(line.removeprefix(_MARK))
            if said.get("begun"):
                begun = said["name"]
            else:
                found[said["name"]] = said
        if begun is None or begun in found:
            begun = next((name for name in left if name not in found), None)
        if begun is not None:
            found[begun] = {"name": begun, "error": ended}
    return found


def _run(names: list[str]) -> tuple[str, str]:
    """How the process ended, in words, and what it printed."""
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-P", "-W", "ignore", str(_PROBE), *names]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output)
        return f"its import had not ended after {_SECONDS} seconds", text
    if done.returncode < 0:
        return f"its import ended the process by signal {-done.returncode}", done.stdout
    last = done.stderr.strip().splitlines()[-1:] or [""]
    return f"its import ended the process with code {done.returncode}. {last[0]}".strip(), done.stdout


def _first_line(error: str) -> str:
    line = error.strip().splitlines()[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"


def _advice(name: str, error: str) -> str:
    for pattern, advice in _KNOWN:
        if re.search(pattern, error):
            return advice
    missing = re.search(r"No module named '([\w.]+)'", error)
    if missing is not None:
        return "pip install what is listed as missing above, or reinstall pcpad"
    if re.search(r"signal (4|11)$", error):
        return f"{name} is built for another processor, or two builds are mixed: reinstall both it and torch"
    return f"reinstall {name.partition('.')[0]} (pip install --force-reinstall), after torch"
