"""A comparison of a network with itself is refused, and what keeps its padding is said."""

from contextlib import suppress

import pytest

from pcpad import cli

RECIPE = """\
# A network, for tests
model:
  class_path: ClassificationTask
  init_args:
    network: timm/test_resnet
    num_classes: 3
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01}}
data:
  class_path: ImageNetDataModule
  init_args: {root: images, batch_size: 3, num_workers: 0, image_size: 32, resize: 32}
checkpoint: {monitor: val/loss, mode: min}
"""


@pytest.fixture
def listed(tmp_path, monkeypatch, capsys):
    """What `compare --list` prints on stderr, and how many commands on stdout."""
    (tmp_path / "small.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def run(*args, paddings="zeros,partial"):
        typed = ["--config", "small.yaml", "--output", "grid", "--paddings", paddings, "--seeds", "1", "--list"]
        with suppress(SystemExit):
            cli.main(["compare", *typed, *args])
        printed = capsys.readouterr()
        return printed.err, len(printed.out.splitlines())

    return run


@pytest.mark.faults
def test_a_network_is_not_compared_with_itself(listed, tmp_path, own_kinds):
    said, commands = listed(f"--model.network={own_kinds}")
    assert "Nothing to compare: the network is the same under zeros, partial. Nothing was converted" in said
    assert "2 of _ByHand" in said
    assert commands == 0
    assert not (tmp_path / "grid").exists(), "before anything is made"
    assert "no convolution pads" in listed("--model.network=timm/vit_tiny_patch16_224")[0]


@pytest.mark.faults
def test_what_keeps_its_padding_is_said_for_each_network(listed):
    said, commands = listed("--axis", "model.network=timm/test_resnet,timm/resnetv2_50x1_bit")
    lines = [line for line in said.splitlines() if line.startswith("pcpad: ")]
    assert commands == 4
    assert len(lines) == 1
    assert lines[0].startswith("pcpad: network=timm/resnetv2_50x1_bit: 17 modules were converted to 'partial'; 1 keep")


def test_one_network_under_zeros_needs_no_look(listed):
    said, commands = listed(paddings="zeros")
    assert (commands, "converted" in said) == (1, False)
