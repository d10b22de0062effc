"""`pcpad doctor` as a user runs it, where packages work and where they do not."""

import os
import subprocess
import sys

import pytest

from pcpad.commands.doctoring.imports import IMPORTED

pytestmark = pytest.mark.faults
WORKING_TORCH = """
from types import SimpleNamespace as N
cuda = N(is_available=lambda: False, device_count=lambda: 0)
version, backends = N(cuda=None, hip=None), N(mps=N(is_available=lambda: False))
get_num_threads = get_num_interop_threads = lambda: 3
tensor = ones = lambda *_: None
"""
WORKING_NMS = "from types import SimpleNamespace as N\nnms = lambda *_: N(tolist=lambda: [0])\n"


@pytest.fixture
def doctor(tmp_path):
    """Runs the command with stand-ins for all packages, some of which end as given."""
    folder = tmp_path / "packages"

    def run(broken, **environment):
        for name in IMPORTED:
            package = folder / name.partition(".")[0]
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(broken.get(name, WORKING_TORCH if name == "torch" else ""))
            for part in name.split(".")[1:]:
                (package / f"{part}.py").write_text("")
        (folder / "torchvision" / "ops.py").write_text(broken.get("torchvision.ops", WORKING_NMS))
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-m", "pcpad", "doctor"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), **environment},
            check=False,
        )

    return run


def test_it_ends_with_zero_where_everything_can_be_imported(doctor):
    done = doctor({})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"work  {', '.join(IMPORTED)}\n" in done.stdout
    assert "3 of torch" in done.stdout
    assert "samples" in done.stdout
    assert not done.stderr


def test_it_works_where_torch_and_lightning_do_not(doctor):
    broken = "raise ImportError('libcudnn.so.9: cannot open shared object file')"
    done = doctor({"torch": broken, "lightning.pytorch": "import torch"})
    assert done.returncode == 1
    assert "fault: torch cannot be imported: ImportError: libcudnn.so.9: cannot open" in done.stdout
    assert "→ parts of CUDA are missing: pip install --force-reinstall torch" in done.stdout
    assert "fault: lightning.pytorch cannot be imported either, for the same reason" in done.stdout
    assert "devices" in done.stdout
    assert "work  numpy, torchmetrics, jsonargparse, cv2," in done.stdout


def test_a_torchvision_of_another_torch_is_told(doctor):
    done = doctor({"torchvision.ops": "raise RuntimeError('operator torchvision::nms does not exist')"})
    assert done.returncode == 1
    assert "fault: torchvision cannot be imported: RuntimeError: operator torchvision::nms" in done.stdout
    assert "→ torchvision was built for another torch" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_an_import_that_ends_its_process_does_not_end_the_report(doctor):
    done = doctor({"cv2": "import os; os.kill(os.getpid(), 11)", "timm": "print('hello'); raise SystemExit(3)"})
    assert done.returncode == 1
    assert "fault: cv2 cannot be imported: its import ended the process by signal 11" in done.stdout
    assert "fault: timm cannot be imported: SystemExit: 3" in done.stdout
    assert "skimage, av, isal" in done.stdout
    assert "hello" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="folders are writable otherwise")
def test_a_cache_that_cannot_be_written_to_is_a_warning(doctor, tmp_path):
    (tmp_path / "file").write_text("no folder")
    # More threads than cores that may be used would be another warning.
    one_thread = WORKING_TORCH.replace("lambda: 3", "lambda: 1")
    done = doctor({"torch": one_thread}, TORCH_HOME=str(tmp_path / "file"))
    assert done.returncode == 0
    assert "warning: ~/file/hub/checkpoints cannot be written to\n  → set TORCH_HOME" in done.stdout
    assert "0 faults, 1 warning." in done.stdout


def test_help_says_what_the_exit_code_means():
    done = subprocess.run([sys.executable, "-m", "pcpad", "doctor", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Exit code: 0 pcpad works" in done.stdout
