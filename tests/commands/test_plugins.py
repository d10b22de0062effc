"""Modules of the user's own: what is loaded from the current folder, and what never is."""

import importlib
import json
import sys

import pytest
import torch

from pcpad import cli, paddings
from pcpad.commands import plugins
from pcpad.commands.plugins import import_named, load_plugins, load_user_modules, split_imports, take_imports
from pcpad.paddings import padding_names

TASK = """
import torch
from torch import nn
from torch.utils.data import DataLoader
from lightning.pytorch import LightningDataModule, LightningModule
from pcpad.tasks.base import Task
from {helper} import WIDTH


class Own(Task):
    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.network = nn.Conv2d(3, width, 1)

    def test_step(self, batch, batch_idx):
        self.log("test/mean", self.network(batch).mean())

    def predict_step(self, batch, batch_idx):
        return self.network(batch)


class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Conv2d(3, 2, 1)

    def test_step(self, batch, batch_idx):
        self.log("test/mean", self.network(batch).mean())

    def predict_step(self, batch, batch_idx):
        return self.network(batch)


class Ones(LightningDataModule):
    def test_dataloader(self):
        return DataLoader(torch.ones(2, 3, 4, 4), batch_size=2)

    predict_dataloader = test_dataloader
"""
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, and afterwards no module of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paddings, "_REGISTERED", dict(paddings._REGISTERED))
    before = set(sys.modules)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    plugins._finder.typed.clear()
    plugins._finder.found.clear()
    plugins._loaded.clear()


def write(folder, name, text):
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


def test_a_typed_class_is_found_with_what_it_imports_from_beside_it(folder, capsys):
    write(folder, "own_a", TASK.format(helper="own_a_parts"))
    write(folder, "own_a_parts", "WIDTH = 5")
    cli.main(["test", "--model=own_a.Own", "--data=own_a.Ones", *QUIET])
    out = capsys.readouterr().out
    assert "test/mean" in out
    assert "padding" not in out, "it has none"


@pytest.mark.parametrize("way", ["--import", "imports", "--imports"])
def test_three_ways_to_name_a_module(folder, way):
    name = f"own_b_{len(way)}"
    write(folder, name, f"from pcpad.paddings import register_padding\nregister_padding('{name}')(lambda x, pads: x)")
    write(folder, "own_c", TASK.format(helper="own_c_parts"))
    write(folder, "own_c_parts", "WIDTH = 5")
    (folder / "recipe.yaml").write_text(f"imports: [{name}]\n", encoding="utf-8")
    given = {"--import": ["--import", name], "imports": ["--config", "recipe.yaml"]}.get(way, [f"--imports=[{name}]"])
    cli.main(["test", "--model=own_c.Own", "--data=own_c.Ones", *QUIET, *given])
    assert name in padding_names()
    config = (folder / "runs").rglob("results.json")
    assert len(list(config)) == 1


def test_an_installed_module_comes_first(folder):
    write(folder, "yaml", "raise SystemExit('the folder was imported')")
    write(folder, "colorsys", "raise SystemExit('the folder was imported')")
    sys.modules.pop("colorsys", None)
    load_user_modules(["yaml", "colorsys"])
    assert not str(sys.modules["colorsys"].__file__).startswith(str(folder))


def test_what_is_not_typed_is_not_found(folder):
    write(folder, "own_d", "raise SystemExit('it was imported')")
    plugins.allow_modules_of(["--output=other.csv", "own_dd.X", "a/own_d.csv"])
    with pytest.raises(ModuleNotFoundError):
        __import__("own_d")


def test_a_checkpoint_is_never_enough(folder, capsys):
    write(folder, "own_e", "raise SystemExit('it was imported')")
    kept = {"_class_path": "own_e.Own"}
    torch.save({"state_dict": {}, "hyper_parameters": kept, "pytorch-lightning_version": "2.6.6"}, folder / "x.ckpt")
    with pytest.raises(SystemExit) as stop:
        cli.main(["test", "--ckpt_path=x.ckpt", "--data=ImageNetDataModule", *QUIET])
    assert stop.value.code == 1
    assert "asks for the class 'own_e.Own', which is not pcpad's" in capsys.readouterr().err
    assert "own_e" not in sys.modules


