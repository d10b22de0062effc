"""Hyper-parameters of checkpoints that name what they should not, and checkpoints of damaged bytes."""

import io
import json
import re
import sys
import tempfile
import warnings
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcpad import trust
from pcpad.commands.checkpoint import remembered
from pcpad.commands.loading import load_datamodule, load_task
from pcpad.errors import UserError
from pcpad.models.weights import read_weights
from pcpad.tasks import ClassificationTask
from pcpad.trust import Trust, check_layout, plain_settings, state_of_run

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
EVIL = 'import pathlib, torch\npathlib.Path(__file__ + ".ran").touch()\nclass Evil(torch.optim.SGD):\n    pass\n'
PATHS = (
    *("evilmod.Evil", "evilmod", "antigravity.geohash", "this.s", "os.system", "builtins.exec", "subprocess.Popen"),
    *("pcpad.files.os.system", "pcpad.models.weights.pickle.loads", "pcpad.trust.sys.exit", "pcpad.tasks.evilmod.Evil"),
    *(
        "torch.optim.SGD",
        "torch.optim.Adam",
        "SGD",
        "Adam",
        "torch.optim.lr_scheduler.StepLR",
        "torch.optim.swa_utils.sys",
    ),
    *(
        "torch.load",
        "torch.hub.load",
        "lightning.pytorch.cli.instantiate_module",
        "lightning.pytorch.cli.ReduceLROnPlateau",
    ),
    *("lightning.pytorch.demos.boring_classes.BoringModel", "pcpad.tasks.ClassificationTask", "ClassificationTask"),
    *("pcpad.datamodules.ImageNetDataModule", "ImageNetDataModule", "pcpad.datamodules.workers.Evil", "__main__.x"),
    *(
        "pcpad..tasks",
        ".evilmod.Evil",
        "evilmod.Evil ",
        " evilmod.Evil",
        "evilmod:Evil",
        "torch.optim.__loader__.load_module",
    ),
    *(
        "evil.yaml",
        "./evil.yaml",
        "@evil.yaml",
        "evil.json",
        "antigravity",
        "pcpad.models.wide_resnet",
        "timm/test_resnet",
    ),
)
NAMES = st.sampled_from(PATHS)
SPECS = st.builds(
    lambda path, name, key, values: {key: path, name: values},
    NAMES,
    st.sampled_from(("init_args", "dict_kwargs", "args", "lr")),
    st.sampled_from(("class_path", "_class_path", "__path__", "_instantiator")),
    st.one_of(
        NAMES,
        st.dictionaries(st.sampled_from(("lr", "params", "momentum", "class_path", "foreach")), NAMES, max_size=3),
    ),
)
_TEXTS = st.one_of(
    NAMES,
    SPECS.map(json.dumps),
    NAMES.map(lambda name: f"class_path: {name}"),
    NAMES.map(lambda name: f"- {name}"),
    NAMES.map(lambda name: f" {{class_path: &a {name}, init_args: {{a: *a}}}}"),
    st.text(max_size=6),
)
_PLAIN = st.one_of(
    _TEXTS,
    SPECS,
    st.none(),
    st.booleans(),
    st.sampled_from((-1, 0, 1, 3, 1 << 31, 1 << 64, 0.5, float("nan"), float("inf"), 10**9)),
)
VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=6,
)
_ODD = st.one_of(
    VALUES, st.binary(max_size=4), st.just(torch.ones(2)), st.just((1, "a")), st.just({1: {None: 2}}), st.just(1j)
)
TASK = st.sampled_from(
    (
        "optimizer",
        "scheduler",
        "lr_scheduler",
        "network",
        "model",
        "num_classes",
        "padding",
        "weights",
        "mean",
        "_class_path",
        "loss",
    )
)
DATA = st.sampled_from(
    ("root", "batch_size", "image_size", "num_workers", "resize", "augment", "_class_path", "evil", "predict_images")
)
TOP = st.sampled_from(
    (
        *(
            "hyper_parameters",
            "datamodule_hyper_parameters",
            "hparams",
            "module_arguments",
            "hparams_type",
            "hparams_name",
        ),
        *(
            "pytorch-lightning_version",
            "state_dict",
            "callbacks",
            "loops",
            "epoch",
            "pcpad_run",
            "datamodule_hparams_type",
        ),
    )
)


@pytest.fixture(scope="module")
def content():
    """What a checkpoint of the suite holds."""
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="zeros")
    kept = {"_class_path": "pcpad.datamodules.ImageNetDataModule", "root": "here", "image_size": 32, "resize": 40}
    return {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": task.state_dict(),
        "hyper_parameters": {
            **task.hparams,
            "_class_path": "pcpad.tasks.ClassificationTask",
            "_instantiator": INSTANTIATOR,
        },
        "datamodule_hyper_parameters": kept | {"_instantiator": INSTANTIATOR},
    }


