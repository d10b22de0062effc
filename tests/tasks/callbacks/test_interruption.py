"""A run that was told to stop and goes on equals one that never stopped: weights, optimizers, logged values."""

import csv
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric

from pcpad.datamodules.base import DataModule
from pcpad.tasks import Task
from pcpad.tasks.callbacks import BestAndLast, Interruption, LastState, RandomState
from pcpad.tasks.callbacks.interruption import Interrupted

pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*TreeSpec", "ignore:.*eval mode"),
]
TRAIN, BATCH = 14, 2  # seven batches an epoch


class Drawn(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.cat([torch.rand(3), torch.tensor([float(index)])])


class Numbers(DataModule):
    def __init__(self, num_workers=0):
        super().__init__(batch_size=BATCH, num_workers=num_workers)

    def train_dataloader(self):
        return self.training_loader(Drawn(TRAIN))

    def val_dataloader(self):
        return self.evaluation_loader(torch.arange(20.0).reshape(5, 4))


class Measured(Task):
    """Draws, keeps statistics, and logs by step, by epoch and by metrics of its own."""

    def __init__(self, plateau=False):
        super().__init__(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9))
        self.plateau = plateau
        self.network = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
        self.average, self.by_hand = MeanMetric(), MeanMetric()
        self.interrupt = {}  # by place: the signal

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        if self.plateau:
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.7)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def at(self, *place):
        number = self.interrupt.pop(place, None)
        if number is not None:
            os.kill(os.getpid(), number)

    def training_step(self, batch, batch_idx):
        loss = self.network(batch).square().mean()
        self.at("train", self.current_epoch, batch_idx)
        self.log("train/epoch", loss, on_step=False, on_epoch=True)
        self.log("train/both", loss * 2, on_step=True, on_epoch=True)
        self.average(loss.detach())
        self.log("train/metric", self.average, on_step=False, on_epoch=True)
        self.by_hand.update(loss.detach())
        return self.log_loss(loss, len(batch))

    def on_train_epoch_end(self):
        self.log("train/by_hand", self.by_hand.compute())
        self.by_hand.reset()
        self.at("epoch end", self.current_epoch)

    def validation_step(self, batch, batch_idx):
        stage = "sanity" if self.trainer.sanity_checking else "val"
        loss = self.network(batch).square().mean() + torch.rand(())
        self.at(stage, self.current_epoch, batch_idx)
        self.log("val/loss", loss)


QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "log_every_n_steps": 1}


def run(folder, interrupt=None, resume=None, workers=0, callbacks=(), data=None, plateau=False, **options):
    """Train for three epochs, or until interrupted; the interruption, or None."""
    seed_everything(3)
    task = Measured(plateau)
    task.interrupt = dict(interrupt or {})
    version = len(list(folder.glob("version_*")))
    last = BestAndLast("val/loss", "min")
    ours = [RandomState(), Interruption(), LastState(), last, *(make() for make in callbacks)]
    logger = CSVLogger(folder, name=None, version=version)
    limits = {"max_epochs": 3} | ({} if "max_steps" not in options else {"max_epochs": None})
    trainer = Trainer(callbacks=ours, logger=logger, **{**QUIET, **limits, **options})
    try:
        trainer.fit(task, data or Numbers(workers), ckpt_path=resume, weights_only=True)
    except Interrupted as stop:
        return stop
    assert not task.interrupt, "it got there"
    return None


