"""What a run says at its end, and writes beside what is there already."""

import json
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch.optim import SGD
from torch.utils.data import DataLoader

from pcpad.tasks import GaussianFilteringTask
from pcpad.tasks.callbacks import BestAndLast, RunResults


@pytest.mark.faults
def test_a_folder_s_name_is_no_markup(capsys):
    results = RunResults()
    results._closing = ["Written to a[/red]b/c[bold]d/\x1b[2Je\udcff/results.json"]
    results.teardown(SimpleNamespace(is_global_zero=True), None, "fit")
    assert capsys.readouterr().out == "Written to a[/red]b/c[bold]d/\\x1b[2Je\\xff/results.json\n"


@pytest.mark.faults
@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_results_are_written_where_a_damaged_file_is(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    trainer = SimpleNamespace(log_dir=str(tmp_path), is_global_zero=True)
    with pytest.warns(UserWarning, match=r"results\.json is damaged .* it is kept as .*results\.json\.damaged"):
        RunResults._write(trainer, "test", {"metrics": {}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"test": {"metrics": {}}}
    assert (tmp_path / "results.json.damaged").read_text() == content


def gentle(parameters):
    return SGD(parameters, lr=1e-4)


def run(folder, *, epochs, ckpt_path=None, **options):
    """Train a little, with six steps in an epoch; the results and the checkpoint callback."""
    torch.manual_seed(0)
    items = [{"image": torch.rand(3, 16, 16), "target": torch.rand(3, 16, 16)} for _ in range(6)]
    results = RunResults("val/mse", mode="min", last_epochs=3)
    saver = BestAndLast("val/mse", mode="min", dirpath=str(folder))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"default_root_dir": folder, "max_epochs": epochs, "num_sanity_val_steps": 0}
    trainer = Trainer(**quiet, callbacks=[results, saver], **options)
    trainer.fit(
        GaussianFilteringTask(width=2, optimizer=gentle), DataLoader(items), DataLoader(items[:2]), ckpt_path=ckpt_path
    )
    return results, saver


def test_every_validation_counts_where_an_epoch_has_several(tmp_path, capsys):
    results, saver = run(tmp_path, epochs=2, val_check_interval=2)
    summary = results.summary()
    assert summary["history_by"] == "step"
    assert list(summary["history"]) == [2, 4, 6, 8, 10, 12]
    assert summary["last_steps"] == [8, 10, 12]
    assert summary["mean_last_validations"] == pytest.approx(sum(summary["history"][step] for step in (8, 10, 12)) / 3)
    assert summary["best"] == min(summary["history"].values()) == pytest.approx(float(saver.best_model_score))
    assert summary["history"][summary["best_step"]] == summary["best"]
    assert not {"best_epoch", "mean_last_epochs", "last_epochs"} & set(summary)
    said = capsys.readouterr().out
    assert f"(step {summary['best_step']}), mean of the last 3 validations" in said
    assert "epochs" not in said


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({}, [0, 1, 2]), ({"check_val_every_n_epoch": 2}, [1]), ({"val_check_interval": 6}, [0, 1, 2])],
    ids=["every-epoch", "every-second-epoch", "as-many-steps"],
)
def test_epochs_with_one_validation_are_counted_as_epochs(options, epochs, tmp_path):
    results, _ = run(tmp_path, epochs=3, **options)
    summary = results.summary()
    assert list(summary) == ["monitor", "best", "best_epoch", "mean_last_epochs", "last_epochs", "history"]
    assert list(summary["history"]) == epochs


@pytest.mark.parametrize("several", [True, False])
def test_a_resumed_run_keeps_its_validations(several, tmp_path):
    options = {"val_check_interval": 2} if several else {}
    first, _ = run(tmp_path / "first", epochs=1, **options)
    second, _ = run(tmp_path / "second", epochs=2, ckpt_path=tmp_path / "first" / "last.ckpt", **options)
    assert list(second.summary()["history"]) == ([2, 4, 6, 8, 10, 12] if several else [0, 1])
    kept = first.summary()["history"]
    assert {when: second.summary()["history"][when] for when in kept} == kept


def test_a_run_resumed_from_an_earlier_version_is_counted_as_it_began():
    results = RunResults("val/mse", mode="min")
    results.load_state_dict({"monitor": "val/mse", "history": {0: 3.0, 1: 2.0}})
    assert "steps" not in results.state_dict()
    assert results.summary()["best_epoch"] == 1
