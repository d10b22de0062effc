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
from benchmarks.evidence_drawn import draw_movements, draw_streets
from benchmarks.evidence_networks import SmallDeepLab, SmallResNet, replace_norms
from benchmarks.evidence_rows import Cells
from benchmarks.evidence_runs import EXPERIMENTS, PEAK_RATE, RECIPES, best_rate, cells
from benchmarks.evidence_scores import instance_shares, knows_place, shares_off
from pcpad import PartialConv2d, convert_padding
from pcpad.commands.comparison.cells import write_failures
from pcpad.commands.comparison.grid import SEED, Cell
from pcpad.datamodules.datasets.panoptic_scenes import TRAIN_IDS
from pcpad.tasks.finite import FiniteLoss, NonFiniteLossError, check_finite


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


def test_single_instances_are_scored_by_their_size_and_class():
    instance = torch.full((16, 16), 7)  # road, of which there are no single objects
    instance[:8, :8] = 26001  # a car of 64 pixels
    instance[8:12, :2] = 26002  # one of 8
    instance[15, :3] = 26003  # one of 3, too few to ask
    said = torch.zeros(16, 16, dtype=torch.long)
    said[:4, :8] = 13
    said[8:12, :2] = 13
    found = instance_shares(said, instance, torch.tensor(TRAIN_IDS))
    assert found == {"small": [1.0], "large": [0.5]}


def test_what_is_drawn_needs_no_folder_of_published_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evidence_runs, "run", lambda name, *_: print(name))
    monkeypatch.setattr(sys, "argv", ["evidence_runs", "act_demo", "syn_demo", "--work", str(tmp_path)])
    evidence_runs.main()
    assert capsys.readouterr().out.split() == ["act_demo", "syn_demo"]
    monkeypatch.setattr(sys, "argv", ["evidence_runs", "act_demo", "cls_cifar", "--work", str(tmp_path)])
    with pytest.raises(SystemExit):
        evidence_runs.main()
    assert "--data unless the data are drawn" in capsys.readouterr().err


def not_finite(*, test):
    """What a run says that ends so, word for word."""
    infinite = torch.tensor(float("inf"))
    check, place = (check_finite, "test/loss") if test else (FiniteLoss().update, "epoch 3, step 27")
    with pytest.raises(NonFiniteLossError) as caught:
        check(infinite, place)
    return f"pcpad: error: {caught.value}"


@pytest.mark.parametrize("test", [False, True], ids=["while it trains", "in its test"])
def test_a_run_whose_loss_is_not_finite_is_recorded_and_not_repeated(tmp_path, monkeypatch, capsys, test):
    grid, results = tmp_path / "work" / "act_demo", tmp_path / "results"
    commands, error = [], not_finite(test=test)
    errors = ["pcpad: error: Data set not found", f"killed by SIGKILL; last line: {error}", error]

    def diverges(command):
        commands.append(command)
        folder = grid / Cell({"model.padding": "partial", PEAK_RATE: "0.03", SEED: "1"}).name
        write_failures(folder, [{"step": "fit", "error": errors.pop(0)}])
        return 12.5

    monkeypatch.setitem(LAYOUTS, "act_demo", lambda source, root: root.mkdir(parents=True))
    monkeypatch.setattr(evidence_runs, "_spend", diverges)
    (results / "act_demo").mkdir(parents=True)
    (results / "act_demo" / "rates, partial.json").write_text('{"arm": "partial", "chosen": 0.03}')
    options = ["--work", str(tmp_path / "work"), "--results", str(results), "--cell", "partial, seed 1"]
    monkeypatch.setattr(sys, "argv", ["evidence_runs", "act_demo", *options])
    file = results / "act_demo" / "partial, seed 1.json"
    for there in (False, False, True, True):
        evidence_runs.main()
        assert file.exists() == there
    assert len(commands) == 3
    content = json.loads(file.read_text())
    assert content["diverged"] == error.removeprefix("pcpad: error: ")
    assert content["test"] == {"test/video_top1": pytest.approx(1 / 6)}
    assert content["cpu_seconds"] == 12.5
    assert "act_demo: partial, seed 1: diverged: " in capsys.readouterr().out
    # One that an earlier version left without a file is not run again either.
    file.unlink()
    evidence_runs.main()
    assert len(commands) == 3
    assert "cpu_seconds" not in json.loads(file.read_text())


def test_what_a_run_counts_as_that_diverged_is_as_its_protocol_says():
    said = {name: experiment.diverged for name, experiment in EXPERIMENTS.items()}
    for name, counts in said.items():
        text = " ".join((RECIPES.parent / "protocols" / f"{name}.md").read_text(encoding="utf-8").split())
        assert (counts is not None) == ("not finite is reported as such" in text)
    assert {name for name, counts in said.items() if counts} == {"act_demo"}


def shorten(recipe, into):
    """A recipe of two steps of four images."""
    text = (RECIPES / recipe).read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    content["trainer"] |= {"max_steps": 2, "limit_val_batches": 1, "log_every_n_steps": 1}
    content["trainer"].pop("limit_train_batches", None)
    if "val_check_interval" in content["trainer"]:
        content["trainer"]["val_check_interval"] = 1
    if "check_val_every_n_epoch" in content["trainer"] and "val_check_interval" not in content["trainer"]:
        content["trainer"]["check_val_every_n_epoch"] = 1
    counted = content["model"]["init_args"]["scheduler"]["init_args"]
    counted |= {name: 2 for name in ("total_iters", "total_steps") if name in counted}
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


def write_movements(source, root):
    draw_movements(root, {"train": 1, "val": 1, "test": 1})


def write_drawn_streets(source, root):
    draw_streets(root, {"train": 3, "val": 1}, seed=0)
    draw_streets(root / "test", {"val": 2}, seed=1)
    draw_streets(root / "judge", {"train": 3, "val": 1}, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cell", "write", "there"),
    [
        ("position", "partial, seed 1", write_crops, {"correct", "moved", "activation", "place"}),
        ("seg_camvid", "partial, instance norm, seed 0", write_streets, {"near", "far"}),
        ("act_demo", "partial, seed 1", write_movements, {"test"}),
        ("syn_demo", "panoptic partial, seed 0", write_drawn_streets, {"small", "large", "real_small", "real_large"}),
    ],
)
def test_a_cell_is_run_once_and_scored(name, cell, write, there, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    for recipe in filter(None, (EXPERIMENTS[name].recipe, EXPERIMENTS[name].judge)):
        shorten(recipe, tmp_path / "recipes")
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
    assert content["rate"] in (EXPERIMENTS[name].rates or (None,))
    assert Cells(file.parent).hours > 0
    assert (Cells(file.parent).judge is None) == (EXPERIMENTS[name].judge is None)
    before = file.stat().st_mtime_ns
    evidence_runs.main()
    assert file.stat().st_mtime_ns == before
