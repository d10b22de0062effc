"""AdaptationTask: one run of the procedure by Lightning, the original beside it."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader

from pcpad.adaptation.exponents import exponents_of
from pcpad.errors import UserValueError
from pcpad.tasks import AdaptationTask, adaptation

OPTIONS = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}


@pytest.fixture
def small(monkeypatch):
    """A filter in place of a network by name."""

    def original(network, num_classes, weights):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1))
        if network != "dense":
            made += nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))
        return made.eval()

    monkeypatch.setattr(adaptation, "_original", original)


def task(**options):
    given = {"network": "dense", "weights": "given", "margin": 8, "border": 2, **options}
    return AdaptationTask(optimizer=lambda weights: Adam(weights, lr=1e-4), **given)


def photographs(count=8, size=32):
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    return DataLoader([{"image": image} for image in images], batch_size=4)


def fitted(made, tmp_path, epochs=5, **options):
    trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, log_every_n_steps=1, **OPTIONS, **options)
    trainer.fit(made, photographs(), photographs())
    return trainer


@pytest.mark.parametrize("exponent", ["anneal", "learn", 0.5])
def test_a_run_trains_the_network_and_not_the_original(small, tmp_path, exponent):
    made = task(exponent=exponent)
    before = [weight.clone() for weight in made.network.parameters()]
    taught = {name: value.clone() for name, value in made._teaching.teacher.state_dict().items()}
    trainer = fitted(made, tmp_path)
    assert not all(torch.equal(a, b) for a, b in zip(made.network.parameters(), before, strict=True))
    assert all(torch.equal(value, taught[name]) for name, value in made._teaching.teacher.state_dict().items())
    assert torch.equal(made.network[1].running_mean, taught["1.running_mean"])  # norms are left alone
    assert {"val/loss", "val/border", "val/interior"} <= set(trainer.callback_metrics)
    kept = exponents_of(made.network)
    assert {
        "anneal": kept == {},
        "learn": len(kept) == 2 and kept["0"] != [0.0] * 3,
        0.5: kept == {"0": 0.5, "2": 0.5},
    }[exponent]


def test_state_and_names_are_the_original_s(small):
    made = task(exponent="learn")
    assert list(made.network.state_dict()) == list(made._teaching.teacher.state_dict())
    others = [name for name in made.state_dict() if not name.startswith("network.")]
    assert others == ["exponents.0", "exponents.1"]


@pytest.mark.parametrize("exponent", ["anneal", "learn"])
def test_a_checkpoint_carries_the_original_and_the_exponent(small, tmp_path, exponent):
    made = task(exponent=exponent)
    with torch.no_grad():
        made._teaching.teacher[0].weight.mul_(2)
    trainer = fitted(made, tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    read = AdaptationTask.load_from_checkpoint(tmp_path / "one.ckpt")
    x = torch.rand(1, 3, 16, 16)
    assert exponents_of(read.network) == exponents_of(made.network)
    torch.testing.assert_close(read.eval()(x), made.eval()(x))
    assert torch.equal(read._teaching.teacher[0].weight, made._teaching.teacher[0].weight)


def test_an_interrupted_run_ends_as_if_it_had_not_been(small, tmp_path):
    whole = task(exponent="learn")
    fitted(whole, tmp_path, epochs=4)
    first = task(exponent="learn")
    fitted(first, tmp_path, epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    second = task(exponent="learn")
    Trainer(max_epochs=4, default_root_dir=tmp_path, log_every_n_steps=1, **OPTIONS).fit(
        second, photographs(), photographs(), ckpt_path=tmp_path / "half.ckpt"
    )
    for a, b in zip(second.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_classifier_is_compared_by_distributions(small, tmp_path):
    trainer = fitted(task(network="classes", margin=0, num_classes=5, features=0.1), tmp_path, epochs=1)
    assert {"val/agreement", "val/kl"} <= set(trainer.callback_metrics)


def test_the_control_is_the_original_s_padding(small, tmp_path):
    trainer = fitted(task(padding="zeros", network="classes", margin=0, num_classes=5), tmp_path, epochs=1)
    assert float(trainer.callback_metrics["val/agreement"]) == 1


def test_noise_is_added_for_teacher_and_student_alike(small, tmp_path):
    made = task(padding="zeros", noise=25.0)
    fitted(made, tmp_path, epochs=1)
    found = made.trainer.validate(made, photographs(), verbose=False)[0]
    assert found["val/interior"] > found["val/border"]


@pytest.mark.parametrize("options", [{"margin": -1}, {"exponent": "much"}])
def test_values_out_of_range_are_refused(small, options):
    with pytest.raises(UserValueError):
        task(**options)


def test_random_weights_teach_nothing(small, tmp_path):
    with pytest.raises(UserValueError, match="random weights"):
        fitted(task(weights=None), tmp_path)


def test_it_is_built_by_name():
    made = AdaptationTask(network="timm/test_resnet", num_classes=3)
    assert made(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    assert made.random_parts == ["network"]
