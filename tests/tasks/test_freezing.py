"""Blocks, frozen parts and learning rates of parts."""

import pytest
from torch import nn

from pcpad.models import classifier
from pcpad.tasks.freezing import block_depths, check_rates, freeze_parts, is_norm, rate_groups


@pytest.fixture(scope="module")
def resnet():
    return classifier("resnet18", 3)


def test_blocks_are_numbered_from_the_input(resnet):
    depths = block_depths(resnet)
    order = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn2.bias", "layer2.0.downsample.0.weight"]
    assert [depths[name] for name in (*order, "layer4.1.conv1.weight", "fc.bias")] == [0, 0, 1, 2, 3, 8, 9]
    assert set(depths) == {name for name, _ in resnet.named_parameters()}


def test_rates_multiply(resnet):
    groups = rate_groups(resnet.named_parameters(), resnet, {"decay": 0.5, "layer1": 0.1, "layer1.1": 0.2}, [])
    rates = {
        name: factor
        for factor, group in groups
        for name, one in resnet.named_parameters()
        for p in group["params"]
        if p is one
    }
    assert rates["fc.weight"] == 1
    assert rates["layer4.1.conv1.weight"] == 0.5
    assert rates["layer1.0.conv1.weight"] == pytest.approx(0.1 * 0.5**8)
    assert rates["layer1.1.conv1.weight"] == pytest.approx(0.2 * 0.5**7)
    assert len({group["name"] for _, group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        (["encodr"], r"`freeze` to name parts of Sequential \(0, 1\b.*but got 'encodr'"),
        (["0", "1", "2"], "leaves nothing to train"),
    ],
)
def test_parts_that_there_are_none_of(freeze, words):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=words):
        freeze_parts(network, freeze, ["0"])


@pytest.mark.parametrize(
    ("rates", "words"), [({"x": 1}, "got 'x'"), ({"0": 0}, "positive"), ({"decay": 2}, r"\(0, 1\]")]
)
def test_rates_that_say_nothing(rates, words):
    with pytest.raises(ValueError, match=words):
        check_rates(nn.Sequential(nn.Linear(2, 2)), rates, [])


def test_norms():
    assert all(map(is_norm, [nn.BatchNorm3d(2), nn.SyncBatchNorm(2), nn.GroupNorm(1, 2), nn.LayerNorm(2)]))
    assert not is_norm(nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="no normalization layers"):
        freeze_parts(nn.Sequential(nn.Linear(2, 2)), ["norms"], [])
