"""Numbers of evaluations on two processes: each sample once, whoever made the loader, however they are logged."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from lightning.pytorch.trainer.states import RunningStage
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from pcpad.datamodules.base import DataModule
from pcpad.tasks.base import Task
from pcpad.tasks.counting import count_each_once

VALUES = (1.0, 2.0, 4.0, 8.0, 16.0)


class Values(Task):
    """Logs what its samples are, as tasks of people's own do."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(1, 1)

    def _shared_step(self, batch, stage):
        value = batch["image"].mean()
        self.log(f"{stage}/explicit", value, batch_size=len(batch["image"]), sync_dist=True)
        self.log(f"{stage}/plain", value)
        self.log(f"{stage}/half", value.bfloat16(), True)  # for the progress bar, by position
        self.log_dict({f"{stage}/sum": batch["image"].sum()}, reduce_fx="sum")
        self.log(f"{stage}/most", batch["image"].max(), reduce_fx="max")

    def validation_step(self, batch, batch_idx):
        self._shared_step(batch, "val")

    def test_step(self, batch, batch_idx):
        self._shared_step(batch, "test")

    def training_step(self, batch, batch_idx):
        value = batch["image"].mean()
        return self.log_loss(self.network(batch["image"]).mean() * 0 + value, 1, {"twice": 2 * value})

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)


def items(count=5):
    return [{"image": torch.tensor([value])} for value in VALUES[:count]]


class Ours(DataModule):
    def __init__(self, count=5):
        super().__init__(eval_batch_size=2)
        self.items = items(count)

    def train_dataloader(self):
        return self.training_loader(self.items)

    def val_dataloader(self):
        return self.evaluation_loader(self.items)

    test_dataloader = val_dataloader


class Plain(LightningDataModule):
    """Loaders that Lightning shares out."""

    def __init__(self, count=5):
        super().__init__()
        self.items = items(count)

    def val_dataloader(self):
        return DataLoader(self.items, batch_size=2)

    test_dataloader = val_dataloader


class Repeating(Plain):
    """A sampler of torch's, as people's own data modules have it."""

    def test_dataloader(self):
        return DataLoader(self.items, batch_size=2, sampler=DistributedSampler(self.items, shuffle=False))

    val_dataloader = test_dataloader


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Makes a trainer of two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from

    def make(**options):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        quiet |= {"enable_checkpointing": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0}
        return Trainer(**quiet | {"devices": 2, "strategy": "ddp_fork", "max_epochs": 1} | options)

    yield make
    torch.set_num_threads(threads)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("data", [Ours, Plain, Repeating])
def test_five_samples_on_two_processes_are_five(two, data):
    (tested,) = two().test(Values(), data(), verbose=False)
    (validated,) = two().validate(Values(), data(), verbose=False)
    mean = sum(VALUES) / len(VALUES)
    expected = {"explicit": mean, "plain": mean, "half": mean, "sum": sum(VALUES), "most": max(VALUES)}
    assert tested == pytest.approx({f"test/{name}": value for name, value in expected.items()}, rel=1e-6)
    assert validated == pytest.approx({f"val/{name}": value for name, value in expected.items()}, rel=1e-6)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.own_process
def test_a_training_loss_is_the_mean_of_the_processes_losses(two):
    run = two(limit_train_batches=1, limit_val_batches=0)
    run.fit(Values(), Ours(2))
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert found == {"train/loss": 1.5, "train/twice": 3.0}


class Numbers(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index


def prepared(size, rank, mode=RunningStage.TESTING, strategy=DDPStrategy, shuffle=False):
    """What a trainer of three processes gets of a loader with a sampler that repeats."""
    connector = SimpleNamespace(_prepare_dataloader=lambda dataloader, shuffle, mode: dataloader)
    strategy = strategy.__new__(strategy)
    count_each_once(trainer := SimpleNamespace(world_size=3, strategy=strategy, _data_connector=connector))
    count_each_once(trainer)  # changes nothing
    assert not hasattr(connector._prepare_dataloader.prepare, "prepare")
    sampler = DistributedSampler(Numbers(size), 3, rank, shuffle=shuffle)
    loader = DataLoader(Numbers(size), batch_size=2, sampler=sampler)
    return connector._prepare_dataloader(loader, shuffle=False, mode=mode)


def seen(loader):
    return [int(number) for batch in loader for number in batch]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [3, 4, 5, 6, 7])
def test_loaders_repeat_nothing(size, shuffle):
    shares = [prepared(size, rank, shuffle=shuffle) for rank in range(3)]
    assert sorted(number for share in shares for number in seen(share)) == list(range(size))
    assert all(len(share) == len(list(share)) for share in shares)


def test_training_takes_equally_many_steps_everywhere():
    assert [len(seen(prepared(7, rank, RunningStage.TRAINING))) for rank in range(3)] == [3, 3, 3]


def test_too_few_samples_are_refused():
    for rank in range(3):
        with pytest.raises(ValueError, match=r"2 samples cannot be shared out over 3 processes.*--trainer\.devices 2"):
            prepared(2, rank)


def test_strategies_that_need_equally_many_steps_are_not_left_waiting():
    with pytest.raises(ValueError, match=r"7 samples .* FSDPStrategy needs it: .*--trainer\.strategy ddp.* or 6"):
        prepared(7, 0, strategy=FSDPStrategy)
    assert seen(prepared(6, 0, strategy=FSDPStrategy)) == [0, 3]


def test_one_process_is_left_alone():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    count_each_once(trainer)
    assert "_prepare_dataloader" not in vars(trainer._data_connector)
