"""What every task is and offers: defaults, hyper-parameters, normalization, losses that are not finite."""

from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from pcpad import ExplicitPadConv2d, PartialConv2d, convert_padding
from pcpad.tasks import Task
from pcpad.tasks.base import NonFiniteLossError, is_plain, plain

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*TreeSpec")


class Kind(Enum):
    PARTIAL = "partial"


class Small(Task):
    """One convolution."""

    def __init__(self, width=2, padding="partial", num_classes=None, weights=None, mean=None, std=None, optimizer=None):
        super().__init__(
            padding=padding, num_classes=num_classes, mean=mean, std=std, optimizer=optimizer, not_kept=["weights"]
        )
        self.network = convert_padding(nn.Conv2d(3, width, 3, padding=1), self.padding)

    def training_step(self, batch, batch_idx):
        return self.log_loss(self.network(self.normalize(batch["image"])).square().mean(), len(batch["image"]))

    def validation_step(self, batch, batch_idx):
        self.log("val/mean", self.network(self.normalize(batch["image"])).mean())

    def test_step(self, batch, batch_idx):
        self.log("test/mean", self.network(self.normalize(batch["image"])).mean())


class Gray(LightningDataModule):
    """Four images of one value."""

    def __init__(self, value=0.5, **stated):
        super().__init__()
        self.value = value
        for name, what in stated.items():
            setattr(self, name, what)

    def train_dataloader(self):
        return DataLoader([{"image": torch.full((3, 6, 6), self.value)}] * 4, batch_size=2)

    val_dataloader = test_dataloader = train_dataloader


def trainer(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, enable_checkpointing=False, **quiet, **options)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_every_offer_has_a_default():
    task = Task()
    assert (task.network_name, task.padding, task.num_classes) == ("Task", None, None)
    assert (task.class_names, task.trained_with, task.report) == (None, None, None)
    assert task.export_outputs == ("logits",)
    assert task.prediction_writer("out.csv") is None
    assert task.sample_images({}) == {}
    assert {name: tuple(value.shape) for name, value in task.export_example(2, 8, 9).items()} == {"image": (2, 3, 8, 9)}
    assert task.data_offer("class_names") is None
    with pytest.raises(ValueError, match="Task has no evaluators"):
        task.use_evaluators([])


def test_arguments_are_kept_as_plain_values_and_code_is_not(tmp_path):
    std = (1, 2, np.float64(4))
    task = Small(np.int64(3), Kind.PARTIAL, weights=tmp_path, mean=np.zeros(3), std=std, optimizer=sgd)
    assert dict(task.hparams) == {
        "width": 3, "padding": "partial", "num_classes": None, "mean": [0.0, 0.0, 0.0], "std": [1, 2, 4.0],
        "_class_path": f"{__name__}.Small",
    }  # fmt: skip
    assert isinstance(task.network, PartialConv2d)
    task.trainer = trainer(tmp_path)
    path = tmp_path / "x.ckpt"
    task.trainer.strategy.connect(task)
    task.trainer.save_checkpoint(path)
    again = Small.load_from_checkpoint(path, weights_only=True)
    assert dict(again.hparams) == {**task.hparams, "optimizer": None}
    assert torch.equal(again.network.weight, task.network.weight)


def test_plain_values():
    assert plain({"a": (np.float32(0.5), Path("x"), Kind.PARTIAL)}) == {"a": [0.5, "x", "partial"]}
    assert type(plain(np.float64(1))) is float
    assert is_plain([1, {"a": None}])
    assert not is_plain([sgd])


