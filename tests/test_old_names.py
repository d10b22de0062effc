"""What checkpoints, configs and programs of earlier versions name is still there."""

import importlib
import inspect
import json
import subprocess
import sys
import warnings
from contextlib import suppress
from inspect import isabstract
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule

import pcpad
from pcpad import _renamed
from pcpad.cli import main
from pcpad.commands.checkpoint import remembered
from pcpad.commands.run_options import with_present_paths
from pcpad.tasks.schedules import refuse_other_options

# Written by `benchmarks/old_checkpoints.py names` with the last version before modules moved. Lines may be added.
OLD = json.loads(Path(__file__).with_name("old_names.json").read_text(encoding="utf-8"))


@pytest.fixture
def anew(monkeypatch):
    """As if nothing old had been imported yet: a path warns once in a process."""
    monkeypatch.setattr(_renamed, "_warned", set())
    for name in _renamed.MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(child, None)


def look_up(path):
    """As jsonargparse, pickle and Lightning do."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", OLD["classes"])
def test_class_paths_and_their_arguments(path, anew):
    module = path.rpartition(".")[0]
    if _renamed.present_path(path) == path:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            kind = look_up(path)
    else:
        old = path if path in _renamed.NAMES and module not in _renamed.MODULES else module
        with pytest.warns(FutureWarning, match=f"^{old} is called "):
            kind = look_up(path)
    assert inspect.isclass(kind)
    assert kind is look_up(_renamed.present_path(path))
    accepted = inspect.signature(kind).parameters
    assert [name for name in OLD["classes"][path] if name not in accepted] == []


@pytest.mark.filterwarnings("ignore:pcpad.* is called:FutureWarning")
@pytest.mark.parametrize("module", OLD["modules"])
def test_modules_and_their_public_names(module):
    found = importlib.import_module(module)
    assert [name for name in OLD["modules"][module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("old", [f"{module}.{name}" for module, names in _renamed.SPELLINGS.items() for name in names])
def test_british_spellings_warn_and_are_the_same_objects(old, anew):
    with pytest.warns(FutureWarning, match=rf"^{old} is called {_renamed.present_path(old)} now"):
        found = look_up(old)
    assert found is look_up(_renamed.present_path(old))


def respelled(kind):
    """What the list holds of a kind: owner, old name, present name."""
    return [
        pytest.param(path, old, new, id=f"{path}-{old}")
        for path, names in OLD[kind].items()
        for old, new in names.items()
    ]


def member(path):
    """A function or class of a module, or a method of such a class."""
    owner, _, name = path.rpartition(".")
    return getattr(look_up(owner), name) if owner.rpartition(".")[2][0].isupper() else look_up(path)


@pytest.mark.parametrize(("path", "old", "new"), respelled("keywords"))
def test_old_keywords_still_count(path, old, new):
    function = member(path)
    accepted = inspect.signature(function).parameters
    assert new in accepted
    assert old not in accepted
    # Called with nothing else: Python says what is missing, and that is not the old keyword.
    with pytest.warns(FutureWarning, match=f"^`{old}` of .* is called `{new}` now"), suppress(TypeError):
        function(**{old: None})
    with pytest.raises(TypeError, match=f"got both `{new}` and `{old}`"):
        function(**{old: None, new: None})


@pytest.mark.parametrize(("path", "old", "new"), respelled("attributes"))
def test_old_attributes_still_count(path, old, new):
    kind = look_up(path)
    assert hasattr(kind, new) or new in inspect.signature(kind).parameters
    with pytest.warns(FutureWarning, match=rf"^{kind.__name__}\.{old} is called {new} now"):
        assert inspect.getattr_static(kind, old).__get__(SimpleNamespace(**{new: 7}), kind) == 7


def test_old_values_of_options_warn_and_become_present_ones(anew):
    stored = {"_class_path": "X", "val_clip": "centre", "crop": "centre", "more": [{"val_clip": "start"}]}
    with pytest.warns(FutureWarning, match=r'^val_clip="centre" is called val_clip="center" now; .* in pcpad 0\.3\.0'):
        present = _renamed.with_present_paths(stored)
    assert present == {**stored, "val_clip": "center"}
    parsed = Namespace(data=Namespace(class_path="X", init_args=Namespace(val_clip="centre", size=3)))
    assert with_present_paths(parsed).data.init_args == Namespace(val_clip="center", size=3)


def short_names(base):
    """Of the old classes of that kind which the command knew without their path, and could build."""
    full = {path.rpartition(".")[2]: path for path in OLD["classes"]}
    kinds = {name: look_up(full[name]) for name in OLD["short_names"]}
    return [
        name for name, kind in kinds.items() if issubclass(kind, base) and kind is not base and not isabstract(kind)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:pcpad.* is called:FutureWarning")
def test_short_names_are_known_to_the_command():
    tasks, callbacks = short_names(LightningModule), short_names(Callback)
    evaluators, data = short_names(look_up("pcpad.tasks.evaluators.Evaluator")), short_names(LightningDataModule)
    decay = ["--model.scheduler=LinearDecay", "--model.scheduler.total=4", "--model.scheduler.start=2"]
    lines = [["--model", name, *decay] for name in tasks]
    # A model of one's own mentions none of ours, so what is imported for it is what is asked for beside it.
    own = ["--model", "lightning.pytorch.demos.boring_classes.BoringModel"]
    lines += [[*own, "--data", name] for name in data]
    lines += [[*own, f"--trainer.callbacks=[{{class_path: {name}}}]"] for name in callbacks]
    lines += [[*own, f"--eval=[{{class_path: {name}}}]"] for name in evaluators]
    # In a new process, in which no other test has imported what the command has to import.
    code = (
        "import sys\n"
        "from pcpad.cli import main\n"
        f"for line in {lines!r}:\n"
        "    try:\n"
        "        main(['test', *line, '--print_config'])\n"
        "    except SystemExit as ended:\n"
        "        if ended.code:\n"
        "            print('NOT KNOWN:', *line, file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in run.stderr.splitlines() if line.startswith("NOT KNOWN")] == []
    seen = {*tasks, *callbacks, *data, *evaluators}
    assert set(OLD["short_names"]) - seen == {"LinearDecay", "Evaluator", "PictureFiles"}  # the last two are abstract


def test_every_new_path_is_silent_and_every_old_one_gives_the_same_object(anew):
    for old, new in _renamed.MODULES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            present = importlib.import_module(new)
        with pytest.warns(FutureWarning, match=f"^{old} is called {new} now"):
            moved = importlib.import_module(old)
        assert moved.__name__ == old
        assert moved.__doc__ == present.__doc__
        for name in OLD["modules"][old]:
            if f"{old}.{name}" not in _renamed.NAMES:
                assert getattr(moved, name) is getattr(present, name)


@pytest.mark.filterwarnings("ignore:pcpad.* is called:FutureWarning")
def test_names_that_went_elsewhere_than_their_module_are_the_same_objects():
    for old, new in _renamed.NAMES.items():
        assert look_up(old) is look_up(new)


def test_an_old_path_warns_once_and_names_the_line_that_imports_it(anew):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = look_up("pcpad.datamodules.crops.CropPlan")
        look_up("pcpad.datamodules.crops.CropSampler")
        from pcpad.tasks.sheets import draw_sheet  # noqa: F401
    crops, sheets = caught
    assert sheets.filename == __file__
    assert str(crops.message) == (
        f"pcpad.datamodules.crops is called {plan.__module__} now; the old name will be removed in pcpad 0.3.0."
    )


def test_old_modules_are_attributes_of_their_packages(anew):
    with pytest.warns(FutureWarning, match=r"pcpad\.processes"):
        assert pcpad.processes.gathered is pcpad.distributed.gathered
    with pytest.warns(FutureWarning, match=r"pcpad\.tasks\.sheets"):
        from pcpad.tasks import sheets
    assert sheets.draw_sheet is look_up("pcpad.tasks.pictures.sheets.draw_sheet")
    with pytest.raises(AttributeError, match="nothing"):
        pcpad.tasks.nothing  # noqa: B018
    with pytest.raises(ImportError, match="nothing"):
        from pcpad.tasks.sheets import nothing  # noqa: F401


def test_what_would_be_set_in_vain_is_refused(anew):
    with pytest.warns(FutureWarning):
        from pcpad.tasks import synthesis_judge
    with pytest.raises(AttributeError, match=r"would change nothing: .* is pcpad.tasks.judges.segmentation now"):
        synthesis_judge.PROTOCOLS = ("mine",)


def test_star_imports_take_what_is_public(anew):
    space = {}
    with pytest.warns(FutureWarning):
        exec("from pcpad.tasks.evaluators import *", space)
    assert set(OLD["modules"]["pcpad.tasks.evaluators"]) <= set(space)


def test_pickles_that_name_old_modules_load(anew):
    import pickle

    from pcpad.tasks.evaluation.evaluators import Inference

    text = pickle.dumps(Inference(), protocol=0)  # in which names are lines
    old = text.replace(Inference.__module__.encode(), b"pcpad.tasks.evaluators")
    assert old != text
    with pytest.warns(FutureWarning):
        assert pickle.loads(old) == Inference()


@pytest.mark.slow
def test_a_run_by_a_config_with_old_paths_warns_and_writes_new_ones(anew, tmp_path):
    main(["sample", "digits", str(tmp_path / "digits")])
    old = "{class_path: pcpad.tasks.callbacks.evaluation.EvaluationFiles}"
    options = [f"--data.root={tmp_path / 'digits'}", f"--trainer.callbacks=[{old}]", "--trainer.max_epochs=1"]
    options += [f"--trainer.default_root_dir={tmp_path}", "--trainer.accelerator=cpu"]
    options += ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    with pytest.warns(FutureWarning, match=r"pcpad\.tasks\.callbacks\.evaluation is called"):
        main(["fit", "--config", "cls_digits.yaml", *options])
    (file,) = tmp_path.glob("cls_digits/version_0/config.yaml")
    (callback,) = yaml.safe_load(file.read_text())["trainer"]["callbacks"]
    assert callback["class_path"] == _renamed.present_path("pcpad.tasks.callbacks.evaluation.EvaluationFiles")
    assert callback["class_path"] != "pcpad.tasks.callbacks.evaluation.EvaluationFiles"


def test_a_checkpoint_with_old_paths_warns_and_differs_in_nothing(anew, monkeypatch, tmp_path):
    monkeypatch.setitem(_renamed.NAMES, "pcpad.tasks.OldTask", "pcpad.tasks.SynthesisTask")
    monkeypatch.setitem(_renamed.NAMES, "pcpad.tasks.schedules.OldDecay", "pcpad.tasks.schedules.LinearDecay")
    decay = {"class_path": "pcpad.tasks.schedules.OldDecay", "init_args": {"total": 3, "start": 1}}
    stored = {"_class_path": "pcpad.tasks.OldTask", "scheduler": decay, "betas": [0.0, 0.9]}
    torch.save({"pytorch-lightning_version": "2.6.6", "hyper_parameters": stored}, tmp_path / "old.ckpt")
    with pytest.warns(FutureWarning) as caught:
        settings = remembered(tmp_path / "old.ckpt")
    old = {str(warning.message).split(" is called ")[0] for warning in caught}
    assert old == {"pcpad.tasks.schedules.OldDecay", "pcpad.tasks.OldTask"}
    present = {"class_path": "pcpad.tasks.schedules.LinearDecay", "init_args": {"total": 3, "start": 1}}
    assert settings["model"] == {
        "class_path": "pcpad.tasks.SynthesisTask",
        "init_args": {"scheduler": present, "betas": [0.0, 0.9]},
    }
    used = SimpleNamespace(hparams={"scheduler": present}, _trainer=SimpleNamespace(state=SimpleNamespace(fn="fit")))
    refuse_other_options(used, {"hyper_parameters": stored}, ["scheduler"])
    used.hparams["scheduler"] = {**present, "init_args": {"total": 4, "start": 1}}
    with pytest.raises(ValueError, match="scheduler differ"):
        refuse_other_options(used, {"hyper_parameters": stored}, ["scheduler"])


@pytest.mark.slow
def test_the_user_of_the_command_sees_the_warning(tmp_path):
    args = ["test", "--model", "SegmentationTask", "--eval+=pcpad.tasks.evaluators.Tile", "--print_config"]
    run = subprocess.run([sys.executable, "-m", "pcpad.cli", *args], capture_output=True, text=True, cwd=tmp_path)
    assert "pcpad.tasks.evaluators is called pcpad.tasks.evaluation.evaluators now" in run.stderr


def test_setting_it_up_imports_nothing_else():
    code = (
        "import sys, types\n"
        "sys.modules['pcpad'] = types.ModuleType('pcpad')\n"
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        f"spec = spec_from_file_location('pcpad._renamed', {_renamed.__file__!r})\n"
        "spec.loader.exec_module(module_from_spec(spec))\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'numpy', 'lightning')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
