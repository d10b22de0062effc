"""`pcpad figure border-counts`."""

import csv
from itertools import product

import pytest
import torch

from pcpad import cli
from pcpad.commands.figures.border_counts import BorderCount, build, count_borders
from pcpad.functional import padding_ratio


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v3_small", "deeplabv3_resnet50", "r3d_18"])
def test_border_positions_are_those_that_partial_convolution_rescales(network):
    size = (4, 33, 40) if network == "r3d_18" else (65, 72)
    with torch.device("meta"):
        counts, left = count_borders(build(network, {}), size)
    assert counts
    assert not left
    for count in counts:
        geometry = count.geometry
        ratio = padding_ratio(count.size, geometry.kernel, geometry.stride, geometry.lead, geometry.dilation)
        assert count.at_border == int((ratio != 1).sum())
        assert count.positions == ratio.numel()


@pytest.mark.faults
def test_padding_by_the_size_is_counted():
    with torch.device("meta"):
        counts, left = count_borders(build("timm/tf_efficientnet_b0", {}), (224, 225))
    assert (len(counts), left) == (17, [])
    stem = counts[0]
    assert (stem.geometry.lead, stem.geometry.trail, stem.windows) == ((0, 1), (1, 1), (112, 113))


def test_padded_entries_by_side():
    with torch.device("meta"):
        counts, _ = count_borders(build("resnet50", {}), (224, 225))
    stem = counts[0]
    assert isinstance(stem, BorderCount)
    assert (stem.name, stem.size, stem.windows) == ("conv1", (224, 225), (112, 113))
    for length, entries, reaching in zip(stem.size, stem.entries, stem.reaching, strict=True):
        reads = [(start * 2 - 3 + tap, start) for start, tap in product(range((length - 1) // 2 + 1), range(7))]
        before, after = [s for at, s in reads if at < 0], [s for at, s in reads if at >= length]
        assert entries == (len(before), len(after))
        assert reaching == (len(set(before)), len(set(after)))
    assert stem.entries == ((4, 2), (4, 4)), "an even side is padded unevenly under stride 2, an odd one is not"


def test_counts_are_written(tmp_path, capsys, dots_per_inch):
    cli.main(["figure", "border-counts", "--network", "resnet50", "--output", str(tmp_path / "a.png")])
    assert "17 padded convolutions" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert len(rows) == 17
    assert (rows[0]["layer"], rows[0]["positions"], rows[0]["border_positions"]) == ("conv1", "12544", "663")
    assert float(rows[-1]["border_share"]) == 24 / 49
    assert dots_per_inch(tmp_path / "a.png") == 150


def test_counts_of_a_checkpoint(segmentations, tmp_path, capsys):
    output = str(tmp_path / "a.png")
    cli.main(["figure", "border-counts", "--checkpoint", segmentations[1], "--size", "64", "128", "--output", output])
    assert "deeplabv3plus resnet18 at 64×128" in capsys.readouterr().out
    assert (tmp_path / "a.csv").is_file()


def test_without_matplotlib_it_is_asked_for(monkeypatch, failing):
    monkeypatch.setattr("pcpad.tasks.pictures.plots.find_spec", lambda name: None)
    assert "pip install 'pcpad[figures]'" in failing("border-counts", "--network", "resnet18")
