"""Every option and argument that takes a file, found from the parsers and classes: whatever it is given, a sentence.

A new one is found by its type (`file_name`, `path_name`, `FileName`, `PathName`), and one that is named like a file but
has another type fails here.
"""

import ast
import errno
import importlib
import inspect
import io
import os
import pickle
import pwd
import re
import signal
import textwrap
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from PIL import Image

from pcpad import cli
from pcpad.commands import VERBS, adapt, bench, borders, check, export, figure, fill, paper, sample
from pcpad.commands.comparison import request
from pcpad.commands.errors import user_message
from pcpad.commands.figures import FIGURES
from pcpad.commands.parser import file_name, path_name
from pcpad.commands.plugins import _HOMES
from pcpad.datamodules import Places2DataModule
from pcpad.datamodules.base import DataModule
from pcpad.tasks import InpaintingTask, SynthesisTask
from pcpad.tasks.judges.inception import InceptionJudge

pytestmark = pytest.mark.faults
KINDS = ("pickle", "pipe", "directory", "missing", "empty", "unreadable", "no UTF-8", "too long", "no home", "null")
LIKE_A_FILE = re.compile(
    r"(^|_)(root|dir|dirpath|path|file|folder|weights|annotations|images|videos|maps|masks|vgg|inception|judge|detector|"
    r"checkpoints?|output|csv|json|config)$"
)
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("imported",)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What is typed for a kind of file, in an empty folder."""
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "here").mkdir()
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "data" / split / "a.png")
    monkeypatch.chdir(tmp_path / "here")

    def given(kind):
        path = there / "x.ckpt"
        if kind == "pickle":
            path.write_bytes(pickle.dumps(Evil()))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "empty":
            path.touch()
        elif kind == "unreadable":
            path.write_text("secret")
            deny(monkeypatch, path)
        elif kind == "no home":
            monkeypatch.delenv("HOME")
            monkeypatch.setattr(pwd, "getpwuid", no_entry)
        return {
            "no UTF-8": "no\udcff.ckpt",
            "too long": str(there / ("x" * 300)),
            "no home": "~/x.ckpt",
            "null": "x\0.ckpt",
        }.get(kind, str(path))

    return given


def no_entry(number):
    raise KeyError(number)


def deny(monkeypatch, path):
    """Tests may run as root, who reads everything."""

    def denied(plain):
        def opened(name, *args, **options):
            if isinstance(name, (str, os.PathLike)) and os.fspath(name) == str(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return plain(name, *args, **options)

        return opened

    for owner, name in ((os, "open"), (io, "open"), (os, "scandir"), (os, "listdir")):
        monkeypatch.setattr(owner, name, denied(getattr(owner, name)))
    monkeypatch.setattr("builtins.open", io.open)


@pytest.fixture(autouse=True)
def _soon():
    def stop(*_):
        pytest.fail("still waiting")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def is_named(path, text):
    """Whether a message shows a path, or the beginning of a long name, as far as it can be shown."""
    shown = path if len(path) < 200 else path[:80]
    forms = {shown.replace("\udcff", byte).replace("\0", null) for byte in (r"\xff", r"\udcff", "\udcff")
             for null in (r"\x00", "\0")}  # fmt: skip
    return any(form in text for form in forms)


def refused(capsys, path, call):
    """That a call ends in a sentence which names the path, and leaves nothing behind."""
    with pytest.raises(SystemExit) as stop:
        call()
    said = capsys.readouterr()
    text = said.err + said.out
    assert stop.value.code not in (0, None), text
    assert "Traceback" not in text, text
    assert is_named(path, text), text
    assert not list(Path().iterdir()), "nothing is written, and no pickle run"


# The verbs with a parser of their own

PARSERS = {
    ("adapt",): adapt.parser,
    ("bench",): bench.parser,
    ("borders",): borders.parser,
    ("check", "kinetics"): check.parser,
    ("compare",): request.parser,
    ("export",): export.parser,
    ("fill",): fill.parser,
    ("paper", "2018:T2"): paper.parser,
    ("sample", "digits"): sample.parser,
    **{("figure", name): lambda name=name: figure.parser(name) for name in FIGURES},
}
# Of what is not asked for, some value that will do.
WANTED = {
    ("adapt",): ["--network=resnet18"],
    ("borders",): ["--network=resnet18"],
    ("bench",): ["--network=resnet18", "--rounds=1", "--size=32"],
    ("compare",): ["--paddings=zeros,partial", "--seeds=1"],
    ("figure", "leave-out"): [],
    ("figure", "masks"): ["hole"],
    ("figure", "features"): ["--paddings", "zeros", "partial"],
}
# Where an option excludes another one that would do.
BESIDE = {
    (("export",), "weights"): ["--network=resnet18"],
    (("compare",), "after"): ["--config=cls_digits.yaml", "--set=model.weights={after}"],
}
WRITTEN = ("output", "csv", "json", "folder")


def takes_a_file(action):
    return action.type in (file_name, path_name) or getattr(action.type, "__name__", "") == "_picture"


def options():
    for verb, make in PARSERS.items():
        for action in make()._actions:
            if takes_a_file(action):
                yield pytest.param(verb, action, id=f"{' '.join(verb)} {action.dest}")


def line(verb, action, path, others):
    """A command line with a path for one option, and other paths for those that are needed besides."""
    words = [*WANTED.get(verb, []), *BESIDE.get((verb, action.dest), [])]
    grouped = {each for group in PARSERS[verb]()._mutually_exclusive_groups for each in map(str, group._group_actions)}
    for each in PARSERS[verb]()._actions:
        if each.dest in ("name", "which") or not (
            each.dest == action.dest or (each.required and str(each) not in grouped)
        ):
            continue
        values = [path if each.dest == action.dest else others] * (each.nargs if isinstance(each.nargs, int) else 1)
        words += [each.option_strings[0], *values] if each.option_strings else values
    return [*verb, *words]


def test_every_verb_is_tried():
    assert {verb[0] for verb in PARSERS} | {"configs", "doctor", "completion"} == set(VERBS)


@pytest.mark.parametrize("verb", PARSERS, ids=" ".join)
def test_options_that_are_named_like_files_are_of_their_type(verb):
    for action in PARSERS[verb]()._actions:
        like = LIKE_A_FILE.search(action.dest) or re.search("FILE|DIR|FOLDER|CKPT|IMAGE$", str(action.metavar))
        counted = action.type is not None and action.type.__name__ == "positive"
        assert takes_a_file(action) or not like or counted or action.choices, action


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("verb", "action"), [each for each in options() if each.values[1].dest not in WRITTEN])
def test_options_of_verbs(verb, action, kind, given, capsys):
    path = given(kind)
    refused(capsys, path, lambda: cli.main(line(verb, action, path, path)))


@pytest.mark.parametrize("kind", ["no home", "null"])
@pytest.mark.parametrize(("verb", "action"), [each for each in options() if each.values[1].dest in WRITTEN])
def test_options_that_say_where_to_write(verb, action, kind, given, capsys):
    path = given(kind)
    refused(capsys, path, lambda: cli.main(line(verb, action, path, "x.ckpt")))


# Arguments of tasks, data modules, callbacks and evaluators


def arguments():
    for home in map(importlib.import_module, _HOMES):
        for name in home.__all__:
            kind = getattr(home, name)
            # Not of data classes, whose code nobody wrote.
            if inspect.isclass(kind) and "__init__" in vars(kind) and not hasattr(kind, "__dataclass_fields__"):
                tree = ast.parse(textwrap.dedent(inspect.getsource(kind.__init__))).body[0].args
                for argument in (*tree.args[1:], *tree.kwonlyargs):
                    yield kind, argument.arg, ast.unparse(argument.annotation)


READ = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind, name, hint in arguments()
    if re.search("FileName|PathName", hint) and name not in ("output", "dirpath") and kind is not DataModule
]
# A file is then a picture or a video, and is read, or named as broken, while it is predicted from.
IS_INPUT = ("pickle", "empty", "unreadable")
NEEDED = {
    "ActionRecognitionTask": {"network": "resnet3d18", "num_classes": 2},
    "ClassificationTask": {"network": "resnet18", "num_classes": 2},
    "SegmentationTask": {"encoder": "resnet18", "num_classes": 2},
    "InpaintingTask": {"depth": 2, "width": 4},
    "AdaptationTask": {"network": "resnet18", "num_classes": 2},
    "FolderInpaintingDataModule": {"root": "../data", "mask_polarity": "white_hole"},
    "FolderSegmentationDataModule": {"root": "../data", "classes": 2},
    "ImageNetDataModule": {"root": "../data"},
    "Places2DataModule": {"root": "../data"},
    "SynthesisTask": {"ngf": 2, "ndf": 2},
    "GaussianFilteringTask": {},
}


def test_arguments_that_are_named_like_files_are_of_their_type():
    wrong = [
        f"{kind.__name__}.{name}: {hint}"
        for kind, name, hint in arguments()
        if LIKE_A_FILE.search(name) and re.search("str|Path", hint) and "dict" not in hint
        if not (name in ("images", "masks") and "annotations" in inspect.signature(kind).parameters)  # patterns
        if not re.search("FileName|PathName", hint)
    ]
    assert not wrong
    assert not [hint for _, _, hint in arguments() if re.search(r"(?<!Name)\bPath\b", hint)]
    assert len(READ) > 20


def read(kind, name, path):
    """Have a class read an argument as a run would: when it is made, or set up for a stage."""
    pair = {}
    if issubclass(kind, Places2DataModule) and name.startswith("predict_"):
        pair = {"predict_images": path, "predict_masks": path}
    made = kind(**NEEDED.get(kind.__name__, {}) | pair | {name: path})
    if name.startswith("predict_"):
        made.setup("predict")
    elif name in ("judge", "detector") or (name == "inception" and kind is SynthesisTask):
        made.judge_files.read("test", list(range(35)))
    elif name == "inception":
        InceptionJudge(made.inception)
    elif kind is InpaintingTask:
        made.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        made.setup("fit" if name == "vgg" else "predict")
    else:
        made.setup("fit")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("owner", "name"), READ)
def test_arguments_of_classes(owner, name, kind, given, tmp_path):
    if name.startswith("predict_") and kind in IS_INPUT:
        return
    path = given(kind)
    with pytest.raises(Exception) as found:  # noqa: PT011  # whose message is for users is asked below
        read(owner, name, path)
    said = user_message(found.value)
    assert said is not None, repr(found.value)
    assert is_named(path, said), said
    assert not list(Path().iterdir())


# The trainer's verbs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["--config", "--ckpt_path"])
def test_configs_and_checkpoints(option, kind, given, capsys):
    path = given(kind)
    recipe = ["--config=cls_digits"] if option == "--ckpt_path" else []
    refused(capsys, path, lambda: cli.main(["fit", *recipe, option, path]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("owner", "name"), READ)
def test_arguments_of_classes_by_the_command_line(owner, name, kind, given, capsys):
    if (name.startswith("predict_") and kind in IS_INPUT) or issubclass(
        owner, (InpaintingTask, SynthesisTask, Places2DataModule)
    ):
        return  # they need data, too, or other files before; see above
    path = given(kind)
    verb = "predict" if name.startswith("predict_") else "test" if name in ("judge", "detector", "inception") else "fit"
    part, other = ("model", ["--data=ImageNetDataModule"]) if "Task" in owner.__name__ else ("data", [])
    if part == "data":
        other = ["--model=ClassificationTask", "--model.network=resnet18", "--model.num_classes=2"]
    needed = [f"--{part}.{key}={value}" for key, value in NEEDED.get(owner.__name__, {}).items()]
    words = [f"--{part}={owner.__name__}", *needed, f"--{part}.{name}={path}", *other, *QUIET]
    untrained = ["--untrained"] if verb != "fit" else []
    refused(capsys, path, lambda: cli.main([verb, *words, *untrained, "--trainer.logger=false"]))
