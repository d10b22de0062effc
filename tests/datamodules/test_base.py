"""The contract of data modules: defaults, old names, what little one's own needs, and each sample counted once."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.connectors.data_connector import _DataConnector
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

from pcpad.datamodules import CityscapesDataModule, ImageNetDataModule
from pcpad.datamodules.base import DataModule, UnrepeatedSampler, evaluation_sampler, listed
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.errors import UserError, UserTypeError

# The contract


class Numbers(Dataset):
    """Items of a stranger: asked for positions, drawing from all global generators."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        assert isinstance(index, int)
        draws = torch.tensor([torch.rand(()), random.random(), np.random.rand()], dtype=torch.float64)
        return {"image": draws, "label": index % 2, "path": f"{index}.png"}


class Mine(DataModule):
    """As the docstring of `DataModule` has it."""

    class_names = ("even", "odd")

    def __init__(self, root="x", batch_size=3, num_workers=0):
        super().__init__(root, batch_size=batch_size, num_workers=num_workers)

    def setup(self, stage):
        super().setup(stage)
        self.train, self.val = Numbers(11), Numbers(5)

    def train_dataloader(self):
        return self.training_loader(self.train)

    def val_dataloader(self):
        return self.evaluation_loader(self.val)


def ready(stage="fit", **options):
    data = Mine(**options)
    data.setup(stage)
    return data


def test_every_offer_has_a_default():
    data = DataModule()
    assert (data.class_names, data.class_colors, data.train_ids, data.num_classes) == (None, None, None, None)
    assert (data.batch_size, data.num_workers, data.effective_batch, data.ranks) == (1, 0, None, (1, 0))


def test_the_number_of_classes_is_that_of_their_names_or_what_it_was_set_to():
    data = DataModule()
    data.class_names = ["a", "b", "c"]
    assert data.num_classes == 3
    data.num_classes = 4
    assert data.num_classes == 4
    assert Mine().num_classes == 2
    assert type("Fixed", (DataModule,), {"num_classes": 7})().num_classes == 7


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": 0}, "eval_batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"effective_batch": 0}, "effective_batch"),
    ],
)
def test_values_out_of_range(options, name):
    with pytest.raises(UserError, match=rf"Expected argument `{name}` to be .*at least [01], but got"):
        DataModule(**options)


def test_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert DataModule("~/data").root == tmp_path / "data"


@pytest.mark.parametrize(("old", "new"), [("classes", "class_names"), ("class_colours", "class_colors")])
def test_old_names_read_and_write_the_new_ones_and_warn(old, new):
    data = CityscapesDataModule("x")
    with pytest.warns(FutureWarning, match=rf"CityscapesDataModule\.{old} is called {new} now") as caught:
        assert getattr(data, old) is getattr(data, new)
    assert caught[0].filename == __file__
    with pytest.warns(FutureWarning, match=old):
        assert getattr(CityscapesDataModule, old) is getattr(CityscapesDataModule, new)
    with pytest.warns(FutureWarning, match=old):
        setattr(data, old, ["one"])
    assert getattr(data, new) == ["one"]


def test_new_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ImageNetDataModule("x")
        assert (data.class_names, data.num_classes) == (None, None)
        assert len(CityscapesDataModule.class_colors) == 19


def test_loaders_before_setup_are_an_error_that_says_so():
    with pytest.raises(UserError, match=r"the images are not listed yet: call setup\('fit'\) or setup\('test'\) first"):
        listed(None, "the images", "fit", "test")
    assert listed([], "the images", "fit") == []


def test_another_batch_warns_whether_or_not_setup_is_passed_on():
    class Forgetful(Mine):
        def setup(self, stage):
            self.train = Numbers(11)

    for kind in (Mine, Forgetful):
        data = kind()
        data.effective_batch = 8
        data.trainer = SimpleNamespace(world_size=1, global_rank=0, accumulate_grad_batches=2)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data.setup("fit")
            data.train_dataloader()
        assert len(said) == 1
        assert str(said[0].message).startswith("the recipe assumes 8 images per step, this run takes 6 (batch_size 3")