@pytest.fixture(scope="module", autouse=True)
def _bait(tmp_path_factory, content):
    """A folder on the path of imports, and the current one, with what a checkpoint could ask for."""
    folder = tmp_path_factory.mktemp("bait")
    (folder / "evilmod.py").write_text(EVIL, encoding="utf-8")
    (folder / "evil.yaml").write_text("class_path: evilmod.Evil\n", encoding="utf-8")
    (folder / "evil.json").write_text('{"class_path": "evilmod.Evil"}', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        # PyTorch makes a folder before it refuses what looks like its format of 2016.
        (folder / "scratch").mkdir()
        patch.setattr(tempfile, "tempdir", str(folder / "scratch"))
        # What is imported when it is first needed, whatever a checkpoint says.
        spec = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
        torch.save(content | {"hyper_parameters": content["hyper_parameters"] | {"optimizer": spec}}, "whole.ckpt")
        load_task("whole.ckpt")
        load_datamodule("whole.ckpt")
        yield
    assert not {"evilmod", "antigravity", "this"} & set(sys.modules)
    assert not trust.loaded_modules


def check(outcome, path):
    """Take a checkpoint for all that one is taken for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome(remembered, path, run=True)
        for load in (load_task, load_datamodule):
            outcome(load, path)
    assert not {"evilmod", "antigravity", "this"} & set(sys.modules)


@settings(max_examples=max(10, settings.default.max_examples // 20))
@given(kept=st.dictionaries(TASK, VALUES, max_size=2), data=st.dictionaries(DATA, VALUES, max_size=2))
def test_hyper_parameters(outcome, content, folder, kept, data):
    changed = dict(content)
    changed["hyper_parameters"] = content["hyper_parameters"] | kept
    changed["datamodule_hyper_parameters"] = content["datamodule_hyper_parameters"] | data
    torch.save(changed, folder / "x.ckpt")
    check(outcome, folder / "x.ckpt")


@given(entries=st.dictionaries(TOP, _ODD, max_size=3), gone=st.sets(TOP, max_size=2))
def test_entries(outcome, content, folder, entries, gone):
    changed = {name: value for name, value in (content | entries).items() if name not in gone}
    torch.save(changed, folder / "y.ckpt")
    outcome(remembered, folder / "y.ckpt", run=True, weights=True)
    outcome(check_layout, changed, "y.ckpt", weights=True)


@given(values=_ODD)
def test_settings(outcome, values):
    found = outcome(plain_settings, values, "x.ckpt")
    if not isinstance(found, UserError):
        outcome(Trust("x.ckpt").check, {"model": found})
        assert json.loads(json.dumps(found)) is not None or found is None


@given(name=st.one_of(NAMES, st.text(max_size=12), st.lists(NAMES, min_size=1, max_size=3).map(".".join)))
def test_names(outcome, name):
    """Whatever is let in is the suite's own or PyTorch's."""
    if outcome(Trust("x.ckpt").may_import, name):
        assert re.match(
            r"pcpad\.(tasks|datamodules|models|losses|metrics)\.|torch\.optim\.|lightning\.pytorch\.(cli|demos)\.", name
        )


@given(
    path=st.one_of(_ODD, st.sampled_from(("/etc/x.ckpt", "../x.ckpt", "a\\x.ckpt", "x.ckpt\0", ".ckpt", "c:x.ckpt")))
)
def test_files_that_callbacks_remember(outcome, folder, path):
    names = ("best_model_path", "kth_best_model_path", "last_model_path")
    states = {"ModelCheckpoint": dict.fromkeys(names, path) | {"best_k_models": {"a": path}, "dirpath": path}}
    outcome(state_of_run, states, folder)
    for name in names:
        kept = states["ModelCheckpoint"][name]
        assert kept == "" or (kept.startswith(f"{folder}/") and "/" not in kept.removeprefix(f"{folder}/"))


def archive(parts):
    """A checkpoint of these parts, with their checksums."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as made:
            for name, part in parts.items():
                made.writestr(name, part)
        return file.getvalue()


@given(data=st.data())
def test_damaged_bytes(outcome, write, damaged, content, folder, data):
    torch.save(content | {"state_dict": {"weight": torch.ones(2, 3)}}, folder / "whole.ckpt")
    path = write("z.ckpt", data.draw(damaged((folder / "whole.ckpt").read_bytes(), head=2048)))
    outcome(read_weights, path, writes=tempfile.gettempdir())
    outcome(remembered, path, run=True, writes=tempfile.gettempdir())


@given(data=st.data(), new=st.booleans())
def test_damaged_pickles(outcome, write, damaged, content, folder, data, new):
    """Checksums say nothing of who wrote them, and the format of before PyTorch 1.6 has none."""
    small = content | {"state_dict": {"weight": torch.ones(2, 3)}}
    if new:
        torch.save(small, folder / "new.ckpt")
        with zipfile.ZipFile(folder / "new.ckpt") as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        name = data.draw(st.sampled_from(sorted(parts)))
        changed = archive(parts | {name: data.draw(damaged(parts[name], head=400))})
    else:
        torch.save(small, folder / "old.ckpt", _use_new_zipfile_serialization=False)
        changed = data.draw(damaged((folder / "old.ckpt").read_bytes(), head=400))
    scratch = tempfile.gettempdir()
    outcome(read_weights, write("pickle.ckpt", changed), writes=scratch)
    outcome(remembered, folder / "pickle.ckpt", run=True, writes=scratch)
