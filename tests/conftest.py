"""Tests that need a process or an extra of their own, and samples that several folders share."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch.nn.functional as F
from torch import nn

_CHILD = "PCPAD_TEST_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test marked `own_process` in a new interpreter.

    Processes forked from one that has computed gradients before, in an earlier test, cannot compute any.
    """
    if pyfuncitem.get_closest_marker("own_process") is None or os.environ.get(_CHILD):
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    done = subprocess.run(
        command, cwd=pyfuncitem.config.rootpath, env=os.environ | {_CHILD: "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return True


def pytest_addoption(parser):
    """`make test-interop`, `make test-heif` and `make test-hub` exist to run what elsewhere is skipped."""
    parser.addoption("--no-skips", action="store_true", help="let tests fail that would be skipped")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
    return report


def pytest_configure(config):
    _let_other_processes_import_tests()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, as some runners are
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _let_other_processes_import_tests():
    """Processes that are not forked import what they are given from `tests`, of which torch-fidelity installs another.

    The checkout itself cannot lead the path: its `pcpad` would hide the installed one.
    """
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").write_text(f"__path__ = [{str(Path(__file__).parent)!r}]\n", encoding="utf-8")
    sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def _nothing_stays_registered():
    """What a test loads and registers is trusted, and is a padding, for this test alone; nothing is imported for it."""
    trust, paddings = sys.modules.get("pcpad.trust"), sys.modules.get("pcpad.paddings")
    trusted = set(trust.loaded_modules) if trust else set()
    registered = set(paddings._REGISTERED) if paddings else None
    yield
    trust, paddings = sys.modules.get("pcpad.trust"), sys.modules.get("pcpad.paddings")
    if trust:
        trust.loaded_modules.intersection_update(trusted)
    if paddings and registered is not None:
        for name in set(paddings._REGISTERED) - registered:
            del paddings._REGISTERED[name]


@pytest.fixture(scope="session")
def kinetics_sample(tmp_path_factory):
    """A small `pcpad sample kinetics`, to be copied before it is changed."""
    from pcpad.datamodules.samples import SAMPLES  # not for tests of what importing pcpad costs

    root = tmp_path_factory.mktemp("sample") / "kinetics"
    summary = SAMPLES["kinetics"](root, train_videos=1, val_videos=1, height=32, seconds=(0.7, 1.0))
    assert dict(summary.counts) == {"train": 6, "val": 6, "annotations": 2}
    return root


@pytest.fixture(scope="session")
def cityscapes_sample(tmp_path_factory):
    """A small `pcpad sample cityscapes`, written once for all processes of a run; to be copied before it is changed."""
    from pcpad.datamodules.samples import SAMPLES
    from pcpad.files import locked

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cityscapes_sample"
    with locked(root.with_suffix(".lock")):
        new = not root.exists()
        summary = SAMPLES["cityscapes"](root, image_height=128, images_per_city=1)
    assert summary.written == new
    assert summary.counts == {
        "gtCoarse/train": 36,
        "gtCoarse/train_extra": 9,
        "gtCoarse/val": 9,
        "gtFine/test": 6,
        "gtFine/train": 36,
        "gtFine/val": 9,
        "leftImg8bit/test": 2,
        "leftImg8bit/train": 12,
        "leftImg8bit/train_extra": 3,
        "leftImg8bit/val": 3,
    }
    return root


class _ByHand(nn.Conv2d):
    """Convolves as a function, so that nobody can know what it does."""

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _OwnKinds(nn.Sequential):
    def __init__(self, num_classes=1000, **_options):
        parts = [_ByHand(3, 4, 3, 2, 1), nn.ReLU(), _ByHand(4, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*parts, nn.Linear(4, num_classes))


@pytest.fixture
def own_kinds(monkeypatch):
    """The name of a network whose padded convolutions cannot be converted."""
    import timm.models._registry as registry

    def test_own_kinds(pretrained=False, **options):
        return _OwnKinds(**options)

    monkeypatch.setitem(registry._model_entrypoints, "test_own_kinds", test_own_kinds)
    return "timm/test_own_kinds"
