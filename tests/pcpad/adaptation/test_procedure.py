"""One training run: its settings, and what becomes of batch norms."""

import pytest
import torch
from torch import nn

from pcpad.adaptation.material import Material
from pcpad.adaptation.procedure import Procedure, scored, shown, train
from pcpad.adaptation.teaching import Teaching
from pcpad.errors import UserRuntimeError, UserValueError


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"rates": ()},
        {"rates": (-1.0,)},
        {"exponent": "much"},
        {"weights": False},
        {"patience": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserValueError):
        Procedure(**settings)


def norms(mean):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)).eval()
    network[1].running_mean.fill_(mean)
    return network


def run(student, **settings):
    images = [torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(number)) for number in range(20)]
    teacher = norms(0.0)
    with torch.no_grad():  # the statistics that the images have
        teacher[1].reset_running_stats()
        teacher[1].momentum = None
        teacher[1].train()
        teacher(torch.stack(images))
        teacher.eval()
    teaching = Teaching(teacher, student, dense=True, margin=4, border=2)
    procedure = Procedure(steps=2, batch_size=4, rates=(1e-9,), **settings)
    material = Material(images, side=24)
    return train(teaching, material, procedure, 1e-9, 2), scored(teaching, material, 4)


def test_statistics_are_estimated_anew_only_where_that_helps():
    leg, values = run(norms(5.0))
    assert leg.renormed
    assert values["loss"] == leg.values["loss"] < leg.history[-1][1]["loss"] / 2
    left, _ = run(norms(5.0), norms="frozen")
    assert not left.renormed


def test_a_loss_that_is_not_finite_ends_the_run():
    student = norms(0.0)
    with torch.no_grad():
        student[0].weight.fill_(float("inf"))
    with pytest.raises(UserRuntimeError, match="not finite at step 0"):
        run(student)


def test_values_are_shown_in_their_units():
    assert shown({"loss": 1.0, "border": 20.0, "interior": 50.5}) == "border 20.00 dB, interior 50.50 dB"
    assert shown({"loss": 1.0, "agreement": 0.9, "kl": 0.1}) == "agreement 90.0 %, KL 0.1000"
