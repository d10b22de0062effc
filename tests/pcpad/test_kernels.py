"""Which kernel scales borders: as set, as the environment says, as was measured."""

import json

import pytest
import torch

from pcpad import kernels
from pcpad.errors import UserModuleNotFoundError, UserValueError


@pytest.fixture(autouse=True)
def gpu(monkeypatch, tmp_path):
    """A machine with a GPU of a name, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(kernels.OPTION, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    monkeypatch.setattr(kernels, "_versions", lambda: {"torch": "2", "triton": "3"})
    kernels.set_border_kernel(None)
    yield
    kernels.set_border_kernel(None)


def test_torch_is_used_until_triton_was_measured_to_be_faster(monkeypatch):
    assert kernels.border_kernel("cuda") == "torch"
    path = kernels.keep_choice("Some GPU", "triton", (0.9, 0.8, 0.95))
    assert kernels.border_kernel("cuda") == "triton"
    kernels.keep_choice("Another GPU", "torch", (1.1, 1.0, 1.2))
    assert kernels.border_kernel("cuda") == "triton"
    assert json.loads(path.read_text(encoding="utf-8"))["Some GPU"]["ratio"] == [0.9, 0.8, 0.95]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Another GPU")
    assert kernels.border_kernel("cuda") == "torch"


def test_what_other_versions_measured_does_not_count(monkeypatch):
    kernels.keep_choice("Some GPU", "triton", (0.9, 0.8, 0.95))
    monkeypatch.setattr(kernels, "_versions", lambda: {"torch": "3", "triton": "3"})
    assert kernels.border_kernel("cuda") == "torch"


def test_a_setting_precedes_the_environment_and_that_the_measurement(monkeypatch):
    kernels.keep_choice("Some GPU", "triton", (0.9, 0.8, 0.95))
    monkeypatch.setenv(kernels.OPTION, "torch")
    assert kernels.border_kernel("cuda") == "torch"
    with kernels.using("triton"):
        assert kernels.border_kernel("cuda") == "triton"
        assert kernels.border_kernel("cpu") == "torch"
        with kernels.using("auto"):
            assert kernels.border_kernel("cuda") == "triton"
    assert kernels.border_kernel("cuda") == "torch"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"Some GPU": 3}', '{"Some GPU": {"kernel": "triton"}}']
)
def test_a_damaged_file_is_none(text):
    path = kernels.choice_file()
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    assert kernels.border_kernel("cuda") == "torch"
    kernels.keep_choice("Some GPU", "triton", (0.9, 0.8, 0.95))
    assert kernels.border_kernel("cuda") == "triton"


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(kernels, "user_cache", lambda: None)
    assert kernels.keep_choice("Some GPU", "triton", (0.9, 0.8, 0.95)) is None
    assert kernels.border_kernel("cuda") == "torch"


def test_unknown_names_and_no_triton(monkeypatch):
    with pytest.raises(UserValueError, match=r"one of auto, torch, triton, but got 'tritn'. Did you mean 'triton'\?"):
        kernels.set_border_kernel("tritn")
    monkeypatch.setenv(kernels.OPTION, "cuda")
    with pytest.raises(UserValueError, match=kernels.OPTION):
        kernels.border_kernel("cuda")
    monkeypatch.setenv(kernels.OPTION, "triton")
    monkeypatch.setattr(kernels, "_has_triton", lambda: False)
    with pytest.raises(UserModuleNotFoundError, match="not installed"):
        kernels.border_kernel("cuda")
