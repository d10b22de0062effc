"""What importing data modules and samples brings with it."""

import subprocess
import sys

import pytest

import pcpad.datamodules
from pcpad.datamodules import samples


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def brought(module, *others):
    """Which of some modules are imported on the way to another."""
    return run(f"import sys, {module}\nprint(*(name for name in {others} if name in sys.modules))").split()


@pytest.mark.slow
def test_a_data_module_brings_no_other():
    assert brought("pcpad.datamodules.imagenet", "av", "albumentations", "cv2") == []
    assert brought("pcpad.datamodules.cityscapes", "pcpad.datamodules.kinetics", "pcpad.datamodules.places2") == []
    assert brought("pcpad.datamodules", "lightning", "pcpad.datamodules.base") == []


def test_names_of_samples_need_no_sample():
    assert brought("pcpad.datamodules.samples", "cv2", "av", "PIL", "lightning") == []
    assert list(samples.SAMPLES) == ["cityscapes", "digits", "kinetics", "photos", "restoration"]


def test_every_name_is_there_and_no_other():
    unknown = "write_nothing"
    for package in (pcpad.datamodules, samples):
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert getattr(package, name) is getattr(package, name)
        with pytest.raises(AttributeError, match=rf"'{package.__name__}' has no attribute '{unknown}'"):
            getattr(package, unknown)
    assert pcpad.datamodules.kinetics.KineticsDataModule is pcpad.datamodules.KineticsDataModule
    assert samples.write_digits is samples.SAMPLES["digits"]
    assert "nothing" not in samples.SAMPLES
    with pytest.raises(KeyError):
        samples.SAMPLES["nothing"]


@pytest.mark.slow
def test_hosts_without_users_or_locks():
    """As in a container of an unknown user, and on systems without these modules."""
    code = """
import sys, os, torch  # whose dependencies ask for the machine's name where it is no Windows
for name in ('fcntl', 'pwd'):
    sys.modules[name] = None
if hasattr(os, 'uname'):
    del os.uname
for name in ('HOME', 'USERPROFILE', 'XDG_CACHE_HOME'):
    os.environ.pop(name, None)
from pathlib import Path
from pcpad.datamodules.reading.caches import cache_places, write_arrays
assert cache_places(Path('data'), 'a.npz') == [Path('data/a.npz')]
assert 'XDG_CACHE_HOME' in write_arrays([], {})
"""
    run(code)
