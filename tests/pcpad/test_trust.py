"""What a checkpoint may name, in all the forms in which it can."""

import collections
import sys
import time
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentError
from lightning.pytorch import Trainer

from pcpad import _checkpoint_content, cli, trust
from pcpad.commands.loading import load_datamodule, load_task
from pcpad.datamodules import ImageNetDataModule
from pcpad.errors import UserValueError
from pcpad.tasks import ClassificationTask
from pcpad.trust import Trust, named_values, plain_settings, state_of_run, trusting

pytestmark = pytest.mark.faults
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
EVIL = """
import pathlib
import torch
pathlib.Path({mark!r}).write_text("ran")
class Evil(torch.optim.SGD):
    pass
def make(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)
"""
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """What a checkpoint of the suite holds."""
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="zeros")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    path = tmp_path_factory.mktemp("content") / "x.ckpt"
    trainer.save_checkpoint(path)
    found = torch.load(path, weights_only=True)
    found["hyper_parameters"] |= {"_instantiator": INSTANTIATOR}
    kept = {"_class_path": "pcpad.datamodules.ImageNetDataModule", "root": "here", "image_size": 32, "resize": 40}
    return found | {"datamodule_hyper_parameters": kept | {"_instantiator": INSTANTIATOR}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, from whose side `evilmod` could be imported, and which knows whether it was."""
    elsewhere = tmp_path / "installed"
    elsewhere.mkdir()
    (elsewhere / "evilmod.py").write_text(EVIL.format(mark=str(tmp_path / "mark")), encoding="utf-8")
    (tmp_path / "evil.yaml").write_text("class_path: evilmod.Evil\n", encoding="utf-8")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    trust.loaded_modules.clear()
    for name in ("evilmod", "antigravity"):
        sys.modules.pop(name, None)


def save(content, folder, **settings):
    torch.save({**content, "hyper_parameters": {**content["hyper_parameters"], **settings}}, folder / "x.ckpt")
    return folder / "x.ckpt"


SPEC = {"class_path": "evilmod.Evil", "init_args": {"lr": 0.1}}
FORMS = {
    "bare": "evilmod.Evil",
    "function": "evilmod.make",
    "json": '{"class_path": "evilmod.Evil"}',
    "escaped": '{"class_path": "evil\\u006dod.Evil"}',
    "yaml": "class_path: evilmod.Evil",
    "dict": SPEC,
    "inner": {"class_path": "torch.optim.SGD", "init_args": {"lr": SPEC}},
    "ordered": collections.OrderedDict(SPEC),
    "tuple": ("evilmod.Evil",),
    "list": [SPEC],
    "bytes": b"evilmod.Evil",
    "bytes as path": {"class_path": b"evilmod.Evil"},
    "list as path": {"class_path": ["evilmod.Evil"]},
    "keywords": {"class_path": "torch.optim.SGD", "dict_kwargs": {"lr": 0.1, "params": SPEC}},
    "init only": {"init_args": {"lr": 1}, "class_path": "evilmod.Evil"},
    "standard library": "antigravity.geohash",
    "through ours": "pcpad.files.os.system",
    "through a task": "pcpad.tasks.base.inspect.getsource",
    "ours, no class": "pcpad.cli.main",
    "ours, another kind": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "made"}},
    "file": "evil.yaml",
}


def attempts(path):
    quiet = [f"--ckpt_path={path}", *QUIET]
    yield lambda: load_task(path)
    yield lambda: from_python(path)
    yield lambda: cli.main(["test", *quiet])
    yield lambda: cli.main(["fit", *quiet])
    yield lambda: cli.main(["predict", *quiet, "--data.predict_images=here"])
    yield lambda: cli.main(["export", "--ckpt_path", str(path), "--output", "x.onnx", "--size", "32"])
    yield lambda: cli.main(["figure", "border-counts", "--checkpoint", str(path), "--size", "32"])


def from_python(path):
    try:
        ClassificationTask.load_from_checkpoint(path, map_location="cpu")
    except ArgumentError as error:  # Lightning's
        raise UserValueError(error) from None


@pytest.mark.parametrize("verb", range(7))
@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_class_from_elsewhere_is_imported(content, folder, form, verb, capsys):
    path = save(content, folder, optimizer=FORMS[form])
    if (form, verb) == ("keywords", 1):  # nothing there looks into keywords
        from_python(path)
        assert "evilmod" not in sys.modules
        return
    with pytest.raises((UserValueError, SystemExit)) as stop:
        list(attempts(path))[verb]()
    assert not isinstance(stop.value, SystemExit) or stop.value.code not in (0, None)
    assert not (folder / "mark").exists()
    assert not {"evilmod", "antigravity"} & set(sys.modules)
    assert not (folder / "made").exists()
    said = f"{stop.value}{capsys.readouterr().err}"
    assert "Traceback" not in said
    if form in ("bare", "function", "json", "dict", "standard library", "through ours"):
        assert "which is not pcpad's" in said


@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_lightning_s_old_keys_are_refused(content, folder, key):
    kept = {name: value for name, value in content["hyper_parameters"].items() if name != "optimizer"}
    torch.save({**content, "hyper_parameters": kept, key: {"optimizer": "evilmod.Evil"}}, folder / "x.ckpt")
    with pytest.raises(UserValueError, match=f"keeps arguments under `{key}`"):
        load_task(folder / "x.ckpt")
    with pytest.raises((UserValueError, SystemExit)):
        cli.main(["test", "--ckpt_path=x.ckpt", *QUIET])
    with pytest.raises(UserValueError, match="which is not pcpad's"):
        ClassificationTask.load_from_checkpoint("x.ckpt")
    assert "evilmod" not in sys.modules


def test_arguments_are_not_renamed_into_a_class(content, folder):
    other = {"class_path": "evilmod.Evil", "_instantiator": INSTANTIATOR}
    torch.save({**content, "hyper_parameters": other, "hparams_name": "optimizer"}, folder / "x.ckpt")
    for load in (load_task, ClassificationTask.load_from_checkpoint):
        with pytest.raises(UserValueError):
            load(folder / "x.ckpt")
    assert "evilmod" not in sys.modules


@pytest.mark.parametrize("form", ["bare", "json", "dict", "file"])
def test_data_modules_too(content, folder, form):
    kept = {**content["datamodule_hyper_parameters"], "image_size": FORMS[form], "_class_path": "mine.Data"}
    torch.save({**content, "datamodule_hyper_parameters": kept}, folder / "x.ckpt")
    with pytest.raises(UserValueError):
        load_datamodule(folder / "x.ckpt")
    kept["_class_path"] = "pcpad.datamodules.ImageNetDataModule"
    torch.save({**content, "datamodule_hyper_parameters": kept}, folder / "x.ckpt")
    for load in (load_datamodule, ImageNetDataModule.load_from_checkpoint):
        with pytest.raises((UserValueError, Exception)):
            load(folder / "x.ckpt")
    assert "evilmod" not in sys.modules


def test_a_comment_or_a_part_of_a_word_is_no_trust(content, folder, capsys):
    path = save(content, folder, optimizer=SPEC)
    (folder / "mine.yaml").write_text(
        "# never use evilmod.Evil\ntrainer: {max_epochs: 1}\ndata: {class_path: ImageNetDataModule}\n", encoding="utf-8"
    )
    more = ["--config=mine.yaml", "--data.root=x/evilmod.Evil.d", "--output=not-evilmod.Evil"]
    with pytest.raises(SystemExit):
        cli.main(["predict", f"--ckpt_path={path}", *more, *QUIET])
    assert "asks for the class 'evilmod.Evil', which is not pcpad's" in capsys.readouterr().err
    assert "evilmod" not in sys.modules


@pytest.mark.parametrize("form", ["bare", "json", "dict"])
def test_what_the_user_named_is_trusted(content, folder, form):
    path = save(content, folder, optimizer=FORMS[form])
    assert load_task(path, trusted=["evilmod.Evil"]).optimizer is not None
    with trusting("evilmod.Evil"):
        assert ClassificationTask.load_from_checkpoint(path).padding == "zeros"
    sys.modules.pop("evilmod")
    (folder / "mark").unlink()
    # Named in a config, where the checkpoint has it too. That there are no data is said later.
    (folder / "mine.yaml").write_text("model: {init_args: {optimizer: {class_path: evilmod.Evil}}}", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        cli_main("test", f"--ckpt_path={path}", "--config=mine.yaml")
    assert (folder / "mark").exists()


def cli_main(verb, *args):
    from pcpad.commands.run import main

    return main(verb, [*args, *QUIET])


@pytest.mark.parametrize("named", [["--import", "evilmod"], ["--model.optimizer=evilmod.make"]])
def test_a_module_that_was_loaded_is_trusted_with_what_it_defines(content, folder, named):
    path = save(content, folder, optimizer="evilmod.make")
    with pytest.raises(FileNotFoundError):
        cli_main("test", f"--ckpt_path={path}", *named)
    assert (folder / "mark").exists()


@pytest.mark.parametrize("asked", ["evilmod.pathlib.Path", "evilmod.pathlib", "evilmod.torch.save"])
def test_but_not_with_what_it_imports(content, folder, asked):
    path = save(content, folder, optimizer=asked)
    with pytest.raises((UserValueError, SystemExit)):
        cli_main("test", f"--ckpt_path={path}", "--import", "evilmod")


def test_a_short_name_is_the_user_s_or_ours(content, folder):
    __import__("evilmod")
    (folder / "mark").unlink()
    path = save(content, folder, optimizer={"class_path": "Evil"})
    with pytest.raises((UserValueError, SystemExit)):
        cli_main("test", f"--ckpt_path={path}")
    path = save(content, folder)
    with pytest.raises(FileNotFoundError):
        cli_main("test", f"--ckpt_path={path}", "--model.optimizer=Evil")
    with pytest.raises(FileNotFoundError):
        cli_main("test", f"--ckpt_path={save(content, folder, optimizer={'class_path': 'SGD'})}")


def test_a_newer_jsonargparse_is_not_taken_on_trust(folder, monkeypatch):
    from jsonargparse import _typehints

    monkeypatch.delattr(_typehints, "import_object")
    with pytest.raises(RuntimeError, match="newer than this pcpad"), Trust("x.ckpt").watch():
        pass


def test_watching_leaves_no_trace():
    from jsonargparse import _typehints

    before = _typehints.import_object
    with pytest.raises(ZeroDivisionError), Trust("x.ckpt").watch():
        1 / 0  # noqa: B018
    assert _typehints.import_object is before


def test_named_values_are_whole(tmp_path):
    (tmp_path / "part.yaml").write_text("class_path: a.InFile  # b.Comment\n", encoding="utf-8")
    config = tmp_path / "c.yaml"
    config.write_text("model: part.yaml\ndata: {root: part.yaml}\nx: [{y: c.Deep}]\n", encoding="utf-8")
    args = ["--model.d.Key=e.Typed", "--eval+=f.More", "--g", "h.Apart", '--i=[{"class_path": "j.Json"}]', "k.l m"]
    found = named_values([*args, "--data.annotations", str(tmp_path / "part.yaml")], [config])
    assert found >= {"a.InFile", "c.Deep", "e.Typed", "f.More", "h.Apart", "j.Json"}
    assert not found & {"b.Comment", "d.Key", "k.l", "l"}
    assert "a.InFile" not in named_values(["--data.annotations", str(tmp_path / "part.yaml")])


@pytest.mark.parametrize("value", [b"x", torch.zeros(2), {1, 2}, {"a": [b"x"]}, {(1,): 2}, torch.float32])
def test_settings_are_plain(value):
    with pytest.raises(UserValueError, match=r"x\.ckpt: hyper_parameters.*Expected the settings"):
        plain_settings(value, "x.ckpt")


def test_settings_that_contain_themselves():
    value: list = []
    value.append(value)
    with pytest.raises(UserValueError, match="nested too deeply"):
        plain_settings(value, "x.ckpt")


def repeated(value, times):
    """What a pickle makes of a few bytes: one list of ten references to another one, and so on."""
    for _ in range(times):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    "value",
    [
        repeated("x", 9),
        {"a": repeated({"b": 1.0}, 8)},
        ["a" * 1_000_000] * 10_000,
        ["[" + "[1, 2], " * 1000 + "]"] * 1000,  # texts of YAML, each of which is looked into
        ["[&a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]" + ", *a" * 5000 + "]"] * 20,
    ],
)
def test_settings_that_stand_for_more_than_they_are(content, folder, value, capsys, monkeypatch):
    monkeypatch.setattr(_checkpoint_content, "MOST_VALUES", 10_000)
    path = save(content, folder, optimizer=value)
    began = time.monotonic()
    with pytest.raises(UserValueError, match=r"x\.ckpt stands for more than 10,000 settings"):
        load_task(path)
    with pytest.raises(SystemExit):
        cli.main(["fit", "--ckpt_path=x.ckpt", *QUIET])
    assert "x.ckpt stands for more than 10,000 settings" in capsys.readouterr().err
    assert time.monotonic() - began < 60


def test_files_that_name_each_other_are_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, other in (("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")):
        Path(name).write_text("".join(f"k{number}: {other}\n" for number in range(9)), encoding="utf-8")
    monkeypatch.setattr(_checkpoint_content, "MOST_VALUES", 10_000)
    began = time.monotonic()
    assert named_values(["--model=a.yaml"]) == {"a.yaml", "b.yaml"}
    Path("c.yaml").write_text("\n".join(f"k{n}: '[{', '.join(['1'] * 999)}]'" for n in range(99)), encoding="utf-8")
    with pytest.raises(UserValueError, match="What the command names stands for more than 10,000 settings"):
        named_values([], [Path("c.yaml")])
    assert time.monotonic() - began < 60


def test_words_of_a_checkpoint_open_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("class_path: a.InFile\n", encoding="utf-8")
    assert trust.named_in({"model": "x.yaml", "b": ['{"c": "a.Deep"}']}) == {"x.yaml", '{"c": "a.Deep"}', "a.Deep"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state_dict": None}, "without weights: it has no `state_dict`"),
        ({"pytorch-lightning_version": 3}, "`pytorch-lightning_version` is 3"),
        ({"hyper_parameters": "x"}, "expected `hyper_parameters` to be a dict"),
        ({"datamodule_hyper_parameters": [1]}, "expected `datamodule_hyper_parameters` to be a dict"),
        ({"hyper_parameters": {"_class_path": 3}}, "asks for the class 3"),
    ],
)
def test_a_checkpoint_of_another_shape_is_one_sentence(content, folder, changed, words, capsys):
    torch.save({**content, **changed}, folder / "x.ckpt")
    for args in (["test", "--ckpt_path=x.ckpt", *QUIET], ["export", "--ckpt_path=x.ckpt", "--output=x.onnx"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(args)
        assert stop.value.code == 1
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    [
        "/home/me/thesis.ckpt",
        "../../../thesis.ckpt",
        "simplecache::file:///home/me/x.ckpt",
        "s3://x/y.ckpt",
        "a\0.ckpt",
    ],
)
def test_a_checkpoint_removes_nothing_elsewhere(path):
    state = {"best_model_path": path, "last_model_path": path, "kth_best_model_path": path, "best_k_models": {path: 1}}
    states = {"BestAndLast": state, "other": 3}
    state_of_run(states, Path("runs/checkpoints"))
    paths = [Path(state[key]) for key in ("best_model_path", "last_model_path", "kth_best_model_path") if state[key]]
    assert all(found.parent == Path("runs/checkpoints") for found in [*paths, *map(Path, state["best_k_models"])])


def test_a_checkpoint_removes_no_other_kinds_of_files():
    states = {"BestAndLast": {"best_k_models": {"thesis.pdf": 1, "": 2, "..": 3}, "best_model_path": "x.txt"}}
    state_of_run(states, Path("runs"))
    assert states["BestAndLast"] == {"best_k_models": {}, "best_model_path": ""}


def test_entries_that_are_tensors_are_refused_like_others(content):
    for key in ("hparams", "module_arguments"):
        with pytest.raises(UserValueError, match=f"keeps arguments under `{key}`"):
            trust.check_layout(content | {key: torch.ones(2)}, "x.ckpt")
        trust.check_layout(content | {key: {}}, "x.ckpt")


@pytest.mark.parametrize("path", [torch.ones(2), 1j, ["x.ckpt"], {"x.ckpt": 1}, b"x.ckpt"])
def test_files_that_are_no_words_are_forgotten(tmp_path, path):
    states = {"ModelCheckpoint": {"best_model_path": path, "last_model_path": "/elsewhere/last.ckpt"}}
    state_of_run(states, tmp_path)
    assert states["ModelCheckpoint"] == {"best_model_path": "", "last_model_path": str(tmp_path / "last.ckpt")}
