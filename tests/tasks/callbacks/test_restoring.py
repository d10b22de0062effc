"""Checkpoints whose states no run has written: each is refused in a sentence that names the file and the entry."""

import copy
import random
import warnings

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torchmetrics import MeanMetric

from pcpad.datamodules.base import DataModule
from pcpad.errors import UserError, UserValueError
from pcpad.tasks import Task
from pcpad.tasks.callbacks import BestAndLast, Interruption, OptimizerOnResume, RandomState
from pcpad.tasks.callbacks.interruption import Interrupted
from pcpad.tasks.callbacks.restoring import SoundStates, refuse_odd

pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*TreeSpec", "ignore:.*eval mode"),
]


class Numbers(DataModule):
    def __init__(self):
        super().__init__(batch_size=2, num_workers=0)

    def train_dataloader(self):
        return self.training_loader(torch.linspace(0, 1, 24).reshape(6, 4))

    def val_dataloader(self):
        return self.evaluation_loader(torch.linspace(0, 1, 8).reshape(2, 4))


class Measured(Task):
    def __init__(self, optimizer="Adam", interrupt=-1):
        super().__init__(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01))
        self.kind, self.interrupt = optimizer, interrupt
        self.network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
        self.average = MeanMetric()

    def configure_optimizers(self):
        options = {"momentum": 0.9} if self.kind == "SGD" else {}
        optimizer = getattr(torch.optim, self.kind)(self.parameters(), lr=0.01, **options)
        if self.kind == "SGD":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        else:
            first, then = (torch.optim.lr_scheduler.StepLR(optimizer, 3), torch.optim.lr_scheduler.MultiStepLR)
            schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [first, then(optimizer, [4, 9])], [2])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}

    def training_step(self, batch, batch_idx):
        loss = self.network(batch).square().mean()
        self.log("train/both", loss, on_step=True, on_epoch=True)
        self.average(loss.detach())
        self.log("train/metric", self.average, on_step=False, on_epoch=True)
        if self.global_step == self.interrupt:
            self.trainer.callbacks[0].signals.received = 15
        return self.log_loss(loss, len(batch))

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.network(batch).square().mean())


def run(folder, task, resume=None, epochs=2):
    seed_everything(3)
    ours = [
        Interruption(),
        SoundStates(),
        RandomState(),
        OptimizerOnResume(),
        BestAndLast("val/loss", "min", str(folder)),
    ]
    trainer = Trainer(
        callbacks=[*ours, EarlyStopping("val/loss")],
        logger=False,
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, Numbers(), ckpt_path=resume, weights_only=True)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Checkpoints at the end of an epoch and within one, by two optimizers and schedules."""
    found = {}
    for kind, interrupt in (("Adam", 4), ("SGD", 4), ("Adam", -1), ("SGD", -1)):
        folder = tmp_path_factory.mktemp("whole")
        try:
            run(folder, Measured(kind, interrupt))
        except Interrupted:
            assert interrupt > 0
        found[kind, interrupt] = torch.load(folder / "last.ckpt", weights_only=True)
    return found


def places(value, path=()):
    """The ways to every part of a checkpoint's states."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        if not path and key not in STATES:
            continue
        yield (*path, key)
        if not isinstance(item, (list, tuple)) or len(item) < 20:  # numbers of a random state
            yield from places(item, (*path, key))


STATES = ("callbacks", "loops", "optimizer_states", "lr_schedulers", "pcpad_interruption", "state_dict", "epoch")
STATES += ("global_step", "pytorch-lightning_version", "class_names", "trained_with")
GONE = object()
ODD = ("words", None, [], {"a": "b"}, -1, 1 << 70, torch.ones(2, 5), [{"a": 1}], GONE)


def changed(content, path, value):
    """A copy with something else at a place."""
    found = whole = copy.deepcopy(content)
    for key in path[:-1]:
        if isinstance(found[key], tuple):
            found[key] = list(found[key])
        found = found[key]
    if value is GONE:
        del found[path[-1]]
    else:
        found[path[-1]] = value
    return whole


