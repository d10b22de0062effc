"""What a checkpoint remembers of its run, and what it may not say."""

from pathlib import Path

import pytest
import torch
import yaml

from pcpad import cli
from pcpad.commands.checkpoint import home_of, remembered, run_values
from pcpad.commands.run import main
from pcpad.datamodules.samples.digits import write_digits

pytestmark = pytest.mark.faults
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
KEPT = (
    "max_epochs",
    "max_steps",
    "check_val_every_n_epoch",
    "accumulate_grad_batches",
    "precision",
    "gradient_clip_val",
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run's folder, broken off after two steps."""
    root = tmp_path_factory.mktemp("begun")
    write_digits(root / "digits")
    (root / "recipe.yaml").write_text(
        """
trainer: {max_epochs: 3, check_val_every_n_epoch: 2, accumulate_grad_batches: 2, gradient_clip_val: 1.5}
checkpoint: {monitor: val/loss, mode: min}
model:
  class_path: ClassificationTask
  init_args: {network: timm/test_resnet, num_classes: 10, optimizer: {class_path: SGD, init_args: {lr: 0.01}}}
data: {class_path: ImageNetDataModule, init_args: {root: digits, image_size: 32, resize: 32, num_workers: 0}}
""",
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        main(
            "fit",
            ["--config", "recipe.yaml", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", *QUIET],
        )
    return root


def configuration(folder):
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def test_going_on_from_a_checkpoint_alone_is_the_same_run(begun, monkeypatch, capsys):
    monkeypatch.chdir(begun)
    first = begun / "runs" / "recipe" / "version_0"
    done = main("fit", ["--ckpt_path=runs/recipe/version_0/checkpoints/last.ckpt", *QUIET])
    again = Path(done.trainer.log_dir)
    assert again.parent == Path("runs/recipe")
    before, after = configuration(first), configuration(again)
    assert {name: after["trainer"][name] for name in KEPT} == {name: before["trainer"][name] for name in KEPT}
    assert after["checkpoint"]["monitor"] == "val/loss"
    assert done.trainer.checkpoint_callback.mode == "min"
    assert done.trainer.current_epoch == 3


def test_what_is_typed_outranks_it_and_is_said(begun, monkeypatch, capsys):
    monkeypatch.chdir(begun)
    path = "runs/recipe/version_0/checkpoints/last.ckpt"
    printed = ["fit", f"--ckpt_path={path}", "--trainer.max_epochs=4", "--trainer.limit_train_batches=1", *QUIET]
    done = main(printed[0], printed[1:])
    assert done.trainer.max_epochs == 4
    assert "Differs from the checkpoint: trainer.max_epochs: checkpoint 3, used 4" in capsys.readouterr().out


def test_a_test_takes_nothing_of_the_training_run(begun):
    path = begun / "runs" / "recipe" / "version_0" / "checkpoints" / "last.ckpt"
    assert set(remembered(path)) == {"model", "data"}
    assert {"trainer", "checkpoint", "results"} <= set(remembered(path, run=True))


def test_only_plain_values_of_known_names_count(begun, tmp_path, monkeypatch, capsys):
    evil = {"class_path": "evil.Callback"}
    said = {
        "trainer": {"callbacks": [evil], "max_epochs": evil, "max_steps": [1], "precision": "32-true", "logger": evil},
        "checkpoint": {"dirpath": "/elsewhere", "monitor": "val/loss", "save_top_k": True},
        "data": evil,
    }
    assert run_values(said) == {"trainer": {"precision": "32-true"}, "checkpoint": {"monitor": "val/loss"}}
    assert run_values({"trainer": 3}) == {}
    path = begun / "runs" / "recipe" / "version_0" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "pcpad_run": said}, tmp_path / "x.ckpt")
    assert remembered(tmp_path / "x.ckpt", run=True)["trainer"] == {"precision": "32-true"}
    torch.save({**content, "pcpad_run": "evil"}, tmp_path / "y.ckpt")
    assert "trainer" not in remembered(tmp_path / "y.ckpt", run=True)


def test_a_run_has_a_home_only_around_its_checkpoint():
    assert home_of(Path("runs/a/version_3/checkpoints/last.ckpt")) == ("runs", "a")
    assert home_of(Path("/x/runs/a/version_3/checkpoints/best.ckpt")) == ("/x/runs", "a")
    for elsewhere in (
        "last.ckpt",
        "checkpoints/last.ckpt",
        "runs/a/best/checkpoints/last.ckpt",
        "runs/a/version_3/x.ckpt",
    ):
        assert home_of(Path(elsewhere)) is None


def test_a_checkpoint_elsewhere_goes_on_under_the_task_s_name(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(begun)
    target = tmp_path / "copy.ckpt"
    target.write_bytes((begun / "runs/recipe/version_0/checkpoints/last.ckpt").read_bytes())
    monkeypatch.chdir(tmp_path)
    cli.main(
        ["fit", f"--ckpt_path={target}", f"--data.root={begun / 'digits'}", "--trainer.limit_train_batches=1", *QUIET]
    )
    assert (tmp_path / "runs" / "classification" / "version_0").is_dir()
