"""What teacher and student are shown, and what is compared."""

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pcpad.adaptation.teaching import Scores, Teaching, tensors_of
from pcpad.errors import UserRuntimeError, UserTypeError, UserValueError


def dense(**options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, **options), nn.Conv2d(4, 2, 3, padding=1))
    return Teaching(network, copy.deepcopy(network), dense=True, margin=4, border=2)


def scored(teaching, image):
    scores = Scores(teaching.dense)
    teaching.score(image, scores)
    return scores.values()


def test_the_student_sees_the_crop_and_only_its_border_differs():
    teaching, image = dense(), torch.randn(2, 3, 20, 24)
    assert teaching.crop(image).shape == (2, 3, 12, 16)
    values = scored(teaching, image)
    assert values["interior"] > 100  # rounding alone; the reach is 2, and so is the band
    assert values["border"] < 40
    assert values["loss"] == pytest.approx(float(teaching.loss(image)), rel=1e-6)


def test_a_stride_puts_both_on_one_grid():
    values = scored(dense(stride=2), torch.randn(1, 3, 24, 24))
    assert math.isfinite(values["loss"])


def test_a_grid_that_does_not_fit_is_refused():
    network = nn.Conv2d(3, 4, 3, padding=1, stride=8)
    teaching = Teaching(network, copy.deepcopy(network), dense=True, margin=4)
    with pytest.raises(UserValueError, match="multiples of the network's stride"):
        teaching.loss(torch.randn(1, 3, 24, 24))


def classes():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    return nn.Sequential(*parts)


def test_a_classifier_that_is_its_teacher_agrees():
    network = classes()
    teaching = Teaching(network, copy.deepcopy(network), dense=False, margin=4, features=1.0)
    values = scored(teaching, torch.randn(3, 3, 8, 8))
    assert values["agreement"] == 1
    assert values["kl"] == pytest.approx(0, abs=1e-6)
    assert values["loss"] == pytest.approx(0, abs=1e-6)


def test_divergence_and_features_are_what_they_are_called():
    network, image = classes(), torch.randn(3, 3, 8, 8)
    student = copy.deepcopy(network)
    with torch.no_grad():
        student[0].weight.mul_(2)
    target, output = network(image).log_softmax(1), student(image).log_softmax(1)
    kl = (target.exp() * (target - output)).sum(1).mean()
    alone = Teaching(network, student, dense=False)
    torch.testing.assert_close(alone.loss(image), kl)
    assert scored(alone, image)["kl"] == pytest.approx(float(kl))
    assert float(Teaching(network, student, dense=False, features=1.0).loss(image)) > float(kl) + 0.1


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv, self.wrap = nn.Conv2d(3, 2, 3, padding=1), wrap

    def forward(self, x):
        y = self.conv(x)
        return self.wrap(y)


@pytest.mark.parametrize(
    "wrap",
    [lambda y: (y, y[:, :1]), lambda y: {"aux": y * 2, "out": y}, lambda y: [y, {"n": None}]],
    ids=["tuple", "dict", "nested"],
)
def test_tuples_and_dicts_are_compared_tensor_by_tensor(wrap):
    network = Wrapped(wrap)
    teaching = Teaching(network, Wrapped(wrap), dense=True, margin=2, border=2)
    image = torch.randn(1, 3, 12, 12)
    assert math.isfinite(scored(teaching, image)["loss"])
    teaching.loss(image).backward()


def test_an_output_without_tensors_is_refused():
    with pytest.raises(UserTypeError, match="str"):
        tensors_of("much")
    with pytest.raises(UserTypeError, match="tuple"):
        tensors_of((torch.zeros(1, dtype=torch.int64),))


@dataclass
class Output:
    loss: torch.Tensor | None
    hidden_states: tuple[torch.Tensor, ...]
    logits: torch.Tensor


@pytest.mark.faults
def test_outputs_that_are_data_classes_are_taken_the_main_one_first():
    hidden, logits = torch.zeros(1, 2), torch.zeros(1, 5)
    assert [tensor is logits for tensor in tensors_of(Output(None, (hidden,), logits))] == [True, False]


def test_an_output_that_is_not_finite_is_said():
    network = Wrapped(lambda y: y / 0)
    teaching = Teaching(network, copy.deepcopy(network), dense=True, margin=2)
    with pytest.raises(UserRuntimeError, match="not finite"):
        scored(teaching, torch.randn(1, 3, 12, 12))


def test_maps_need_true_context():
    with pytest.raises(UserValueError, match="margin"):
        Teaching(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), dense=True)


def test_neither_trains_its_norms():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    teaching = Teaching(network, copy.deepcopy(network), dense=True, margin=1)
    assert not any(module.training for net in (teaching.teacher, teaching.student) for module in net.modules())
