"""`pcpad figure`: the verb."""

import pytest

from pcpad import cli
from pcpad.commands.figure import take_data_options
from pcpad.commands.figures import FIGURES


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", *map(str, args)])
    assert caught.value.code not in (0, None)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_help_lists_the_figures_without_loading_them(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", "--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {text}" in printed for name, (_, text) in FIGURES.items())


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", name, "--help"])
    assert caught.value.code == 0
    assert "--output FILE.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["seam"], "No figure 'seam'. Did you mean seams?"),
        (["leave-out", "absent.png"], "No picture at absent.png"),
        (["leave-out", "a.png", "--data.root=x"], "reads no data set"),
        (["leave-out", "a.png", "--output=x.jpg"], ".png or .pdf file"),
        (["leave-out", "a.png", "--import=no_such_module_of_mine"], "no such module"),
        (["seams", "--checkpoints", "a", "b", "--data.root"], "--data.root needs a value"),
        (["seams", "--checkpoints", "a.ckpt", "b.ckpt"], "No checkpoint at a.ckpt"),
        (["border-counts", "--network", "resnet5O"], "Did you mean"),
        (["border-counts", "--network", "resnet18", "--options", "a=b"], "networks of pcpad.models"),
        (["border-counts", "--network", "deeplabv3plus", "--options", "encode=b"], "no option 'encode'"),
        (["border-counts", "--network", "inception_v3", "--size", "5"], "cannot be run on an input of 5×5"),
        (["border-counts", "--network", "resnet18", "--size", "0"], "above 0"),
    ],
)
def test_mistakes_are_one_message(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert words in failing(capsys, *args)
    assert not list(tmp_path.iterdir())


def test_data_options_are_taken_out():
    rest, found = take_data_options(
        ["--size", "3", "--data.root", "x y", "--data.split=cv1", "--data", "D", "--data.n=2"]
    )
    assert rest == ["--size", "3", "--data", "D"]
    assert found == {"root": "x y", "split": "cv1", "n": 2}