def outcome(folder):
    """The rows that all parts of a run have logged, and its last checkpoint."""
    rows = []
    for path in sorted(folder.glob("version_*/metrics.csv")):
        with path.open() as file:
            rows += [{key: value for key, value in row.items() if value != ""} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: (int(row["step"]), sorted(row)))
    newest = max(folder.glob("version_*/checkpoints/last.ckpt"), key=lambda path: int(path.parts[-3].split("_")[1]))
    saved = torch.load(newest, weights_only=True)
    return rows, {
        key: saved[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")
    }


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_same_run(whole, parts):
    (rows, saved), (other_rows, other_saved) = outcome(whole), outcome(parts)
    assert len(rows) > 10
    differing = [(a, b) for a, b in zip(rows, other_rows, strict=False) if a != b]
    assert len(rows) == len(other_rows), differing[:2] or (rows[-3:], other_rows[-3:])
    assert not differing, f"{len(differing)} of {len(rows)} rows differ, first {differing[0]}"
    for key in saved:
        assert same(saved[key], other_saved[key]), (key, saved[key], other_saved[key])


INT, TERM = signal.SIGINT, signal.SIGTERM
CASES = {
    "first step": ([{("train", 0, 0): INT}], {}),
    "within an epoch": ([{("train", 1, 3): INT}], {}),
    "last step of an epoch": ([{("train", 0, 6): INT}], {}),
    "last step": ([{("train", 2, 6): TERM}], {}),
    "validation": ([{("val", 1, 1): TERM}], {}),
    "last batch of validation": ([{("val", 1, 2): INT}], {}),
    "last validation": ([{("val", 2, 0): INT}], {}),
    "sanity check": ([{("sanity", 0, 0): INT}], {}),
    "end of an epoch": ([{("epoch end", 0): TERM}], {}),
    "twice, at the same place": ([{("val", 1, 1): INT}, {("val", 1, 0): INT}], {}),
    "twice in an epoch": ([{("train", 1, 2): INT}, {("train", 1, 3): TERM}, {("train", 1, 6): INT}], {}),
    "twice within a step": ([{("train", 1, 2): TERM, ("train", 1, 3): INT}], {"accumulate_grad_batches": 2}),
    "accumulation": ([{("train", 1, 4): INT}], {"accumulate_grad_batches": 3}),
    "accumulation's end": ([{("train", 1, 6): INT}], {"accumulate_grad_batches": 3}),
    "validation within an epoch": ([{("val", 1, 1): INT}], {"val_check_interval": 3}),
    "step before such a validation": ([{("train", 1, 2): INT}], {"val_check_interval": 3}),
    "step after such a validation": ([{("train", 1, 3): INT}], {"val_check_interval": 3}),
    "steps": ([{("train", 1, 2): INT}], {"max_steps": 12}),
    "last of the steps": ([{("train", 1, 4): INT}], {"max_steps": 12}),
    "validation after the last of the steps": ([{("val", 1, 2): TERM}], {"max_steps": 12}),
    "end of an epoch, in steps": ([{("train", 0, 6): INT}], {"max_steps": 12}),
    "sanity check, in steps": ([{("sanity", 0, 1): INT}], {"max_steps": 12}),
    "epoch without validation": ([{("train", 0, 6): INT}], {"check_val_every_n_epoch": 2}),
    "next epoch": ([{("train", 1, 0): INT}], {"check_val_every_n_epoch": 2}),
    "no validation": ([{("train", 1, 6): INT}], {"limit_val_batches": 0}),
    "part of an epoch": ([{("train", 1, 1): INT}, {("train", 1, 4): INT}], {"limit_train_batches": 5}),
    "averaged weights": ([{("train", 1, 1): INT}, {("val", 1, 1): INT}], {"callbacks": [EMAWeightAveraging]}),
    "plateau": ([{("train", 1, 3): INT}], {"plateau": True}),
    "plateau, in validation": ([{("val", 1, 1): INT}], {"plateau": True, "check_val_every_n_epoch": 1}),
    "workers": ([{("train", 1, 3): INT}, {("val", 1, 0): TERM}], {"workers": 2}),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of an uninterrupted run, by its options."""
    folders = {}

    def folder(options):
        if repr(options) not in folders:
            folders[repr(options)] = tmp_path_factory.mktemp("whole")
            assert run(folders[repr(options)], **options) is None
        return folders[repr(options)]

    return folder


@pytest.mark.parametrize("case", CASES)
def test_going_on_equals_never_having_stopped(tmp_path, uninterrupted, case):
    interruptions, options = CASES[case]
    parts, resume = tmp_path / "parts", None
    for interrupt in interruptions:
        stop = run(parts, interrupt, resume, **options)
        assert stop is not None, "it stopped"
        assert stop.code == 128 + next(iter(interrupt.values()))
        assert not stop.notes
        resume = stop.file
    assert run(parts, None, resume, **options) is None
    assert_same_run(uninterrupted(options), parts)
    assert signal.getsignal(INT) is signal.default_int_handler
    assert signal.getsignal(TERM) is signal.SIG_DFL
