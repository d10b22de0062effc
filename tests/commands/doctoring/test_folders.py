"""Caches with weights in them."""

from pathlib import Path

from pcpad.commands.doctoring.folders import look_at_folders


def test_weights_in_caches_are_listed(monkeypatch, tmp_path):
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for file in (
        "torch/hub/checkpoints/resnet50-0676ba61.pth",
        "huggingface/hub/models--timm--resnet18.a1_in1k/snapshots/0/model.safetensors",
        "pcpad/1234_pcpad_videos.npz",
    ):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(b"0" * 2048)
    section = look_at_folders()
    texts = [text for _, text in section.lines]
    assert f"{tmp_path}/torch/hub/checkpoints: 1 weight file, 2 KiB" in texts
    assert "resnet50-0676ba61.pth, 2 KiB" in texts
    assert "timm/resnet18.a1_in1k: model.safetensors, 2 KiB" in texts
    assert f"{tmp_path}/pcpad: 1 index, 2 KiB" in texts
    assert section.findings == []


def test_no_home_is_told(monkeypatch):
    for name in ("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def nobody():
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.setattr(Path, "home", nobody)
    (found,) = look_at_folders().findings
    assert "no home folder" in found.text
