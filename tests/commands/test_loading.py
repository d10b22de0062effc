"""Tasks and data modules back from checkpoints."""

import pytest
import torch
from lightning.pytorch import Trainer

from pcpad.commands.loading import load_datamodule, load_task
from pcpad.datamodules import CityscapesDataModule, ImageNetDataModule
from pcpad.tasks import ClassificationTask


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A task, and its checkpoint with a data module's settings."""
    torch.manual_seed(0)
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="zeros")
    task.trained_with = "zeros"
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    path = tmp_path_factory.mktemp("saved") / "x.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    kept = {"_class_path": "pcpad.datamodules.ImageNetDataModule", "root": "here", "image_size": 32, "resize": 40}
    torch.save({**content, "datamodule_hyper_parameters": kept}, path)
    return task.eval(), path


def test_task_comes_back_as_it_was(saved):
    task, path = saved
    image = torch.rand(2, 3, 32, 32)
    again = load_task(path)
    assert not again.training
    assert (again.padding, again.trained_with) == ("zeros", "zeros")
    assert torch.equal(again(image), task(image))
    other = load_task(str(path), padding="partial")
    assert (other.padding, other.trained_with) == ("partial", "zeros")
    assert not torch.allclose(other(image), task(image))


def test_data_come_back_with_what_was_typed_on_top(saved):
    data = load_datamodule(saved[1], root="there")
    assert isinstance(data, ImageNetDataModule)
    assert (str(data.root), data.batch_size) == ("there", 32)
    assert (load_datamodule(saved[1], class_path="ImageNetDataModule").root.name) == "here"
    other = load_datamodule(saved[1], class_path="CityscapesDataModule", split="cv1")
    assert isinstance(other, CityscapesDataModule)
    assert (other.root.name, other.split) == ("cityscapes", "cv1"), "nothing of another class's settings"


@pytest.mark.parametrize(
    ("load", "options", "words"),
    [
        (load_task, {"paddings": "zeros"}, "no argument 'paddings'. Did you mean --model.padding?"),
        (load_datamodule, {"rot": "x"}, "Did you mean --data.root?"),
        (load_datamodule, {"image_size": "big"}, "ImageNetDataModule: "),
        (load_datamodule, {"class_path": "Cityscapes"}, "No class 'Cityscapes'"),
        (load_datamodule, {"class_path": "pcpad.tasks.SegmentationTask"}, "No class"),
    ],
)
def test_mistakes(saved, load, options, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?").replace(".", r"\.")):
        load(saved[1], **options)


def test_missing_files_say_what_there_is(saved):
    with pytest.raises(FileNotFoundError, match=r"has x\.ckpt"):
        load_task(saved[1].with_name("y.ckpt"))


def test_foreign_classes_need_trust(saved, tmp_path):
    content = torch.load(saved[1], weights_only=True)
    content["datamodule_hyper_parameters"]["_class_path"] = "antigravity.Data"
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"'antigravity\.Data', which is not pcpad's"):
        load_task(tmp_path / "x.ckpt")
    assert load_task(tmp_path / "x.ckpt", trusted=["antigravity.Data"]).padding == "zeros"


def test_weights_alone_are_no_checkpoint(saved, tmp_path):
    torch.save(saved[0].state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="is no Lightning checkpoint"):
        load_task(tmp_path / "w.pth")


def test_a_checkpoint_without_data_asks_for_a_name(saved, tmp_path):
    content = torch.load(saved[1], weights_only=True)
    del content["datamodule_hyper_parameters"]
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="name one with --data"):
        load_datamodule(tmp_path / "x.ckpt")
    assert load_datamodule(tmp_path / "x.ckpt", class_path="ImageNetDataModule", root="r").root.name == "r"
