"""What of a task's network learns: alone, in a run, on two processes, and when a run goes on."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader

from pcpad.tasks import (
    ActionRecognitionTask,
    ClassificationTask,
    GaussianFilteringTask,
    InpaintingTask,
    SegmentationTask,
)

QUIET = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu", "enable_model_summary": False}


def sgd(parameters):
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)


def slow_sgd(parameters):
    """For networks whose norms do not normalize, which soon are of no number."""
    return SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=0.1)


def batches(count=4):
    torch.manual_seed(0)
    items = [{"image": torch.randint(256, (3, 32, 32), dtype=torch.uint8), "label": k % 3} for k in range(2 * count)]
    return DataLoader(items, batch_size=2)


def changed(before, task):
    after = task.network.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.faults
def test_frozen_norms_stay_in_evaluation_mode():
    task = ClassificationTask("resnet18", 3, freeze="norms", optimizer=sgd)
    norms = [module for module in task.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    task.train()
    assert task.network.training
    assert not any(norm.training for norm in norms)
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    (group,) = task.configure_optimizers()["optimizer"].param_groups
    assert len(group["params"]) == sum(parameter.requires_grad for parameter in task.parameters()) == 22
    task.freeze()  # Lightning's own, for inference
    assert not any(parameter.requires_grad for parameter in task.parameters())


@pytest.mark.faults
@pytest.mark.parametrize("validates", [False, True])
def test_a_frozen_encoder_does_not_change_in_a_run(tmp_path, validates):
    task = ClassificationTask("resnet18", 3, freeze="encoder", rates={"fc": 0.5}, optimizer=sgd)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    trainer = Trainer(max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    with pytest.warns(UserWarning, match="encoder of ClassificationTask is frozen at random values"):
        trainer.fit(task, batches(2), batches(1) if validates else None)
    assert changed(before, task) == {"fc.weight", "fc.bias"}
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.05


class OnTwo(Callback):
    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.network.state_dict(), f"{trainer.default_root_dir}/{trainer.global_rank}.pth")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.own_process
@pytest.mark.parametrize("freeze", ["encoder", "norms"])
def test_frozen_parts_on_two_processes(tmp_path, freeze):
    """DistributedDataParallel waits for the gradients of all parameters that it was told of."""
    torch.set_num_threads(1)
    task = ClassificationTask("resnet18", 3, freeze=freeze, optimizer=slow_sgd)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    options = {"devices": 2, "strategy": "ddp_fork", "default_root_dir": tmp_path, "enable_checkpointing": False}
    Trainer(max_steps=2, callbacks=OnTwo(), **options, **QUIET).fit(task, batches())
    states = [torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in before)
    moved = {name for name, value in before.items() if not torch.equal(value, states[0][name])}
    frozen = {
        name for name in before if ("fc" not in name if freeze == "encoder" else "bn" in name or "downsample.1" in name)
    }
    assert moved == set(before) - frozen


@pytest.mark.faults
def test_a_run_goes_on_with_what_was_frozen_and_not_otherwise(tmp_path):
    def run(epochs, checkpoint=None, **options):
        task = ClassificationTask("resnet18", 3, optimizer=slow_sgd, **options)
        trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
        trainer.fit(task, batches(1), ckpt_path=checkpoint)
        return trainer, task

    chosen = {"freeze": ["layer1", "norms"], "rates": {"decay": 0.5}}
    trainer, _ = run(1, **chosen)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer, task = run(2, tmp_path / "a.ckpt", **chosen)
    assert trainer.current_epoch == 2
    assert not task.network.bn1.training
    with pytest.raises(
        ValueError, match=r"began with freeze=\['layer1', 'norms'\] and is to continue with freeze=\[\]"
    ):
        run(2, tmp_path / "a.ckpt", rates={"decay": 0.5})
    loaded = ClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.frozen == ["layer1", "norms"]


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        (lambda **k: SegmentationTask(encoder="resnet18", num_classes=3, **k), ["layer0", "layer4"]),
        (lambda **k: SegmentationTask("FPN", "resnet18", 3, **k), ["encoder", "encoder"]),
        (lambda **k: ActionRecognitionTask("resnet3d18", 3, width=4, **k), ["conv1", "layer4"]),
        (lambda **k: InpaintingTask(3, 8, **k), ["encoder", "encoder"]),
        (lambda **k: GaussianFilteringTask(8, **k), ["encoder", "encoder"]),
        (lambda **k: ClassificationTask("vit_b_16", 3, **k), ["class_token", "encoder"]),
    ],
)
def test_every_task_has_an_encoder(task, parts):
    made = task(freeze="encoder", rates={"decay": 0.9}, optimizer=sgd)
    found = made.encoder_parts()
    assert [found[0], found[-1]] == parts
    learning = {id(one) for group in made.configure_optimizers()["optimizer"].param_groups for one in group["params"]}
    assert learning == {id(one) for one in made.network.parameters() if one.requires_grad}


def test_rates_and_schedules():
    task = ClassificationTask("resnet18", 3, rates={"encoder": 0.1}, optimizer=sgd, scheduler=lambda o: StepLR(o, 1))
    found = task.configure_optimizers()
    assert [group["lr"] for group in found["optimizer"].param_groups] == [pytest.approx(0.01), 0.1]
    assert found["lr_scheduler"]["scheduler"].base_lrs == [pytest.approx(0.01), 0.1]
    task.scheduler = lambda optimizer: OneCycleLR(optimizer, 0.1, 10)
    with pytest.raises(ValueError, match="OneCycleLR gives all parts one learning rate"):
        task.configure_optimizers()
