"""Whole processes that are told to stop, and what they tell their user."""

import csv
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

from pcpad.commands.stopping import resume_command, telling_how_to_resume

pytestmark = pytest.mark.faults

# Stops a run at a known place: a process by its rank, or all there are, as a terminal does.
STOPPER = """
import multiprocessing, os, signal
from lightning.pytorch import Callback

if "START_BY" in os.environ:
    multiprocessing.set_start_method(os.environ["START_BY"])

class Stop(Callback):
    def __init__(self):
        self.places = os.environ.get("STOP_AT", "").split()

    def _at(self, trainer, stage, index):
        place = f"{stage}-{trainer.current_epoch}-{index}-rank{trainer.global_rank}"
        for said in list(self.places):
            where, _, how = said.partition(":")
            if where == place:
                self.places.remove(said)
                number = getattr(signal, how.removesuffix("*"))
                os.killpg(os.getpgrp(), number) if how.endswith("*") else os.kill(os.getpid(), number)

    def on_before_backward(self, trainer, module, loss):
        self._at(trainer, "train", trainer.fit_loop.epoch_loop.batch_idx)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self._at(trainer, "sanity" if trainer.sanity_checking else "val", batch_idx)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with 14 training and five validation images, and the module that stops runs."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 14), ("val", 5)):
        for index in range(count):
            path = tmp_path / "images" / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    (tmp_path / "stopping.py").write_text(STOPPER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(name, workers, *more):
    """The arguments of `pcpad fit` for a run named `name`."""
    Path(f"{name}.yaml").write_text(
        f"""
seed_everything: 5
trainer:
  {{max_epochs: 2, log_every_n_steps: 1, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}}
checkpoint: {{monitor: val/loss, mode: min}}
model:
  class_path: ClassificationTask
  init_args:
    network: timm/test_resnet
    num_classes: 2
    optimizer: {{class_path: SGD, init_args: {{lr: 0.01, momentum: 0.9}}}}
data:
  class_path: ImageNetDataModule
  init_args: {{root: images, image_size: 32, resize: 32, batch_size: 2, num_workers: {workers}}}
""",
        encoding="utf-8",
    )
    return ["fit", "--config", f"{name}.yaml", "--trainer.callbacks+=stopping.Stop", *more]


def pcpad(args, stop=""):
    """Run the command in a process group of its own; its exit code and what it wrote to stderr."""
    path = os.pathsep.join([str(Path.cwd()), *sys.path])
    env = os.environ | {"STOP_AT": stop, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    env.pop("PL_GLOBAL_SEED", None)
    command = [sys.executable, "-m", "pcpad", *args]
    process = subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, said


def command_in(said):
    """The command that a closing message names."""
    (line,) = [line for line in said.splitlines() if line.startswith("  pcpad fit ")]
    return shlex.split(line)[1:]


def rows(name):
    found = []
    for path in sorted(Path("runs", name).glob("version_*/metrics.csv")):
        with path.open() as file:
            found += [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    return sorted(found, key=lambda row: (int(row["step"]), sorted(row)))


def assert_same_run(whole, parts):
    assert rows(whole) == rows(parts)
    folders = [max(Path("runs", name).glob("version_*"), key=lambda path: path.name) for name in (whole, parts)]
    first, second = (torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in folders)
    assert first["global_step"] == second["global_step"]
    torch.testing.assert_close(first["state_dict"], second["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(first["optimizer_states"], second["optimizer_states"], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver"])  # the default on Linux to Python 3.13, and after it
def test_ctrl_c_and_sigterm_with_workers(place, monkeypatch, start):
    """To the whole group, as a terminal's Ctrl-C and a batch system's SIGTERM go to the workers as well."""
    monkeypatch.setenv("START_BY", start)
    code, said = pcpad(recipe("whole", 2))
    assert code == 0, said
    code, said = pcpad(recipe("parts", 2), "train-1-2-rank0:SIGINT*")
    assert code == 130, said
    assert "stopped by SIGINT in epoch 1, after step 10" in said
    assert "runs/parts/version_0/checkpoints/last.ckpt" in said
    assert "Traceback" not in said
    code, said = pcpad(command_in(said), "val-1-1-rank0:SIGTERM*")
    assert code == 143, said
    assert "Traceback" not in said
    # From the checkpoint alone: it remembers the seed, too.
    code, said = pcpad(["fit", *command_in(said)[-2:], "--trainer.accelerator=cpu"])
    assert code == 0, said
    assert_same_run("whole", "parts")


@pytest.mark.slow
def test_two_processes_of_which_one_is_told(place):
    two = ["--trainer.strategy=ddp", "--trainer.devices=2"]
    code, said = pcpad(recipe("whole", 0, *two))
    assert code == 0, said
    code, said = pcpad(recipe("parts", 0, *two), "train-0-1-rank0:SIGINT")
    assert code == 130, said
    code, said = pcpad(command_in(said), "val-0-0-rank1:SIGTERM")
    assert code == 143, said
    assert "Traceback" not in said
    code, said = pcpad(command_in(said))
    assert code == 0, said
    assert_same_run("whole", "parts")


@pytest.mark.slow
def test_a_kill_falls_back_to_the_last_save(place):
    code, said = pcpad(recipe("whole", 0))
    assert code == 0, said
    code, said = pcpad(recipe("parts", 0), "train-1-3-rank0:SIGKILL")
    assert code == -signal.SIGKILL, said
    saved = "runs/parts/version_0/checkpoints/last.ckpt"
    assert torch.load(saved, weights_only=True)["global_step"] == 7
    code, said = pcpad([*recipe("parts", 0), "--ckpt_path", saved])
    assert code == 0, said
    # The steps after the last save are logged by both parts, alike.
    assert unique(rows("parts")) == unique(rows("whole"))
    assert len(rows("parts")) > len(rows("whole"))


def unique(found):
    return {tuple(sorted(row.items())) for row in found}


# What is said


def test_the_command_that_goes_on():
    args = ["--config", "my run.yaml", "--ckpt_path", "old.ckpt", "--trainer.max_epochs=3", "--ckpt_path=older.ckpt"]
    command = resume_command("fit", args, Path("runs/a/last.ckpt"))
    assert command == "pcpad fit --config 'my run.yaml' --trainer.max_epochs=3 --ckpt_path runs/a/last.ckpt"


def lightning_exits():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def interrupted():
    raise KeyboardInterrupt


def terminated():
    raise SIGTERMException


@pytest.mark.parametrize(
    ("stop", "code", "name"),
    [(lightning_exits, 130, "SIGINT"), (interrupted, 130, "SIGINT"), (terminated, 143, "SIGTERM")],
)
def test_other_verbs_end_with_the_signals_code_and_without_a_traceback(capsys, stop, code, name):
    with pytest.raises(SystemExit) as end, telling_how_to_resume("test", []):
        stop()
    assert end.value.code == code
    assert capsys.readouterr().err == f"pcpad: stopped by {name}.\n"


def test_before_training_there_is_nothing_to_go_on_from(capsys):
    with pytest.raises(SystemExit), telling_how_to_resume("fit", []):
        interrupted()
    assert "before training began; the same command starts it again" in capsys.readouterr().err


def test_other_exits_pass():
    with pytest.raises(SystemExit) as end, telling_how_to_resume("fit", []):
        sys.exit(2)
    assert end.value.code == 2
