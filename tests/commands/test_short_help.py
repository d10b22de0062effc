"""What `--help` prints first, and that nothing in it is made up."""

import re
import subprocess
import sys

import pytest

from pcpad import cli
from pcpad.commands import TRAINER_VERBS
from pcpad.commands.run import main as run
from pcpad.commands.short_help import GROUPS, full_args


def printed(capsys, *args):
    cli.main(list(args))
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", TRAINER_VERBS)
def test_help_is_a_screen_or_two_of_what_the_verb_has(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = printed(capsys, verb, "--help")
    assert len(text.splitlines()) < 60
    assert max(map(len, text.splitlines())) < 100
    options = set(re.findall(r"^  (--[\w.]+)", text, re.MULTILINE)) - {"--model.NAME", "--data.NAME"}
    assert {"--config", "--ckpt_path", "--model", "--data"} <= options
    with pytest.raises(SystemExit) as ended:
        run(verb, ["--help"])
    assert ended.value.code == 0
    everything = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    assert not options - everything


def test_no_verb_lacks_an_option_that_is_listed_for_another_by_mistake():
    for options in GROUPS.values():
        for option, text, verbs in options:
            assert option.startswith("--"), text
            assert set(verbs) <= set(TRAINER_VERBS)


def test_the_task_s_own_options_come_first_with_the_recipe_s_values(capsys):
    text = printed(capsys, "fit", "--config", "cls_digits.yaml", "--help")
    assert text.index("ClassificationTask (--model") < text.index("ImageNetDataModule (--data") < text.index("\nrun:")
    assert re.search(r"--model\.num_classes +Number of classes", text)
    assert "[10]" in text
    assert "[SGD: lr 0.05" in " ".join(text.split())
    assert "--data.root" in text


def test_what_is_typed_is_what_is_explained(capsys):
    text = printed(capsys, "fit", "--config=cls_digits.yaml", "--model=pcpad.tasks.SegmentationTask", "-h")
    assert "SegmentationTask (--model SegmentationTask):" in text
    assert "ClassificationTask (--model" not in text
    text = printed(capsys, "fit", "--model", "mine.MyTask", "--help")
    assert "--model.help mine.MyTask  prints these" in text


@pytest.mark.faults
def test_a_config_that_is_not_there_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["fit", "--config", "cls_digit.yaml", "--help"])
    assert ended.value.code == 1
    assert "cls_digits.yaml" in capsys.readouterr().err


def test_the_parser_gets_help_without_its_word():
    assert full_args(["--config", "a", "--help", "all"]) == ["--config", "a", "--help"]
    assert full_args(["--help=all"]) == ["--help"]
    assert full_args(["--eval", "all", "-h", "all"]) == ["--eval", "all", "--help"]


@pytest.mark.slow
def test_everything_is_printed_by_help_all():
    done = subprocess.run(
        [sys.executable, "-m", "pcpad", "fit", "--help", "all"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) > 300
    assert "--trainer.detect_anomaly" in done.stdout


def test_help_imports_no_torch():
    code = "import sys; from pcpad.cli import main; main(['test', '-h']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
