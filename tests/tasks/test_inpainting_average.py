"""Running averages of inpainting networks: what they start from, and what starts from them."""

import logging

import pytest
import torch
from lightning.pytorch import Trainer
from torch.optim import SGD
from torch.utils.data import DataLoader

from pcpad.tasks import InpaintingTask

NO_VGG = {"perceptual": 0, "style": 0}


def task(seed=0, **options):
    torch.manual_seed(seed)
    return InpaintingTask(**{"depth": 2, "width": 4, "loss_weights": NO_VGG, "optimizer": still} | options)


def still(parameters):
    """An optimizer that changes nothing."""
    return SGD(parameters, lr=0.0)


def trainer(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return Trainer(**quiet, default_root_dir=folder, enable_checkpointing=False, max_epochs=1, **options)


def loader():
    draw = torch.Generator().manual_seed(0)
    items = [{"image": torch.rand(3, 16, 16, generator=draw), "mask": torch.ones(1, 16, 16)} for _ in range(2)]
    for item in items:
        item["mask"][..., 4:9] = 0
    return DataLoader(items, batch_size=2)


def written(model, path):
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return str(path)


@torch.no_grad()
def output(model):
    batch = next(iter(loader()))
    return model.eval()(batch["image"], batch["mask"])


def test_a_test_of_weights_is_of_the_files_network(tmp_path):
    source = task(seed=1)
    model = task(weights=written(source, tmp_path / "plain.pt"), ema=0.99)
    (scores,) = trainer(tmp_path).test(model, loader(), verbose=False)
    (expected,) = trainer(tmp_path).test(source, loader(), verbose=False)
    assert scores["test/psnr"] == expected["test/psnr"]
    assert torch.equal(output(model), output(source))


def test_the_average_of_a_fit_starts_from_the_files_weights(tmp_path):
    source = task(seed=1)
    model = task(weights=written(source, tmp_path / "plain.pt"), ema=0.99)
    started = {}

    def keep(model):
        started.update({name: value.clone() for name, value in model.average.network.state_dict().items()})

    model.on_train_start = lambda: keep(model)
    trainer(tmp_path, num_sanity_val_steps=0).fit(model, loader(), loader())
    assert all(torch.equal(value, source.network.state_dict()[name]) for name, value in started.items())
    # Nothing learned, and so nothing of the random network may be left in the average.
    for name, value in model.average.network.named_parameters():
        torch.testing.assert_close(value, source.network.get_parameter(name))


def moved(**options):
    """A task whose average is not its network, as after training."""
    model = task(seed=1, ema=0.9, **options)
    for value in model.average.network.parameters():
        value.data.mul_(0.5)
    model.average.updates += 9
    return model


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_a_run_starts_from_the_network_of_a_checkpoint_with_an_average(ema, tmp_path, caplog):
    source = moved()
    model = task(weights=written(source, tmp_path / "last.ckpt"), ema=ema)
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, num_sanity_val_steps=0).fit(model, loader(), loader())
    assert "last.ckpt, from the network, not from its running average" in caplog.text
    for name, value in model.network.named_parameters():
        assert torch.equal(value, source.network.get_parameter(name))


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_a_test_is_of_the_average_of_a_checkpoint_that_has_one(ema, tmp_path, caplog):
    source = moved()
    model = task(weights=written(source, tmp_path / "last.ckpt"), ema=ema)
    with caplog.at_level(logging.INFO):
        trainer(tmp_path).test(model, loader(), verbose=False)
    assert "last.ckpt, from the running average of its network" in caplog.text
    assert torch.equal(output(model), output(source))


@pytest.mark.faults
def test_a_checkpoint_with_an_average_of_another_network_is_refused(tmp_path):
    model = task(weights=written(moved(depth=3), tmp_path / "last.ckpt"))
    with pytest.raises(ValueError, match=r"last\.ckpt does not fit InpaintingUNet"):
        trainer(tmp_path).fit(model, loader())
