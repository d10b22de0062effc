"""When a schedule is stepped."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim import SGD, lr_scheduler
from torch.utils.data import DataLoader

from pcpad.errors import UserValueError
from pcpad.tasks import GaussianFilteringTask


def cosine(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)


def descent(parameters):
    return SGD(parameters, lr=0.001)


def task(scheduler=cosine, **options):
    torch.manual_seed(1)  # with some weights and images the loss is not finite
    return GaussianFilteringTask(width=2, optimizer=descent, scheduler=scheduler, **options)


def last_rate(task, folder):
    items = [{"image": torch.rand(3, 16, 16), "target": torch.rand(3, 16, 16)} for _ in range(3)]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(**quiet, default_root_dir=folder, enable_checkpointing=False, max_epochs=2)
    trainer.fit(task, DataLoader(items))
    (config,) = trainer.lr_scheduler_configs
    return config.scheduler.get_last_lr()[0]


def test_the_option_says_when_a_schedule_is_stepped(tmp_path):
    assert last_rate(task(scheduler_interval="step"), tmp_path) == pytest.approx(0, abs=1e-9)
    with pytest.warns(UserWarning, match="CosineAnnealingLR is stepped once per epoch.*interval step.*would fit"):
        assert last_rate(task(), tmp_path) == pytest.approx(0.00075)


def test_the_usual_interval_is_that_of_the_class():
    def polynomial(optimizer):
        return lr_scheduler.PolynomialLR(optimizer, total_iters=6)

    assert task(polynomial).configure_optimizers()["lr_scheduler"]["interval"] == "step"
    assert task(polynomial, scheduler_interval="epoch").configure_optimizers()["lr_scheduler"]["interval"] == "epoch"
    assert task().configure_optimizers()["lr_scheduler"]["interval"] == "epoch"


@pytest.mark.faults
def test_intervals_that_do_not_exist_or_fit_are_refused():
    with pytest.raises(UserValueError, match="`scheduler_interval` to be 'step', 'epoch' or None, but got 'batch'"):
        task(scheduler_interval="batch")

    def plateau(optimizer):
        return ReduceLROnPlateau(optimizer, monitor="val/mse")

    with pytest.raises(UserValueError, match="ReduceLROnPlateau waits for a metric"):
        task(plateau, scheduler_interval="step").configure_optimizers()
