"""A run that was told to stop and goes on equals one that never stopped: weights, optimizers, logged values."""

import csv
import os
import signal
import time

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric

from pcpad.datamodules.base import DataModule
from pcpad.errors import UserValueError
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


class Ends(Callback):
    """As a timer ends a run: within an epoch."""

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.should_stop or trainer.global_step == 10


EXTENSIONS = {
    "steps within an epoch": ({"max_steps": 10}, {"max_steps": 16}),
    "steps, to epochs": ({"max_steps": 10}, {}),
    "steps of a first epoch": ({"max_steps": 3}, {"max_steps": 16}),
    "steps of a whole epoch": ({"max_steps": 7}, {"max_steps": 16}),
    "a callback": ({"callbacks": [Ends]}, {}),
    "seldom validated": ({"max_steps": 10, "check_val_every_n_epoch": 2}, {"check_val_every_n_epoch": 2}),
    "just validated": ({"max_steps": 10, "val_check_interval": 3}, {"val_check_interval": 3}),
    "often validated": ({"max_steps": 11, "val_check_interval": 3}, {"val_check_interval": 3}),
    "not validated": ({"max_steps": 10, "limit_val_batches": 0}, {"limit_val_batches": 0}),
}


@pytest.mark.parametrize("case", EXTENSIONS)
def test_an_extended_run_equals_one_that_was_as_long_from_the_start(tmp_path, uninterrupted, case):
    short, long = EXTENSIONS[case]
    assert run(tmp_path, **short) is None
    assert run(tmp_path, resume=tmp_path / "version_0/checkpoints/last.ckpt", **long) is None
    expected_rows, expected = outcome(uninterrupted(long))
    rows, saved = outcome(tmp_path)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(saved[key], expected[key]), key
    for counted in ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict", "state_dict"):
        assert saved["loops"]["fit_loop"][counted] == expected["loops"]["fit_loop"][counted], counted
    assert [row for row in expected_rows if row not in rows] == [], "steps and the averages of whole epochs"


def flat(batches):
    return [sample for batch in batches for sample in batch]


class Batched(Numbers):
    """Remembers the samples of each batch."""

    def __init__(self, size):
        super().__init__()
        self.batch_size, self.batches = size, []

    def on_after_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training:
            self.batches.append(batch[:, 3].tolist())
        return batch


@pytest.mark.parametrize(("seen", "size", "steps"), [(6, 2, 4), (6, 3, 2), (6, 4, 2), (6, 8, 1), (2, 6, 2)])
def test_an_epoch_resumes_in_batches_of_another_size(tmp_path, seen, size, steps):
    stop = run(tmp_path, {("train", 0, 0): INT}, data=Batched(seen))
    data = Batched(size)
    assert run(tmp_path, resume=stop.file, data=data, max_epochs=2) is None
    whole = Batched(BATCH)
    assert run(tmp_path / "whole", data=whole, max_epochs=1) is None
    assert flat(data.batches[:steps]) == flat(whole.batches)[seen : seen + steps * size]
    assert len(data.batches) == steps + TRAIN // size, "and then the next epoch"
    _, saved = outcome(tmp_path)
    assert saved["global_step"] == 1 + len(data.batches)
    rows, _ = outcome(tmp_path)
    assert sum("val/loss" in row for row in rows) == 2


def test_a_batch_larger_than_what_is_left_of_an_epoch_is_refused(tmp_path):
    stop = run(tmp_path, {("train", 0, 4): INT})
    with pytest.raises(UserValueError, match=r"last\.ckpt: what is left of its epoch does not fill a step"):
        run(tmp_path, resume=stop.file, data=Batched(7))


@pytest.mark.parametrize("size", [3, 7])
def test_after_a_whole_epoch_a_run_resumes_in_batches_of_any_size(tmp_path, size):
    stop = run(tmp_path, {("train", 0, 6): INT})
    data = Batched(size)
    assert run(tmp_path, resume=stop.file, data=data, max_epochs=2) is None
    assert len(data.batches) == TRAIN // size
    assert sum("val/loss" in row for row in outcome(tmp_path)[0]) == 2


def test_a_run_that_is_not_extended_stays_as_it_is(tmp_path):
    assert run(tmp_path, max_steps=10) is None
    first = outcome(tmp_path)
    last = tmp_path / "version_0/checkpoints/last.ckpt"
    assert run(tmp_path, resume=last, max_steps=10) is None
    assert not (tmp_path / "version_1/checkpoints/last.ckpt").exists()
    assert same(outcome(tmp_path)[1], first[1])


class Twice(Callback):
    """Ctrl-C twice within a step, a while apart."""

    def on_before_backward(self, trainer, *args):
        if trainer.global_step == 9:
            os.kill(os.getpid(), INT)
            time.sleep(1.1)
            os.kill(os.getpid(), INT)


