"""What is said instead of a traceback where the machine, a package or the data is at fault, and what is still a bug."""

import errno
import gc
import os
import subprocess
import sys
import traceback

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pcpad import cli
from pcpad.commands.errors import clean_errors, user_message
from pcpad.errors import UserValueError

pytestmark = pytest.mark.faults


def said(capsys, raises):
    """What the command would print of an error."""
    with pytest.raises(SystemExit) as caught, clean_errors():
        raises()
    assert caught.value.code == 1
    # The error's frames keep the loader's iterator. Left to the garbage collector, which first ends the queues that
    # tell workers to stop, it waits 5 s for each worker.
    traceback.clear_frames(caught.value.__context__.__traceback__)
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.fixture(autouse=True)
def _workers_leave_other_tests_garbage_alone():
    """Forked workers would run finalizers of what earlier tests left; one ended with a segmentation fault."""
    gc.freeze()
    yield
    gc.unfreeze()


class Refusing(Dataset):
    def __init__(self, number):
        self.number = number

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise OSError(self.number, os.strerror(self.number), "/data/a.png")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "Permission denied: {}: change who may read or write it"),
        (errno.EROFS, "Read-only file system: {}: write somewhere else"),
        (errno.ENOSPC, "No space left on device: {}: free some space"),
        (errno.EIO, "Input/output error: {}: the disk or the network"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(capsys, number, words, workers):
    text = said(capsys, lambda: list(DataLoader(Refusing(number), num_workers=workers)))
    path = "/data/a.png" if workers == 0 else "'/data/a.png'"
    assert words.format(path) in text


@pytest.mark.slow
def test_folders_that_may_not_be_read_are_named(tmp_path):
    """By another user: root may read everything."""
    if os.getuid() != 0:
        pytest.skip("needs another user's rights to take away")
    code = (
        "import os, sys; from pcpad.commands.errors import clean_errors\n"
        "from pcpad.datamodules.reading.folders import list_images\n"
        "os.setuid(65534)\n"
        "with clean_errors(): list_images(sys.argv[1])"
    )
    tmp_path.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents[:2]]:
        folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "closed").mkdir(mode=0o000)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "closed")], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"pcpad: error: Permission denied: {tmp_path / 'closed'}: change who may read" in done.stderr


@pytest.mark.slow
def test_a_package_of_a_logger_that_is_missing(capsys):
    pytest.importorskip("lightning")
    options = ["--config=cls_digits.yaml", "--data.root=data", "--trainer.accelerator=cpu"]
    with pytest.raises(SystemExit):
        cli.main(["fit", *options, "--trainer.logger=CometLogger"])
    printed = capsys.readouterr().err
    assert "pcpad: error: A package is missing: Requirement 'comet-ml" in printed
    assert "pip install" in printed
    assert "Traceback" not in printed


def test_a_package_that_a_module_of_the_user_s_imports(capsys):
    def imports():
        exec(compile("import no_such_package.part", "mine.py", "exec"), {"__name__": "mine"})

    assert "No module named 'no_such_package' (pip install no_such_package, or" in said(capsys, imports)


@pytest.mark.slow
def test_a_callback_that_needs_another_model(capsys):
    class Mine(LightningModule):
        pass

    callback = BackboneFinetuning()
    text = said(capsys, lambda: callback.setup(Trainer(logger=False, accelerator="cpu"), Mine(), "fit"))
    assert "BackboneFinetuning needs a model with a part called `backbone`, which Mine lacks" in text


def test_one_value_per_channel(capsys):
    text = said(capsys, lambda: nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1)))
    assert "got input size torch.Size([1, 3, 1, 1]): batch normalization needs more than one value per channel" in text
    assert "--data.batch_size 2 or more" in text


class Full(Refusing):
    def __getitem__(self, index):
        raise MemoryError


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_ran_out_is_a_sentence(capsys, workers):
    text = said(capsys, lambda: list(DataLoader(Full(0), num_workers=workers)))
    assert "pcpad: error: Memory ran out: lower --data.num_workers" in text
    assert "batch_size" in said(capsys, lambda: torch.empty(1 << 50, dtype=torch.uint8))


class Ending(Refusing):
    def __getitem__(self, index):
        os.kill(os.getpid(), self.number) if self.number > 0 else os._exit(1)


@pytest.mark.parametrize("number", [9, 7, 0])
def test_a_worker_that_was_killed_is_a_sentence(capsys, number):
    text = said(capsys, lambda: list(DataLoader(Ending(number), num_workers=2)))
    assert "a process that reads data ended, mostly because memory or /dev/shm ran out" in text


@pytest.mark.parametrize("error", [AttributeError("'A' object has no attribute 'b'"), ValueError("x"), OSError("x")])
def test_all_else_is_a_bug(error):
    assert user_message(error) is None


def test_a_message_of_megabytes_is_cut(capsys):
    def raises():
        message = f"list.txt: expected a path, but got {'x' * 3_000_000}: correct the line\nand read on"
        raise UserValueError(message)

    text = said(capsys, raises)
    assert len(text) < 5000
    assert "expected a path, but got xxx" in text
    assert "xxx: correct the line\nand read on" in text
