"""No verb writes over what it reads, and each says so before any work."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from pcpad import cli
from pcpad.commands.outputs import named_files
from pcpad.tasks import ClassificationTask

pytestmark = pytest.mark.faults
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`x.ckpt`, its data in `data/`, and `config.yaml`."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    torch.manual_seed(0)
    task = ClassificationTask("timm/test_resnet", num_classes=2, padding="zeros")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(folder / "x.ckpt")
    content = torch.load(folder / "x.ckpt", weights_only=True)
    kept = {"_class_path": "pcpad.datamodules.ImageNetDataModule", "root": "data", "image_size": 32, "resize": 32}
    torch.save({**content, "datamodule_hyper_parameters": kept}, folder / "x.ckpt")
    (folder / "config.yaml").write_text("trainer: {logger: false}\n")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(here, capsys, *args, words="would replace the input"):
    before = content(here)
    with pytest.raises(SystemExit) as end:
        cli.main(list(args))
    error = capsys.readouterr().err
    assert end.value.code == 1
    assert words in error
    assert "Traceback" not in error
    assert content(here) == before


PREDICT = ["predict", "--ckpt_path=x.ckpt", "--data.predict_images=data/val", *QUIET]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["same", "hard link", "link", "picture", "config", "in the data"])
def test_predictions_replace_no_input(here, capsys, kind):
    output = {"picture": "data/val/a/0.png", "config": "config.yaml", "same": "x.ckpt"}.get(kind, "out.csv")
    if kind == "hard link":
        os.link("x.ckpt", output)
    elif kind == "link":
        Path(output).symlink_to("x.ckpt")
    elif kind == "in the data":
        output = "data/val/b/1.png"
    more = ["--config=config.yaml"] if kind == "config" else []
    refused(here, capsys, *PREDICT, *more, f"--output={output}")


@pytest.mark.slow
def test_weights_that_are_not_read_are_not_lost_either(here, capsys):
    shutil.copy("x.ckpt", "other.ckpt")
    refused(here, capsys, *PREDICT, "--output=other.ckpt", words="holds weights, which would be lost")


@pytest.mark.slow
def test_a_run_replaces_no_config_and_no_weights(here, capsys):
    fit = ["fit", "--config=cls_digits.yaml", "--data.root=data", "--model.num_classes=2", *QUIET]
    refused(here, capsys, *fit, "--config=config.yaml", "--trainer.default_root_dir=.")
    (here / "kept").mkdir()
    shutil.move("x.ckpt", "kept/best.ckpt")
    refused(here, capsys, *fit, "--model.weights=kept/best.ckpt", "--checkpoint.dirpath=kept")


def test_exports_replace_no_checkpoint(here, capsys):
    export = ["export", "--ckpt_path=x.ckpt", "--format=torch"]
    refused(here, capsys, *export, "--output=x.ckpt")
    os.link("x.ckpt", "x.pt2")
    refused(here, capsys, *export, "--output=x.pt2")
    shutil.copy("x.ckpt", "other.ckpt")
    refused(here, capsys, *export, "--output=other.ckpt", words="holds weights, which would be lost")


def test_checks_and_measurements_replace_nothing(here, capsys):
    refused(here, capsys, "check", "imagenet", "--data.root=data", "--csv=data/train/a/0.png")
    refused(here, capsys, "bench", "--json=config.yaml", words="holds a configuration")


def test_figures_replace_nothing(here, capsys):
    refused(here, capsys, "figure", "leave-out", "data/val/a/0.png", "--output=data/val/a/0.png")
    Path("x.png").symlink_to("x.ckpt")
    refused(here, capsys, "figure", "border-counts", "--checkpoint=x.ckpt", "--output=x.png")
    words = "would replace a file of data"
    filtering = ["figure", "filtering", "--checkpoints", "x.ckpt", "--data.root", "data"]
    refused(here, capsys, *filtering, "--output=data/val/a/0.png", words=words)


def test_files_in_a_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "list_val.csv", "w"):
        (tmp_path / name).write_text("")
    config = {"model": {"weights": "w", "n": 3}, "x": ["a", "b", "x" * 300, "~nobody/a", "\0"], "y": "list_{split}.csv"}
    assert [str(path) for path in named_files({**config, "output": "a"})] == ["w", "a", "list_val.csv"]