def test_images_are_normalized_from_bytes_and_floats():
    task = Small(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1))
    expected = torch.tensor([2.0, 1.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(task.normalize(torch.ones(1, 3, 2, 2)), expected)
    assert torch.equal(task.normalize(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)), expected)
    assert not [name for name in task.state_dict() if name in ("mean", "std")]
    assert torch.equal(Small().normalize(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)), torch.ones(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"`std` to be numbers > 0"):
        Small(mean=(0, 0, 0), std=(1, 0, 1))


def test_training_says_what_it_trained_with_and_on(tmp_path):
    task = Small(num_classes=2, optimizer=sgd)
    trainer(tmp_path, max_steps=1).fit(task, Gray(num_classes=2, class_names=("a", "b")))
    assert (task.trained_with, task.class_names) == ("partial", ["a", "b"])


def test_old_names_of_what_data_state_still_count(tmp_path):
    task = Small(optimizer=sgd)
    with pytest.warns(FutureWarning, match="`classes` of Gray is called `class_names` now"):
        trainer(tmp_path, max_steps=1).fit(task, Gray(classes=["a", "b"]))
    assert task.class_names == ["a", "b"]


def test_the_old_name_of_class_colors_still_counts():
    task = Small()
    task._trainer = SimpleNamespace(datamodule=Gray(class_colours=[(1, 2, 3)]))
    with pytest.warns(FutureWarning, match="`class_colours` of Gray is called `class_colors` now"):
        assert task.data_offer("class_colors") == [(1, 2, 3)]


def test_classes_are_compared_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"The data has 3 classes and the network 2: pass --model\.num_classes 3"):
        trainer(tmp_path).test(Small(num_classes=2), Gray(num_classes=3))
    task = Small(num_classes=2)
    task.class_names = ["b", "a"]
    with pytest.warns(UserWarning, match="named or ordered differently"):
        trainer(tmp_path).test(task, Gray(class_names=["a", "b"]), verbose=False)


@pytest.mark.faults
@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_classes_in_another_order_are_said_by_every_verb(tmp_path, verb):
    task = Small(num_classes=2, optimizer=sgd)
    task.class_names = ["b", "a"]  # as a checkpoint would have it
    data = Gray(num_classes=2, class_names=["a", "b"])
    run = trainer(tmp_path, max_steps=1, limit_val_batches=1)
    with pytest.warns(UserWarning, match="named or ordered differently"):
        getattr(run, verb)(task, data)


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path):
    task = Small(optimizer=sgd)
    before = task.network.weight.clone()
    with pytest.raises(NonFiniteLossError, match=r"loss is not finite \(epoch 0, step 0\)"):
        trainer(tmp_path, max_steps=1).fit(task, Gray(torch.inf))
    assert torch.equal(task.network.weight, before)


@pytest.mark.faults
def test_a_task_whose_gradients_are_not_clipped_is_not_advised_to_clip_them(tmp_path):
    class Unclipped(Task):
        def __init__(self, clips_gradients):
            super().__init__(clips_gradients=clips_gradients)

    for clips in (True, False):
        with pytest.raises(NonFiniteLossError) as caught:
            Unclipped(clips).on_before_backward(torch.tensor(torch.inf))
        assert ("gradient_clip_val" in str(caught.value)) == clips


def test_weights_move_between_explicit_and_other_paddings():
    explicit, zeros = Small(padding="explicit"), Small(padding="zeros")
    checkpoint = {"state_dict": dict(zeros.state_dict()), "trained_with": "zeros"}
    explicit.on_load_checkpoint(checkpoint)
    explicit.load_state_dict(checkpoint["state_dict"])
    assert isinstance(explicit.network, ExplicitPadConv2d)
    image = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(explicit.network(image), zeros.network(image))
    assert explicit.trained_with == "zeros"
    back = {"state_dict": dict(explicit.state_dict())}
    zeros.on_load_checkpoint(back)
    assert torch.equal(back["state_dict"]["network.weight"], zeros.network.weight)


def test_weights_of_another_network_are_told_by_what_was_changed():
    other = Small(width=4)
    checkpoint = {"state_dict": dict(other.state_dict()), "hyper_parameters": dict(other.hparams)}
    with pytest.raises(ValueError, match=r"not those of this network \(Small\)(.|\n)*width=4 and not 2"):
        Small().on_load_checkpoint(checkpoint)
