"""`pcpad adapt`, as it is typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.cli import main
from pcpad.commands.networks import load_network
from pcpad.models import load_weights
from pcpad.models.padded_weights import read_metadata

NETWORK = """
import torch
from torch import nn

def make():
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), nn.Conv2d(3, 3, 1, bias=False))
    for layer in network:
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return network

def bare():
    return nn.Conv2d(3, 3, 1)
"""
QUICK = ["--steps=4", "--search_steps=1", "--batch_size=4", "--crop=16", "--margin=8", "--border=2", "--rates=0.001"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("averaging.py").write_text(NETWORK)
    draw = np.random.default_rng(0)
    for index in range(17):
        path = Path(f"photographs/{index}.png")
        path.parent.mkdir(exist_ok=True)
        size = (40, 44) if index else (20, 60)
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path


def adapt(*args, network="averaging:make", output="out.safetensors"):
    main(
        ["adapt", "--import", "averaging", "--network", network, "--images", "photographs", "--output", output,
         "--device=cpu", *QUICK, *args]
    )  # fmt: skip


def refused(capsys, *args, **options):
    with pytest.raises(SystemExit) as end:
        adapt(*args, **options)
    assert end.value.code
    return capsys.readouterr().err


def test_it_recovers_and_writes(folder, capsys):
    adapt("--json=out.json")
    printed = capsys.readouterr().out
    for words in ("original, same procedure", "recovered", "worth it", "1 of 17 photographs are smaller than 32"):
        assert words in printed
    assert read_metadata("out.safetensors") == {"padding": "partial"}
    network = load_network("averaging:make", padding="partial", imports=["averaging"]).module
    load_weights(network, "out.safetensors")
    assert set(json.loads(Path("out.json").read_text())["rows"]) == {
        "original", "converted", "recovered", "original, same procedure",
    }  # fmt: skip
    assert not Path("out.safetensors.state").exists()


def test_learned_exponents_go_with_the_weights(folder):
    adapt("--exponent=learn", "--exponents_only")
    assert list(read_metadata("out.safetensors")["exponents"]) == ["0"]


def test_the_output_replaces_nothing_that_is_read(folder, capsys):
    network = load_network("averaging:make", imports=["averaging"]).module
    torch.save(network.state_dict(), "w.safetensors")
    before = Path("w.safetensors").read_bytes()
    assert "would replace the input" in refused(capsys, "--weights=w.safetensors", output="w.safetensors")
    Path("other.safetensors").write_bytes(before)
    assert "exists already and holds" in refused(capsys, output="other.safetensors")
    assert Path("w.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ([], {"output": "out.pth"}, ".safetensors"),
        ([], {"output": "none/out.safetensors"}, "no folder"),
        (["--padding=partal"], {}, "partal"),
        (["--crop=40"], {}, "are smaller than 56"),
        (["--exponents_only"], {}, "exponent='learn'"),
        ([], {"network": "averaging:bare"}, "nothing was changed"),
        (["--images=none"], {}, "no such folder"),
    ],
)
def test_what_will_not_do_is_said(folder, capsys, args, options, words):
    assert words in refused(capsys, *args, **options)
    assert not Path("out.safetensors").exists()


def test_fewer_than_sixteen_photographs_are_said(folder, capsys):
    for index in range(5):
        Path(f"photographs/{index}.png").unlink()
    assert "at least 16" in refused(capsys)
