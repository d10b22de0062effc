"""The driver of the experiments: which runs there are, and with which rates."""

import pytest
import torch
from torch import nn

from benchmarks.evidence_networks import SmallDeepLab, SmallResNet, replace_norms
from benchmarks.evidence_runs import EXPERIMENTS, RECIPES, best_rate, cells
from benchmarks.evidence_scores import knows_place, shares_off
from pcpad import PartialConv2d, convert_padding


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_is_named_once_and_its_recipe_is_there(name):
    experiment = EXPERIMENTS[name]
    named = [(arm.name, seed) for arm, seed in cells(experiment)]
    assert len(named) == len(set(named)) == sum(arm.seeds for arm in experiment.arms)
    assert (RECIPES / experiment.recipe).is_file()
    assert {arm.rates for arm in experiment.arms} - {None} <= {arm.name for arm in experiment.arms}


def test_explicit_padding_is_not_tested_under_others():
    experiment = EXPERIMENTS["cls_cifar"]
    by_name = {arm.name: arm for arm in experiment.arms}
    assert experiment.crossed(by_name["explicit"]) == ["explicit"]
    assert experiment.crossed(by_name["partial"]) == ["partial", "zeros", "reflect", "replicate"]


def test_best_rate_is_finite_and_follows_the_mode():
    found = {0.1: 0.5, 0.3: 0.7, 1.0: float("nan")}
    assert (best_rate(found, "max"), best_rate(found, "min")) == (0.3, 0.1)


@pytest.mark.parametrize(("stride", "size"), [(1, 32), (2, 64)])
def test_small_networks_end_in_maps_of_8(stride, size):
    network = convert_padding(SmallResNet(10, stride), "partial")
    assert network.forward_features(torch.zeros(1, 3, size, size)).shape[-2:] == (8, 8)
    assert sum(isinstance(one, PartialConv2d) for one in network.modules()) == 7


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("instance", nn.InstanceNorm2d)])
def test_norms_are_replaced_and_nothing_else(norm, kind):
    network = SmallDeepLab(encoder_weights=None, classes=3)
    batch = [name for name, one in network.named_modules() if isinstance(one, nn.BatchNorm2d)]
    kept = {name: value.clone() for name, value in network.named_parameters() if value.dim() == 4}
    replace_norms(network, norm)
    replaced = [name for name, one in network.named_modules() if isinstance(one, kind)]
    assert len(replaced) >= len(batch) - 1  # of one pixel there is no instance norm
    assert set(replaced) <= set(batch)
    assert all(torch.equal(value, kept[name]) for name, value in network.named_parameters() if name in kept)
    assert network.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 3, 96, 96)


def test_places_are_read_from_features_that_have_them_alone():
    draws = torch.Generator().manual_seed(0)
    noise = torch.rand(32, 4, 8, 8, generator=draws)
    placed = noise.clone()
    placed[:, 0] += 10 * torch.arange(8.0)[:, None]
    assert knows_place(noise, noise)["row"] < 0.05
    found = knows_place(placed, placed)
    assert found["row"] > 0.99
    assert found["column"] < 0.05


def test_shares_off_are_apart_by_the_distance_to_seams():
    whole = torch.zeros(192, 288, dtype=torch.long)
    tiles = whole.clone()
    tiles[88:104] = 1  # 8 on each side of the seam at 96
    found = shares_off(whole, tiles)
    assert found["far"] == 0
    assert 0 < found["near"] < 1