def test_missing_and_wrong_modules_are_one_message(folder):
    with pytest.raises(ModuleNotFoundError, match=r"--import nowhere_at_all: no such module, neither installed nor as"):
        load_user_modules(["nowhere_at_all"])
    with pytest.raises(ModuleNotFoundError, match=r"--import nowhere loads nowhere\.py, which .* does not have"):
        load_user_modules(["nowhere.py"])
    write(folder, "own_h", "")
    with pytest.raises(ModuleNotFoundError, match=r"named without its ending: --import own_h loads own_h\.py$"):
        load_user_modules(["own_h.py"])
    with pytest.raises(ValueError, match=r"such as mine \(for mine.py\) or my.paddings, but got 'mine.py/x'"):
        load_user_modules(["mine.py/x"])
    with pytest.raises(ValueError, match="--import needs a module"):
        split_imports(["--import"])
    write(folder, "own_f", "import nowhere_at_all")
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
        load_user_modules(["own_f"])


def test_the_option_is_taken_out_wherever_it_stands(folder):
    write(folder, "own_g", "")
    assert take_imports(["a", "--import", "own_g", "--b=1", "--import=json"]) == ["a", "--b=1"]
    assert "own_g" in sys.modules


def test_installed_packages_are_asked_and_a_broken_one_is_said(tmp_path, monkeypatch):
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pcpad.plugins]\ngood = others_good\nbad = others_bad\n")
    write(tmp_path, "others_good", "LOADED = True")
    write(tmp_path, "others_bad", "raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.warns(UserWarning, match=r"The plugin bad \(others_bad\) cannot be loaded: RuntimeError"):
        load_plugins()
    assert sys.modules["others_good"].LOADED
    del sys.modules["others_good"]


def test_predictions_that_nothing_would_write_are_refused_before_any_work(folder, capsys):
    write(folder, "own_h", TASK.format(helper="own_h_parts"))
    write(folder, "own_h_parts", "WIDTH = 5")
    for name, words in (
        (
            "Plain",
            "Plain is a plain LightningModule and lacks `prediction_writer`: derive it from pcpad.tasks",
        ),
        ("Own", "Own has no `prediction_writer` of its own"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["predict", f"--model=own_h.{name}", "--data=own_h.Ones", "--output=out.csv", *QUIET])
        assert stop.value.code == 1
        assert words in capsys.readouterr().err
        assert not (folder / "out.csv").exists()


def test_a_plain_module_is_tested_and_takes_no_evaluators(folder, capsys):
    write(folder, "own_i", TASK.format(helper="own_i_parts"))
    write(folder, "own_i_parts", "WIDTH = 5")
    cli.main(["test", "--model=own_i.Plain", "--data=own_i.Ones", *QUIET])
    entry = json.loads(next(folder.rglob("results.json")).read_text())["test"]
    assert (entry["task"], entry["tested_with"]) == ("Plain", None)
    assert "padding" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["test", "--model=own_i.Plain", "--data=own_i.Ones", "--eval+=Regular", *QUIET])
    assert "--eval is for tasks; Plain is a plain LightningModule and lacks `use_evaluators`" in capsys.readouterr().err


@pytest.mark.slow
def test_classes_named_in_a_config_are_imported_and_others_stay_out():
    code = (
        "import sys; from pcpad.commands.plugins import import_named; "
        "import_named(['GaussianFilteringTask', 'of SynthesisTask']); "
        "print([name for name in ('pcpad.tasks.gaussian_filtering', 'pcpad.tasks.synthesis') if name in sys.modules])"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pcpad.tasks.gaussian_filtering']"
    import_named(["GaussianFilteringTask"], ["--help"])
    assert "pcpad.tasks.synthesis" in sys.modules


@pytest.mark.parametrize("verb", ["borders", "adapt", "bench", "export"])
def test_help_lists_the_option(verb, capsys):
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    assert "--import MODULE" in capsys.readouterr().out