# One's own data module


def paths(loader):
    return [path for batch in loader for path in batch["path"]]


def images(loader):
    return torch.cat([batch["image"] for batch in loader])


def test_batches_of_a_minimal_data_module(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    data = ready()
    loader = data.train_dataloader()
    first, second = paths(loader), paths(loader)
    assert len(set(first)) == len(set(second)) == 9  # a last batch of two is left out
    assert first != second
    assert paths(data.val_dataloader()) == [f"{index}.png" for index in range(5)]
    assert paths(data.evaluation_loader(Numbers(3), batch_size=1)) == ["0.png", "1.png", "2.png"]


def test_what_items_draw_depends_on_seed_and_epoch_alone(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    alone, workers = ready().train_dataloader(), ready(num_workers=2).train_dataloader()
    epochs = [images(alone), images(alone)]
    assert torch.equal(torch.cat(epochs), torch.cat([images(workers), images(workers)]))
    assert len(torch.cat(epochs).flatten().unique()) == 2 * 9 * 3
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert not torch.equal(epochs[0], images(ready().train_dataloader()))


def test_reading_leaves_the_generators_where_they_were():
    items = ready().train_dataloader().dataset
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    drawn = [items[Crop(number, None, 2**62)]["image"] for number in (0, 1)]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], items[Crop(0, None, 2**62 + 1)]["image"])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


def test_a_data_set_may_ask_for_crops_itself():
    class Seeds(CropDataset):
        def __len__(self):
            return 6

        def __getitem__(self, crop):
            assert isinstance(crop, Crop)
            return crop.file

    batches = list(ready().training_loader(Seeds()))
    assert sorted(torch.cat(batches).tolist()) == list(range(6))


