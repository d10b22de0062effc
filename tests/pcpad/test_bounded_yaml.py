"""YAML that grows, loops, or asks for objects."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from pcpad import bounded_yaml, cli, files
from pcpad.bounded_yaml import MOST_VALUES, TooManyValuesError, bound_jsonargparse, read_yaml
from pcpad.commands.checkpoint import remembered
from pcpad.errors import UserValueError

pytestmark = pytest.mark.faults
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{step}: &a{step} [{', '.join([f'*a{step - 1}'] * 10)}]\n" for step in range(1, 7)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, f"stands for more than {MOST_VALUES:,} values"),
        (BOMB.replace("\n", ", ").join(["{", "}"]), "aliases of aliases"),
        ("&a [*a]", "contains itself"),
        ("&a {x: 1, y: {<<: *a}}", "contains itself"),
        ("[" * 5000, "nested too deeply"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", r"line 2, column 4: a tag \(!python/object/apply:os.system\)"),
        ("!mine x", r"a tag \(!mine\)"),
        ("a: [", "not valid YAML"),
        ("2001-99-99", "not valid YAML"),
        ("a\0b", "not valid YAML"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, words):
    began = time.monotonic()
    with pytest.raises(UserValueError, match=words) as caught:
        read_yaml(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml")
    assert time.monotonic() - began < 20


def test_plain_yaml_and_modest_aliases_are_read(monkeypatch):
    assert read_yaml("a: &x {lr: 0.1}\nb: *x\nc: {<<: *x, d: 2}", "mine.yaml")["c"] == {"lr": 0.1, "d": 2}
    monkeypatch.setattr(bounded_yaml, "MOST_VALUES", 1000)
    many = read_yaml(str(list(range(1010))), "mine.yaml")
    assert len(many) == 1010, "what is written out is no more than it is"
    with pytest.raises(TooManyValuesError):
        read_yaml("a: &x [1, 2]\nb: " + str(["*x"] * 600).replace("'", ""), "mine.yaml")
    assert read_yaml("", "mine.yaml") is None


@pytest.mark.parametrize("text", ["!!int ''", "!!float ''", "!!bool ''", "!!bool perhaps", "!!timestamp soon"])
def test_values_that_are_not_what_their_tag_says(text):
    """PyYAML looks into them with IndexError, KeyError and AttributeError, which were bugs of ours until caught."""
    from jsonargparse import ArgumentError, ArgumentParser

    with pytest.raises(UserValueError, match=r"^mine\.yaml: not valid YAML: a value is not what its tag"):
        read_yaml(text, "mine.yaml")
    bound_jsonargparse()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=int)
    with pytest.raises(ArgumentError, match="Expected a <class 'int'>"):
        parser.parse_args([f"--x={text}"])


def test_jsonargparse_counts_too():
    from jsonargparse import ArgumentParser

    bound_jsonargparse()
    bound_jsonargparse()
    for kind in (int, list[int], dict):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--x", type=kind)
        with pytest.raises(Exception, match=r"aliases of aliases") as caught:
            parser.parse_args([f"--x={BOMB}"])
        assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("way", ["config", "argument", "checkpoint", "axis"])
def test_every_way_in(tmp_path, monkeypatch, capsys, way):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.yaml").write_text(BOMB + "model: *a6\n", encoding="utf-8")
    flow = BOMB.replace("\n", ", ").join(["{", "}"])
    kept = {"_class_path": "pcpad.tasks.ClassificationTask", "num_classes": flow}
    content = {"state_dict": {}, "hyper_parameters": kept, "pytorch-lightning_version": "2.6.6"}
    torch.save(content, tmp_path / "x.ckpt")
    args = {
        "config": ["fit", "--config=bomb.yaml"],
        "argument": ["fit", "--config=cls_digits.yaml", f"--data.class_names={flow}"],
        "checkpoint": ["test", "--ckpt_path=x.ckpt"],
        "axis": ["compare", "--config=cls_digits.yaml", f"--axis=data.root={flow}", "--seeds=1"],
    }[way]
    began = time.monotonic()
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 1
    assert "aliases of aliases" in capsys.readouterr().err
    assert time.monotonic() - began < 60
    if way == "checkpoint":
        with pytest.raises(TooManyValuesError):
            remembered(tmp_path / "x.ckpt")


def test_a_config_is_what_it_was_when_it_was_first_read(tmp_path, monkeypatch, capsys):
    """Whoever looks at it, jsonargparse included: it is replaced after each look."""
    monkeypatch.chdir(tmp_path)
    path, part = tmp_path / "x.yaml", tmp_path / "part.yaml"
    path.write_text("model: part.yaml\nseed_everything: 1\n", encoding="utf-8")
    part.write_text("class_path: ClassificationTask\ninit_args: {network: resnet18, num_classes: 7}", encoding="utf-8")
    looks, plain = [], files.opened

    def opened(name):
        file = plain(name)
        if Path(name).name in ("x.yaml", "part.yaml"):
            looks.append(Path(name).name)
            new = name.with_name("new")
            new.write_text("model: evilmod.Evil\n", encoding="utf-8")
            new.replace(name)
        return file

    monkeypatch.setattr(files, "opened", opened)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--config=x.yaml", "--print_config"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "num_classes: 7" in said
    assert "seed_everything: 1" in said
    assert "evilmod" not in said
    assert sorted(looks) == ["part.yaml", "x.yaml"]


@pytest.mark.parametrize("option", ["--config", "--model", "--ckpt_path"])
def test_a_pipe_is_no_config_and_is_not_waited_for(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")
    recipe = ["--config", "cls_digits"] if option != "--config" else []
    signal.setitimer(signal.ITIMER_REAL, 60)  # ends the process where it waits
    try:
        with pytest.raises(SystemExit):
            cli.main(["fit", *recipe, option, str(tmp_path / "pipe.yaml")])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert "pipe.yaml: a named pipe (FIFO), where a file is expected" in capsys.readouterr().err
