"""Machines that are made up, and what is said of them."""

from collections import namedtuple

import pytest

from pcpad.commands.doctoring import machine
from pcpad.commands.doctoring.machine import _runs_on, look_at_machine

pytestmark = pytest.mark.faults
TORCH = {"threads": 1, "interop": 1, "cuda": "13.0", "hip": None, "mps": False, "architectures": [], "bf16": False}
Space = namedtuple("Space", "total used free")


@pytest.fixture(autouse=True)
def fine(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_SHARED", tmp_path)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_NVIDIA", (tmp_path / "nvidia0",))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Space(8 << 30, 0, 8 << 30))


def test_a_machine_without_faults():
    section = look_at_machine({**TORCH, "cards": []})
    assert section.findings == []
    assert ("cpu", "always; torch is built for CUDA 13.0") in section.lines


def test_little_shared_memory_is_told(monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Space(64 << 20, 0, 64 << 20))
    (found,) = look_at_machine({**TORCH, "cards": []}).findings
    assert "holds 64 MiB at most" in found.text
    assert "--shm-size" in found.advice


def test_more_threads_than_a_container_may_use_are_told(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    section = look_at_machine({**TORCH, "threads": 16, "cards": []})
    (found,) = section.findings
    assert found.text.startswith("torch runs 16 threads on 1 cores")
    assert any("a quota allows 1" in text for _, text in section.lines)


@pytest.mark.parametrize(("cuda", "said"), [("13.0", "finds no card"), (None, "built for the CPU alone")])
def test_a_driver_without_a_card_in_torch_is_told(tmp_path, cuda, said):
    (tmp_path / "nvidia0").touch()
    (found,) = look_at_machine({**TORCH, "cuda": cuda, "cards": []}).findings
    assert said in found.text


def test_a_card_without_kernels_is_told():
    cards = [{"name": "Old", "bytes": 8 << 30, "capability": [6, 1]}]
    section = look_at_machine({**TORCH, "cards": cards, "architectures": ["sm_75", "sm_90"]})
    assert "no kernels for Old (capability 6.1; it has sm_75, sm_90)" in section.findings[0].text
    assert ("cuda:0", "Old, 8 GiB, capability 6.1, no bf16, CUDA 13.0") in section.lines


def test_which_architectures_run_on_a_card():
    assert _runs_on([8, 6], ["sm_75", "sm_80"])
    assert _runs_on([12, 0], ["sm_100", "compute_100"])
    assert not _runs_on([12, 0], ["sm_100"])
    assert not _runs_on([7, 0], ["sm_75"])