class Recorder(LightningModule):
    """Keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, number):
        self.seen.append(batch["image"])
        return self.weight * batch["image"].float().mean()

    def validation_step(self, batch, number):
        self.validated += batch["path"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, checkpoint=None, data=None, **options):
    seed_everything(1)
    task, saving = Recorder(), ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", callbacks=[saving], **quiet, **options)
    trainer.fit(task, data or Mine(), ckpt_path=checkpoint)
    return task


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Be aware that when using `ckpt_path`")
def test_a_minimal_data_module_trains_and_resumes_within_an_epoch(tmp_path):
    whole = fit(tmp_path / "whole")
    assert len(whole.seen) == 6
    assert whole.weight != 1
    assert whole.validated[-5:] == [f"{index}.png" for index in range(5)]
    rest = fit(tmp_path / "rest", tmp_path / "whole" / "step=2.ckpt")
    assert torch.equal(torch.stack(rest.seen), torch.stack(whole.seen[2:]))
    assert rest.weight == whole.weight


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You requested to overfit")
def test_overfitting_sees_the_same_items_again(tmp_path):
    seen = fit(tmp_path, overfit_batches=1).seen
    assert torch.equal(seen[0], seen[1])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_data_module_of_lightnings_own_trains_too(tmp_path):
    class Plain(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(Numbers(4), batch_size=2)

        def val_dataloader(self):
            return DataLoader(Numbers(2))

    assert len(fit(tmp_path, data=Plain()).seen) == 4


# Each evaluated sample counted once


def numbers(size):
    return TensorDataset(torch.arange(size))


def trainer(world_size, rank=0):
    accelerator = SimpleNamespace(use_distributed_sampler=True, is_distributed=world_size > 1)
    return SimpleNamespace(world_size=world_size, global_rank=rank, _accelerator_connector=accelerator)


@pytest.mark.parametrize(("size", "world_size"), [(2, 2), (5, 2), (8, 2), (3, 3), (5, 3), (7, 3), (5, 4), (8, 4)])
def test_every_sample_goes_to_exactly_one_process(size, world_size):
    seen = []
    for rank in range(world_size):
        sampler = evaluation_sampler(numbers(size), trainer(world_size, rank))
        loader = DataLoader(numbers(size), batch_size=2, sampler=sampler)
        share = torch.cat([batch for (batch,) in loader]).tolist()
        assert len(share) == len(sampler)
        assert share == sorted(share)
        seen += share
    assert sorted(seen) == list(range(size))


def test_torchs_own_sampler_repeats_which_is_why_there_is_another():
    assert sum(len(DistributedSampler(numbers(5), num_replicas=2, rank=rank)) for rank in range(2)) == 6
    assert sum(len(UnrepeatedSampler(numbers(5), num_replicas=2, rank=rank)) for rank in range(2)) == 5


def test_lightning_leaves_it_in_place():
    simulated = trainer(2)
    connector = _DataConnector(simulated)
    loader = DataLoader(numbers(5), sampler=evaluation_sampler(numbers(5), simulated))
    assert not connector._requires_distributed_sampler(loader)
    assert connector._requires_distributed_sampler(DataLoader(numbers(5)))


def test_one_process_needs_no_sampler():
    assert evaluation_sampler(numbers(5), trainer(1)) is None
    assert evaluation_sampler(numbers(5), None) is None


@pytest.mark.faults
@pytest.mark.parametrize("loader", ["training_loader", "prediction_loader"])
def test_a_data_set_without_a_length_is_refused(loader):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield {"image": torch.zeros(1)}

    with pytest.raises(UserTypeError, match=r"a data set with a length and indexed items, but got Stream"):
        getattr(DataModule(), loader)(Stream())
    with pytest.raises(UserTypeError, match="got Stream"):
        evaluation_sampler(Stream(), trainer(2))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_fewer_samples_than_processes_stops_every_process(rank):
    with pytest.raises(ValueError, match=r"2 images cannot be distributed over 3 processes.*--trainer\.devices 2"):
        evaluation_sampler(numbers(2), trainer(3, rank))


# Processes that read and end badly


class Ending(Numbers):
    """Whose third item ends the worker, and with it what the loader is for."""

    def __init__(self, how):
        super().__init__(12)
        self.how = how

    def __getitem__(self, index):
        if index == 3:
            if self.how == "no memory":
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), used + (1 << 28)))
                return {"image": torch.ones(1 << 30)}
            os.kill(os.getpid(), self.how)
        return super().__getitem__(index)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("loader", ["training_loader", "evaluation_loader", "prediction_loader"])
@pytest.mark.parametrize("how", ["no memory", signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_ends_badly_ends_the_run_at_once(loader, how):
    data = Mine(num_workers=2)
    began = time.monotonic()
    with pytest.raises((RuntimeError, MemoryError), match="worker"):
        list(getattr(data, loader)(Ending(how)))
    assert time.monotonic() - began < 120  # no waiting for what never comes


SHARED = """
import sys
import torch
from torch.utils.data import Dataset
from pcpad.commands.errors import clean_errors
from pcpad.datamodules.base import DataModule

class Large(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"image": torch.ones(2_000_000)}

data = DataModule(batch_size=2, num_workers=2)
with clean_errors():
    for batch in getattr(data, sys.argv[1])(Large()):
        print(len(batch["image"]))
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("loader", ["training_loader", "evaluation_loader", "prediction_loader"])
def test_a_full_shared_memory_is_a_sentence(loader):
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("no /dev/shm of its own for a process here")
    command = [*mount, sys.executable, "-c", SHARED, loader]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "/dev/shm" in done.stderr
    assert "lower --data.num_workers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    before = fit(tmp_path / "a")
    now = [2e9]

    def earlier():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    after = fit(tmp_path / "b")
    assert torch.equal(torch.stack(after.seen), torch.stack(before.seen))
