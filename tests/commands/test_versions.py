"""The versions that `pcpad --version` prints."""

import subprocess
import sys
from importlib.metadata import version

import pcpad
from pcpad.commands import versions


def test_the_versions_that_matter_stand_on_two_lines():
    lines = versions.version_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"pcpad {pcpad.__version__}, Python {sys.version.split()[0]}, torch {version('torch')}")
    assert f"lightning {version('lightning')}, torchvision {version('torchvision')}" in lines[0]
    assert f"numpy {version('numpy')}" in lines[1]
    assert "missing" not in "".join(lines)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(versions, "OPENCV", ("opencv-that-nobody-has",))
    monkeypatch.setattr(versions, "MATTER", ("torch", "torchmetrics", "opencv"))
    assert versions.version_text().endswith(", opencv missing\n")


def test_it_is_printed_without_importing_what_it_speaks_of():
    code = (
        "import sys; from pcpad.cli import main; main(['--version']); "
        "print([m for m in ('torch', 'lightning', 'torchvision', 'numpy', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{versions.version_text()}[]\n"