def outcome(folder, content, kind):
    """How a run goes on from a checkpoint: None for to its end."""
    path = folder / "odd.ckpt"
    torch.save(content, path)
    try:
        run(folder / "on", Measured(kind), path, epochs=3)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("kind", "path", "value", "words"),
    [
        ("Adam", ("callbacks", "RandomState", "torch"), "words", "`callbacks` (of RandomState)"),
        ("Adam", ("callbacks", "RandomState", "numpy", "state"), [], "`callbacks` (of RandomState)"),
        ("Adam", ("callbacks", "RandomState", "python"), (3, [1, 2], None), "`callbacks` (of RandomState)"),
        ("Adam", ("loops", "fit_loop"), None, "`loops`"),
        ("Adam", ("loops", "fit_loop", "epoch_progress", "current", "completed"), "two", "`loops`"),
        ("Adam", ("loops", "fit_loop", "epoch_loop.batch_progress", "total", "ready"), -3, "`loops`"),
        ("Adam", ("optimizer_states",), [], "`optimizer_states`"),
        ("Adam", ("optimizer_states", 0, "param_groups", 0, "lr"), "fast", "param_groups[0].lr"),
        ("Adam", ("optimizer_states", 0, "state", 0, "exp_avg"), torch.ones(2, 5), "a parameter's exp_avg"),
        ("Adam", ("optimizer_states", 0, "state", 0, "exp_avg_sq"), GONE, "has no 'exp_avg_sq'"),
        ("Adam", ("optimizer_states", 0, "state", 0, "step"), "one", "`optimizer_states`"),
        ("SGD", ("optimizer_states", 0, "state", 0, "momentum_buffer"), [1.0], "a parameter's momentum_buffer"),
        ("SGD", ("lr_schedulers", 0, "best"), "good", "ReduceLROnPlateau.best"),
        ("SGD", ("lr_schedulers", 0, "step"), 3, "ReduceLROnPlateau keeps no 'step'"),
        ("Adam", ("lr_schedulers",), "words", "`lr_schedulers`"),
        ("Adam", ("pcpad_interruption", "processes"), "words", "`pcpad_interruption`"),
    ],
)
def test_an_odd_state_is_named(contents, tmp_path, kind, path, value, words):
    interrupt = 4 if path[0] == "pcpad_interruption" else -1
    found = outcome(tmp_path, changed(contents[kind, interrupt], path, value), kind)
    assert found is not None
    assert found.startswith(f"{tmp_path / 'odd.ckpt'}: its entry")
    assert words in found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "interrupt"), [("Adam", 4), ("SGD", 4), ("Adam", -1), ("SGD", -1)])
def test_any_odd_state_ends_in_a_sentence_or_not_at_all(contents, tmp_path, kind, interrupt):
    content = contents[kind, interrupt]
    assert outcome(tmp_path, content, kind) is None
    every = [(path, value) for path in places(content) for value in ODD]
    wrong = []
    for path, value in random.Random(f"{kind} {interrupt}").sample(every, 150):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = outcome(tmp_path, changed(content, path, value), kind)
        except MisconfigurationException:
            continue  # a sentence, Lightning's
        except Exception as error:
            wrong.append((path, value, repr(error)))
            continue
        if said is not None and "odd.ckpt" not in said:
            wrong.append((path, value, said))
    assert not wrong


@pytest.mark.parametrize(
    ("path", "value"),
    [(("lr_schedulers",), GONE), (("optimizer_states",), GONE), (("optimizer_states", 0, "state", 0, "step"), -1)],
    ids=["no schedules", "no optimizers", "a step below 0"],
)
def test_what_is_missing_or_below_zero_is_refused(contents, tmp_path, path, value):
    said = outcome(tmp_path, changed(contents["Adam", 4], path, value), "Adam")
    assert "odd.ckpt: its entry `optimizer_states" in said


def test_nothing_is_refused_that_a_library_changes():
    refuse_odd(
        {"best": float("inf"), "last": [0.1], "name": None}, {"best": torch.tensor(1.0), "last": [1], "new": "a"}, "it"
    )
    with pytest.raises(UserValueError, match=r"expected it\.last to be list of 1, but got list of 2"):
        refuse_odd({"last": [0.1]}, {"last": [1, 2]}, "it")
