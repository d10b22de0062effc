"""Loggers by one word, early stopping by one number, and what a new start says on the command line."""

import json

import pytest
import torch

from pcpad import cli
from pcpad.commands.checkpoint import run_values
from pcpad.commands.habits import logger_words
from pcpad.datamodules.samples.digits import write_digits
from pcpad.tasks import ClassificationTask

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
SHORT = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("habits") / "digits"
    write_digits(root)
    return root


@pytest.fixture
def asked(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ["fit", "--config=cls_digits.yaml", f"--data.root={digits}", *QUIET, *SHORT]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--logger=wandb"], "--logger wandb needs the package wandb, which is not installed: pip install wandb"),
        (["--logger=[csv, mlflow]"], "pip install mlflow"),
        (["--logger=csv", "--trainer.logger=false"], "both say where the run's numbers go"),
        (["--early_stopping=0"], "at least 1, but got 0"),
        (["--early_stopping=3", "--checkpoint.monitor=null"], "--checkpoint.monitor val/loss"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(asked, tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.setattr("pcpad.commands.habits.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cli.main([*asked, *options])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_stops_early_logs_where_it_was_told_and_goes_on_likewise(asked, tmp_path, capsys):
    still = ["--model.optimizer.lr=0", "--trainer.max_epochs=9", "--early_stopping=1", "--logger=csv"]
    cli.main([*asked, *still])
    run = tmp_path / "runs" / "cls_digits" / "version_0"
    assert not list(run.glob("events*"))
    results = json.loads((run / "results.json").read_text())
    assert len(results["fit"]["history"]) == 2
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["pcpad_run"]
    assert (kept["early_stopping"], kept["logger"]) == (1, "csv")


@pytest.mark.faults
def test_a_new_head_is_named_and_not_tested(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": ClassificationTask("resnet18", 20).network.state_dict()}, "w.pth")
    model = [
        "--model=ClassificationTask",
        "--model.network=resnet18",
        "--model.num_classes=10",
        "--model.weights=w.pth",
    ]
    data = ["--data=ImageNetDataModule", f"--data.root={digits}"]
    for head, words in ((["--model.head=new"], "random weights in its fc"), ([], "--model.head new")):
        with pytest.raises(SystemExit):
            cli.main(["test", *model, *head, *data, *QUIET])
        assert words in capsys.readouterr().err


def test_words():
    assert logger_words({"logger": None}) == ["tensorboard"]
    assert logger_words({"logger": "csv"}) == ["csv"]
    assert run_values({"logger": ["csv", "os.system"], "early_stopping": "x"}) == {}
    assert run_values({"logger": ["csv", "wandb"], "early_stopping": 3}) == {
        "logger": ["csv", "wandb"],
        "early_stopping": 3,
    }
