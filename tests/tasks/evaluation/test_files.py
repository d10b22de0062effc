"""The segmentation task's test loop with evaluators: results, files, and none of it in checkpoints."""

import csv

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from pcpad.tasks import SegmentationTask
from pcpad.tasks.callbacks import EvaluationFiles
from pcpad.tasks.evaluation.evaluators import Border, Regular, Tile


class Frames(LightningDataModule):
    """Three bright images labeled 0 with a frame of class 1, which `Bright` never predicts."""

    num_classes = 2
    class_names = ("middle", "frame")

    def test_dataloader(self):
        label = torch.ones(16, 32, dtype=torch.long)
        label[4:12, 8:24] = 0
        return DataLoader([{"image": torch.ones(3, 16, 32), "label": label}] * 3)


class Bright(nn.Module):
    """Class 0 everywhere, and a count of the calls."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return torch.stack([torch.ones_like(image[:, 0]), torch.zeros_like(image[:, 0])], dim=1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    task = SegmentationTask(encoder="resnet18", num_classes=2)
    task.network = Bright()
    return task


def run(folder, model, *callbacks):
    trainer = Trainer(
        logger=CSVLogger(folder, name="run", version=0),
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    return trainer.test(model, Frames(), verbose=False)[0]


def test_one_test_gives_regular_tile_and_border(tmp_path, model, capsys):
    model.use_evaluators([Regular(), Tile(16), Border(["1/2"], of="regular"), Border([0], size=16)])
    results = run(tmp_path, model, EvaluationFiles())
    assert model.network.calls == 3 * (1 + 2)  # whole, and two tiles, for each of three images
    assert results["test/regular/mIoU"] == results["test/tile16_o0/mIoU"] == pytest.approx(0.25 / 2)
    assert results["test/regular/accuracy"] == pytest.approx(0.25)
    assert results["test/border_regular/leave_0.500/mIoU"] == 0
    assert results["test/border_tile16/leave_0.000/mIoU"] == pytest.approx(0.25 / 2)
    folder = tmp_path / "run" / "version_0"
    rows = list(csv.DictReader((folder / "evaluation.csv").open(encoding="utf-8")))
    assert [float(row["IoU_middle"]) for row in rows] == [0.25, 0.25, 0, 0.25]
    assert (folder / "leave_out.png").is_file()
    text = capsys.readouterr().out
    assert "12.500" in text
    assert str(folder / "evaluation.csv") in text


def test_each_test_starts_from_nothing_and_none_asked_for_is_the_plain_one(tmp_path, model):
    model.use_evaluators([Regular()])
    assert run(tmp_path, model) == run(tmp_path, model)
    model.use_evaluators([])
    assert run(tmp_path, model, EvaluationFiles())["test/mIoU"] == pytest.approx(0.25 / 2)


def test_evaluators_are_no_property_of_the_network(model):
    hyper_parameters, keys = dict(model.hparams), set(model.state_dict())
    model.use_evaluators([Border()])
    assert dict(model.hparams) == hyper_parameters
    assert set(model.state_dict()) == keys


def test_a_mistake_is_heard_of_at_once(model):
    with pytest.raises(ValueError, match="more than once: tile1024_o0"):
        model.use_evaluators([Tile(), Tile()])
