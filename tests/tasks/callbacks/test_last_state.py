"""The last state of a run is validated and saved, once, whatever ends it."""

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from pcpad.datamodules.base import DataModule
from pcpad.tasks import Task
from pcpad.tasks.callbacks import BestAndLast, LastState, RunResults

pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*TreeSpec"),
]


class Counting(Task):
    """Remembers at which steps it was validated."""

    def __init__(self):
        super().__init__(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        self.network = nn.Linear(2, 1)
        self.validated, self.trained = [], []

    def training_step(self, batch, batch_idx):
        self.trained += batch[:, 0].tolist()
        return self.log_loss(self.network(batch).square().mean(), len(batch))

    def on_validation_epoch_start(self):
        super().on_validation_epoch_start()
        self.validated.append(self.global_step)

    def validation_step(self, batch, batch_idx):
        self.log("val/steps", float(self.global_step))


class Numbers(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.ones(6, 2), batch_size=2)  # three steps an epoch

    def val_dataloader(self):
        return DataLoader(torch.ones(2, 2), batch_size=2)


class StopAt(Callback):
    """As a timer stops a run: in the middle of an epoch."""

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.should_stop or trainer.global_step == 4


@pytest.mark.parametrize(
    ("options", "stop", "steps"),
    [
        ({"max_steps": 8, "check_val_every_n_epoch": 2}, None, [6, 8]),
        ({"max_steps": 8}, None, [3, 6, 8]),
        ({"max_steps": 6}, None, [3, 6]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, None, [6, 9]),
        ({"max_epochs": 2}, None, [3, 6]),
        ({"max_epochs": 2, "val_check_interval": 2}, None, [2, 5, 6]),
        ({"max_epochs": 9, "check_val_every_n_epoch": 2}, StopAt(), [4]),
        ({"max_epochs": 2, "limit_val_batches": 0}, None, []),
        ({"max_steps": 3, "accumulate_grad_batches": 3, "check_val_every_n_epoch": 2}, None, [2, 3]),
    ],
)
def test_what_ends_a_run_is_followed_by_a_look_at_it(tmp_path, options, stop, steps):
    task, saved, results = Counting(), BestAndLast("val/steps" if steps else None), RunResults("val/steps")
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    callbacks = [LastState(), saved, results, *([stop] if stop else [])]
    trainer = Trainer(default_root_dir=tmp_path, num_sanity_val_steps=0, callbacks=callbacks, **quiet, **options)
    trainer.fit(task, Numbers())
    assert task.validated == steps
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == trainer.global_step
    if steps:
        assert results.summary()["best"] == steps[-1]
        assert float(saved.best_model_score) == steps[-1], "and it counts among the best"


class Positions(DataModule):
    """Its loader keeps its position."""

    def __init__(self):
        super().__init__(batch_size=2)

    def train_dataloader(self):
        return self.training_loader(torch.arange(12.0).reshape(12, 1).expand(12, 2))

    def val_dataloader(self):
        return self.evaluation_loader(torch.ones(2, 2))


@pytest.mark.parametrize(
    "options", [{}, {"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}], ids=["each", "second", "none"]
)
def test_what_ends_within_an_epoch_resumes_with_the_rest_of_it(tmp_path, options):
    def trained(folder, resume=None, **limits):
        task, quiet = Counting(), {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = Trainer(
            callbacks=[LastState(), BestAndLast(dirpath=folder)],
            **{"accelerator": "cpu", "num_sanity_val_steps": 0, **quiet, **options, **limits},
        )
        trainer.fit(task, Positions(), ckpt_path=resume, weights_only=True)
        return task.trained

    whole = trained(tmp_path / "whole", max_steps=9)
    first = trained(tmp_path / "first", max_steps=4)
    saved = torch.load(tmp_path / "first" / "last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (0, 4)
    assert first + trained(tmp_path / "rest", tmp_path / "first" / "last.ckpt", max_steps=9) == whole
    assert sorted(whole[:12]) == list(range(12))
