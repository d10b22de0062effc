"""timm's networks after a conversion: no convolution pads with zeros that the report does not name."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import convert_padding

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "conversions.py"


@pytest.fixture(scope="module")
def script():
    """The benchmark that looks below the layers."""
    spec = importlib.util.spec_from_file_location("conversions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Hidden(nn.Module):
    """Pads in all the ways that there are."""

    def __init__(self):
        super().__init__()
        self.plain, self.valid = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3)
        self.pad, self.unfold = nn.ZeroPad2d(1), nn.Unfold(3, padding=1)

    def forward(self, x):
        x = self.plain(x)
        x = self.valid(self.pad(x))
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), self.valid.weight)
        return x + self.unfold(x).sum()


def test_the_watch_sees_all_that_pads(script):
    assert script.unlisted(Hidden(), set(), torch.rand(1, 3, 8, 8)) == ["", "pad", "plain", "unfold", "valid"]
    assert script.unlisted(Hidden(), {"(root)", "pad", "plain", "valid"}, torch.rand(1, 3, 8, 8)) == ["unfold"]
    network = convert_padding(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)), "partial")
    assert script.unlisted(network, set(), torch.rand(1, 3, 8, 8)) == []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "converted", "left"),
    [
        ("tf_efficientnet_lite0", 17, 0),  # Conv2dSame
        ("nf_resnet26", 9, 0),  # ScaledStdConv2d
        ("dm_nfnet_f0", 28, 0),  # ScaledStdConv2dSame
        ("resnetv2_50x1_bit", 17, 1),  # StdConv2d, and zeros before a pooling
        ("hgnetv2_b0", 22, 1),  # `F.pad` before convolutions and a pooling
        ("cpubone_nano", 10, 0),  # nn.ZeroPad2d
    ],
)
def test_every_padded_convolution_is_converted_or_listed(script, name, converted, left):
    row = script.one(name)
    assert (row["converted"], row["left"]) == (converted, left)
    assert (row["unlisted"], row["error"]) == ([], "")


@pytest.mark.slow
def test_timm_s_whole_list(script):
    """Every network of timm, one of each family first: some 25 minutes of one core."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [script.one(name) for name in script.names("")]
    assert len(rows) > 1000
    assert [(row["name"], row["unlisted"]) for row in rows if row["unlisted"]] == []
    # Most of what does not run without numbers, or on a tensor alone, has no padded convolution.
    assert sum(bool(row["error"]) for row in rows if row["converted"]) < 0.02 * len(rows)
    assert sum(row["converted"] for row in rows) > 50 * sum(row["left"] for row in rows)
    print(*script.table(rows), sep="\n")
