"""Checkpoints of another network: said which names, how many, and what to do."""

import pytest
import torch
from lightning.pytorch import Trainer

from pcpad.cli import main
from pcpad.tasks import ClassificationTask, SegmentationTask


def small(**options):
    torch.manual_seed(0)
    return SegmentationTask(**{"encoder": "resnet18", "num_classes": 19} | options)


def save(task, path):
    run = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    run.strategy.connect(task)
    run.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(small(), tmp_path_factory.mktemp("checkpoint") / "resnet18.ckpt")


def test_another_encoder(checkpoint):
    missing = set(small(encoder="resnet50").network.state_dict()) - set(small().network.state_dict())
    with pytest.raises(ValueError, match="not those of this network") as caught:
        SegmentationTask.load_from_checkpoint(checkpoint, encoder="resnet50")
    message = str(caught.value)
    total = len(small(encoder="resnet50").network.state_dict())
    assert f"missing from the file ({len(missing)} of {total}): " in message
    assert "(deeplabv3plus resnet50)" in message
    assert "of another shape (" in message
    assert message.count("\n") <= 4


def test_another_number_of_classes(checkpoint):
    with pytest.raises(ValueError, match=r"of another shape \(1\): .*\n.*the file's classifier has 19 classes"):
        SegmentationTask.load_from_checkpoint(checkpoint, num_classes=5)


@pytest.mark.slow
def test_another_architecture_under_explicit_padding(checkpoint):
    with pytest.raises(ValueError, match="not those of this network"):
        SegmentationTask.load_from_checkpoint(checkpoint, encoder="resnet34", padding="explicit")


def test_another_task(tmp_path):
    path = save(ClassificationTask(network="resnet18", num_classes=19), tmp_path / "x.ckpt")
    with pytest.raises(
        ValueError, match=r"not in the network \(8 of 122\): conv1.weight, .*\n.*ClassificationTask' and"
    ):
        SegmentationTask.load_from_checkpoint(path, encoder="resnet18")


def test_the_same_network_loads(checkpoint):
    task = SegmentationTask.load_from_checkpoint(checkpoint)
    for name, value in small().network.state_dict().items():
        torch.testing.assert_close(task.network.state_dict()[name], value)


@pytest.mark.slow
def test_from_the_command_line(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["sample", "cityscapes", "streets"])
    arguments = ["--data=CityscapesDataModule", "--data.root=streets", "--data.num_workers=0", "--trainer.logger=false"]
    with pytest.raises(SystemExit):
        main(["test", f"--ckpt_path={checkpoint}", "--model.encoder=resnet34", *arguments, "--trainer.accelerator=cpu"])
    message = capsys.readouterr().err
    assert "pcpad: error: The checkpoint's weights are not those of this network (deeplabv3plus resnet34)" in message
    assert "The checkpoint was made with encoder='resnet18' and not 'resnet34': leave that as it was" in message
    assert "Traceback" not in message
