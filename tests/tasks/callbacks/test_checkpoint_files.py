"""A full disk leaves the checkpoint that was there."""

import resource
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch import Trainer

from pcpad.commands.errors import user_message
from pcpad.commands.exporting.write import export_program, write
from pcpad.datamodules.samples import SAMPLES
from pcpad.files import NoRegularFileError
from pcpad.tables import write_csv
from pcpad.tasks import ClassificationTask
from pcpad.tasks.callbacks.checkpoint_files import WholeCheckpoints, write_whole_checkpoints

pytestmark = pytest.mark.faults


@contextmanager
def full_disk(most):
    """No file may grow beyond so many bytes: the same errors as on a full disk, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_checkpoint(path):
    WholeCheckpoints().save_checkpoint({"weights": torch.ones(9999)}, path)


def save_export(path):
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="zeros").eval()
    program = export_program(task, "torch", {"image": torch.rand(2, 3, 32, 32)}, dynamic=False)
    write(program, path, "torch", ["image"], ("logits",), {"pcpad": "1"})


WRITERS = {
    "last.ckpt": save_checkpoint,
    "x.pt2": save_export,
    "x.csv": lambda path: write_csv(path, ["a"], [("b" * 100,)] * 1000),
    "digits": SAMPLES["digits"],
    "cityscapes": SAMPLES["cityscapes"],
    "kinetics": SAMPLES["kinetics"],
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(tmp_path, name):
    path = tmp_path / name
    if "." in name:
        path.write_bytes(b"before")
    with pytest.raises((OSError, RuntimeError)) as found, full_disk(100):
        WRITERS[name](path)
    assert user_message(found.value) is not None, repr(found.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ([name] if "." in name else [])
    assert "." not in name or path.read_bytes() == b"before"


def test_a_trainers_checkpoints_are_whole(tmp_path):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    write_whole_checkpoints(trainer)
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="zeros")
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "new" / "a.ckpt")
    read = trainer.strategy.load_checkpoint(tmp_path / "new" / "a.ckpt")
    assert all(torch.equal(value, read["state_dict"][name]) for name, value in task.state_dict().items())
    with pytest.raises(NoRegularFileError):
        trainer.strategy.load_checkpoint(tmp_path / "new")
