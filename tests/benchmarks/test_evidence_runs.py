"""The driver of the experiments: which runs there are, and with which rates."""

import json
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from benchmarks import evidence_runs
from benchmarks.evidence_data import LAYOUTS
from benchmarks.evidence_networks import SmallDeepLab, SmallResNet, replace_norms
from benchmarks.evidence_rows import Cells
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


def shorten(recipe, into):
    """A recipe of two steps of four images."""
    text = (RECIPES / recipe).read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    content["trainer"] |= {"max_steps": 2, "limit_val_batches": 1, "log_every_n_steps": 1}
    content["trainer"].pop("limit_train_batches", None)
    if "val_check_interval" in content["trainer"]:
        content["trainer"]["val_check_interval"] = 1
    content["model"]["init_args"]["scheduler"]["init_args"]["total_iters"] = 2
    content["data"]["init_args"] |= {"batch_size": 4, "effective_batch": 4}
    (into / recipe).write_text(yaml.safe_dump(content))


def write_crops(source, root):
    draw = np.random.default_rng(0)
    for split, number in product(("train", "val", "test"), range(21)):
        folder = root / split / f"{number:02}"
        folder.mkdir(parents=True)
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "0.png")


def write_streets(source, root):
    draw = np.random.default_rng(0)
    for split, number in product(("train", "val", "test"), range(4)):
        for kind, high in (("images", 256), ("labels", 12)):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
            shape = (192, 288, 3) if kind == "images" else (192, 288)
            picture = draw.integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(picture).save(root / split / kind / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cell", "write", "there"),
    [
        ("position", "partial, seed 1", write_crops, {"correct", "moved", "activation", "place"}),
        ("seg_camvid", "partial, instance norm, seed 0", write_streets, {"near", "far"}),
    ],
)
def test_a_cell_is_run_once_and_scored(name, cell, write, there, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    shorten(EXPERIMENTS[name].recipe, tmp_path / "recipes")
    monkeypatch.setattr(evidence_runs, "RECIPES", tmp_path / "recipes")
    monkeypatch.setitem(LAYOUTS, name, write)
    root = str(Path(__file__).parents[2])
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    options = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["evidence_runs", name, "--cell", cell, *options])
    evidence_runs.main()
    file = tmp_path / "results" / name / f"{cell}.json"
    content = json.loads(file.read_text())
    assert there <= set(content)
    assert content["test"]
    assert content["rate"] in EXPERIMENTS[name].rates
    assert Cells(file.parent).hours > 0
    before = file.stat().st_mtime_ns
    evidence_runs.main()
    assert file.stat().st_mtime_ns == before