def test_a_second_ctrl_c_stops_at_once(tmp_path, uninterrupted, capfd):
    stop = run(tmp_path, callbacks=[Twice])
    assert (stop.code, stop.file.name) == (130, "last.ckpt")
    assert "Ctrl-C stops at once" in capfd.readouterr().err
    assert stop.notes == ["So the file is the last one saved before."]
    assert torch.load(stop.file, weights_only=True)["global_step"] == 7
    assert run(tmp_path, resume=stop.file) is None
    rows, saved = outcome(tmp_path)
    expected_rows, expected = outcome(uninterrupted({}))
    assert same(saved, expected)
    assert [row for row in expected_rows if row not in rows] == []


def test_a_second_ctrl_c_at_once_counts_as_the_first(tmp_path):
    """As torchrun sends it, beside the terminal."""

    class Both(Callback):
        def on_before_backward(self, trainer, *args):
            os.kill(os.getpid(), INT)
            os.kill(os.getpid(), INT)

    stop = run(tmp_path, callbacks=[Both])
    assert stop.where == "in epoch 0, after step 1"


def test_signals_that_someone_else_has_taken_are_theirs(tmp_path):
    seen = []
    before = signal.signal(INT, lambda number, frame: seen.append(number))
    try:
        assert run(tmp_path, {("train", 1, 3): INT}) is None
        assert seen == [INT]
        assert signal.getsignal(INT) is not signal.default_int_handler
    finally:
        signal.signal(INT, before)


def test_someone_elses_handler_of_sigterm_is_called_and_the_run_stops(tmp_path, uninterrupted):
    seen = []
    before = signal.signal(TERM, lambda number, frame: seen.append(number))
    try:
        stop = run(tmp_path, {("val", 1, 1): TERM})
    finally:
        signal.signal(TERM, before)
    assert (seen, stop.code) == ([TERM], 143)
    assert run(tmp_path, resume=stop.file) is None
    assert_same_run(uninterrupted({}), tmp_path)


def test_slurms_signal_requeues_from_a_whole_state(tmp_path, uninterrupted, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "lightning.pytorch.trainer.connectors.signal_connector.call", lambda cmd: calls.append(cmd) or 0
    )
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(SLURMEnvironment, "world_size", lambda self: 1)
    monkeypatch.setattr(SLURMEnvironment, "global_rank", lambda self: 0)
    monkeypatch.setattr(SLURMEnvironment, "local_rank", lambda self: 0)
    slurm = {"plugins": [SLURMEnvironment(auto_requeue=True)], "default_root_dir": tmp_path / "hpc"}
    stop = run(tmp_path, {("train", 1, 3): signal.SIGUSR1}, **slurm)
    assert stop.code == 128 + signal.SIGUSR1
    assert calls == [["scontrol", "requeue", "17"]]
    assert stop.notes == ["SLURM was asked to requeue the job, which resumes by itself."]
    assert run(tmp_path, **slurm) is None, "and finds by itself where it was"
    assert_same_run(uninterrupted({}), tmp_path)


class Plain(LightningDataModule):
    """Loaders without a position."""

    def train_dataloader(self):
        return DataLoader(torch.ones(14, 4), batch_size=2)

    def val_dataloader(self):
        return DataLoader(torch.ones(2, 4), batch_size=2)


def test_a_loader_without_a_position_is_named(tmp_path):
    stop = run(tmp_path, {("train", 0, 3): INT}, data=Plain())
    assert any("(DataLoader) keeps no position" in note for note in stop.notes)
    assert run(tmp_path, {("train", 0, 6): INT}, data=Plain()).notes == [], "nothing of the epoch is left"


def test_a_run_that_keeps_no_checkpoints_says_so(tmp_path):
    task = Measured()
    task.interrupt = {("train", 0, 3): INT}
    trainer = Trainer(callbacks=[Interruption()], logger=False, enable_checkpointing=False, max_epochs=1, **QUIET)
    with pytest.raises(Interrupted) as stop:
        trainer.fit(task, Numbers())
    assert (stop.value.file, stop.value.notes) == (None, ["Nothing was saved: this run keeps no checkpoints."])


def test_another_checkpoint_callback_saves_as_well(tmp_path, uninterrupted):
    task = Measured()
    task.interrupt = {("train", 0, 3): INT}
    saver = ModelCheckpoint(dirpath=tmp_path)
    trainer = Trainer(callbacks=[Interruption(), saver], logger=False, max_epochs=1, **QUIET)
    with pytest.raises(Interrupted) as stop:
        trainer.fit(task, Numbers())
    assert stop.value.file == tmp_path / "last.ckpt"
    assert torch.load(stop.value.file, weights_only=True)["global_step"] == 4
