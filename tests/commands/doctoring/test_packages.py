"""Versions that do not go together, each in an environment that is made up."""

import pytest

from pcpad.commands.doctoring import packages

pytestmark = pytest.mark.faults
FINE = {
    "pcpad": "0.1.0",
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "lightning": "2.6.6",
    "pytorch-lightning": "2.6.6",
    "albumentations": "2.0.8",
    "albucore": "0.0.24",
    "opencv-python-headless": "4.12.0.88",
    "numpy": "2.4.6",
}
NEEDS = {
    "pcpad": ["torch>=2.11", "lightning>=2.6.6,<3", "opencv-python-headless>=4.10", "h5py>=3.11; extra == 'keras'"],
    "albumentations": ["albucore==0.0.24", "opencv-python-headless>=4.9", "gone; python_version < '3.0'"],
    "torchvision": ["torch==2.14.1"],
}


@pytest.fixture
def findings(monkeypatch):
    """What is found where these versions are installed; None for what is not."""

    def look(**changed):
        have = {**FINE, **{name.replace("_", "-"): version for name, version in changed.items()}}
        opencv = [name for name, version in have.items() if name.startswith("opencv") and version]
        monkeypatch.setattr(packages, "installed", have.get)
        monkeypatch.setattr(packages, "opencv_packages", lambda: opencv)
        monkeypatch.setattr(packages, "MATTER", ("torch", "lightning", "torchvision", "albumentations", "opencv"))
        monkeypatch.setattr(packages, "_required_by", lambda name: NEEDS.get(name, []))
        monkeypatch.setattr(packages, "stated_requirements", lambda: NEEDS["pcpad"])
        return packages.look_at_packages().findings

    return look


def test_nothing_is_said_of_versions_that_go_together(findings):
    assert findings() == []


def test_a_torchvision_of_another_release_is_a_fault(findings):
    found = findings(torch="2.12.0")
    assert [one.text for one in found if one.fatal] == [
        "torchvision needs torch ==2.14.1, and 2.12.0 is installed",
        "torchvision 0.29.1 is built for torch 2.14, and torch 2.12.0 is installed",
    ]
    assert "torchvision==0.27.*" in found[-1].advice


def test_two_builds_of_torch_and_torchvision_are_told(findings):
    (found,) = findings(torch="2.14.1+cu130", torchvision="0.29.1+cpu")
    assert "built for different platforms" in found.text
    assert not found.fatal


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_versions_are_told(findings, version):
    found = findings(lightning=version, pytorch_lightning=version)
    assert f"lightning {version} is malicious: the index removed it" in [one.text for one in found if one.fatal]


def test_two_opencvs_overwrite_each_other(findings):
    (found,) = findings(opencv_python="4.12.0.88")
    assert "opencv-python-headless and opencv-python each have files of the module cv2" in found.text
    assert found.advice.startswith("pip uninstall -y opencv-python-headless opencv-python && pip install")


def test_another_opencv_stands_in_with_a_warning(findings):
    (found,) = findings(opencv_python_headless=None, opencv_python="4.12.0.88")
    assert found.text == "pcpad needs opencv-python-headless; opencv-python is here, which has the same module"
    assert not found.fatal


def test_parts_that_are_missing_or_of_another_version_are_faults(findings):
    found = findings(albucore="0.0.30", torch=None)
    texts = [one.text for one in found if one.fatal]
    assert "albumentations needs albucore ==0.0.24, and 0.0.30 is installed" in texts
    assert "torch is missing, which pcpad needs" in texts


def test_two_albumentations_and_two_lightnings_are_told(findings):
    texts = [one.text for one in findings(albumentationsx="2.1.0", pytorch_lightning="2.5.0")]
    assert any("albumentations and albumentationsx each have files" in text for text in texts)
    assert any(text.startswith("lightning 2.6.6 and pytorch-lightning 2.5.0 are two versions") for text in texts)


def test_extras_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(packages, "installed", {"onnx": "1.23.2"}.get)
    lines = dict(packages.look_at_extras().lines)
    assert lines["heif"] == "lacks pillow-heif: pip install 'pcpad[heif]'"
    assert lines["onnx"] == "onnx 1.23.2; lacks onnxruntime, onnxscript: pip install 'pcpad[onnx]'"
    assert not {"test", "interop"} & set(lines)
