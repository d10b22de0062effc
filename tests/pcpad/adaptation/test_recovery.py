"""Recovery as a whole: on networks so small that what should happen is known."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation.exponents import exponents_of
from pcpad.adaptation.procedure import Procedure
from pcpad.adaptation.recovery import ControlDegradedError, recover
from pcpad.adaptation.result import ROWS
from pcpad.errors import UserRuntimeError, UserTypeError, UserValueError

QUICK = Procedure(
    steps=20, batch_size=4, rates=(1e-3, 3e-3), search_steps=3, crop=16, margin=8, border=2, evaluations=4
)


def filtering():
    """Two filters that average: partial padding is right for them, and zeros darken the border."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 3, padding=1, bias=False)).eval()
    for layer in network:
        nn.init.constant_(layer.weight, 1 / 9)
    return network


def classifying():
    """Decides by whether the mean, which zeros at the border lower, is above .45."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 1, 5, padding=2, bias=False) for _ in range(3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(1, 2),
    ).eval()  # fmt: skip
    for layer in network[:3]:
        nn.init.constant_(layer.weight, 1 / 25)
    with torch.no_grad():
        network[-1].weight.copy_(torch.tensor([[0.0], [100.0]]))
        network[-1].bias.copy_(torch.tensor([45.0, 0.0]))
    return network


@pytest.fixture(scope="module")
def photographs():
    draws = torch.Generator().manual_seed(0)
    low = torch.rand(20, 1, 6, 6, generator=draws)
    return list(nn.functional.interpolate(low, (40, 40), mode="bilinear"))


@pytest.fixture(scope="module")
def found(photographs):
    return recover(filtering(), photographs, "partial", QUICK)


def test_a_network_that_wants_partial_padding_gets_it(found):
    border = {row: values["border"] for row, values in found.rows.items()}
    assert list(border) == list(ROWS)
    assert border["recovered"] > border["original"] + 5
    assert border["recovered"] > border["original, same procedure"] + 5
    assert found.rows["original"]["interior"] > 60
    assert "partial is worth it" in found.verdict
    assert set(found.rates) == {"recovered", "original, same procedure"}


def test_the_result_is_converted_and_runs_as_in_evaluation(found, photographs):
    assert {type(layer).__name__ for layer in found.model} == {"PartialConv2d"}
    assert exponents_of(found.model) == {}
    assert not found.model.training
    assert {type(layer).__name__ for layer in found.control} == {"Conv2d"}
    assert "| recovered |" in str(found)


def test_the_network_that_came_is_not_changed(photographs):
    network = filtering()
    before = copy.deepcopy(network.state_dict())
    recover(network, photographs, "replicate", replace(QUICK, steps=2, rates=(1e-3,)))
    assert {type(layer).__name__ for layer in network} == {"Conv2d"}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_control_serves_a_second_padding(found, photographs):
    again = recover(filtering(), photographs, "replicate", QUICK, control=found)
    assert again.rows[ROWS[3]] == found.rows[ROWS[3]]
    assert again.control is found.control
    with pytest.raises(UserValueError, match="a `control` trained by the same procedure"):
        recover(filtering(), photographs, "replicate", replace(QUICK, steps=3), control=found)


def test_exponents_alone_leave_the_weights(photographs):
    settings = replace(QUICK, exponent="learn", weights=False, rates=(3e-4,))
    found = recover(filtering(), photographs, "partial", settings)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), filtering().parameters(), strict=True))
    kept = exponents_of(found.model)
    assert set(kept) == {"0", "1"}
    assert found.rows["recovered"]["border"] > found.rows["original"]["border"] + 1
    assert found.rows["original, same procedure"]["border"] == pytest.approx(found.rows["original"]["border"])


def test_a_classifier_keeps_its_decisions(photographs):
    settings = replace(QUICK, crop=None, margin=None, rates=(1e-2,))
    found = recover(classifying(), photographs, "partial", settings)
    assert found.rows["original"] == {"loss": 0.0, "agreement": 1.0, "kl": 0.0} | found.rows["original"]
    assert found.rows["recovered"]["kl"] < found.rows["converted"]["kl"] / 2
    assert found.rows["original, same procedure"]["agreement"] == 1
    assert "agreement" in str(found)
    assert found.margin == 0


def test_an_interrupted_run_ends_as_if_it_had_not_been(photographs, tmp_path):
    class Stopped(Exception):
        pass

    def stop(line):
        if "recovered: step 10" in line:
            raise Stopped

    settings, state = replace(QUICK, rates=(1e-3,), exponent="learn"), tmp_path / "run.state"
    whole = recover(filtering(), photographs, "partial", settings)
    with pytest.raises(Stopped):
        recover(filtering(), photographs, "partial", settings, resume=state, said=stop)
    lines = []
    resumed = recover(filtering(), photographs, "partial", settings, resume=state, said=lines.append)
    assert not any("same procedure: step" in line or "recovered: step 5/" in line for line in lines)
    assert resumed.rows == whole.rows
    assert exponents_of(resumed.model) == exponents_of(whole.model)
    with pytest.raises(UserValueError, match="different settings"):
        recover(filtering(), photographs, "partial", replace(settings, seed=1), resume=state)
    with pytest.raises(UserValueError, match="different settings"):
        recover(filtering(), photographs, "partial", settings, fallback="replicate", resume=state)
    retrained = filtering()
    with torch.no_grad():
        next(retrained.parameters()).flatten()[0] += 1e-3
    with pytest.raises(UserValueError, match="another network's run: its weights"):
        recover(retrained, photographs, "partial", settings, resume=state)
    with pytest.raises(UserValueError, match="on other images"):
        recover(filtering(), [1 - image for image in photographs], "partial", settings, resume=state)
    with pytest.raises(UserValueError, match="another `prepare`"):
        recover(filtering(), photographs, "partial", settings, prepare=lambda x: x / 2, resume=state)


def test_a_run_stops_where_even_the_control_becomes_worse(photographs):
    with pytest.raises(ControlDegradedError, match="degrades the network that was not converted"):
        recover(filtering(), photographs, "partial", replace(QUICK, rates=(1.0,), steps=4))


def test_half_precision_runs(photographs):
    found = recover(filtering(), photographs, "partial", replace(QUICK, precision="bf16", steps=4, rates=(1e-3,)))
    assert math.isfinite(found.rows["recovered"]["loss"])


def test_what_is_prepared_is_what_networks_see(photographs):
    seen = []

    def prepare(batch):
        seen.append((float(batch.min()), float(batch.max())))
        return batch * 2 - 1 + torch.randn_like(batch)

    settings = replace(QUICK, steps=2, rates=(1e-3,))
    rows = [recover(filtering(), photographs, "partial", settings, prepare=prepare).rows for _ in range(2)]
    assert rows[0] == rows[1]  # the same noise each time
    assert min(low for low, _ in seen) >= 0
    assert max(high for _, high in seen) <= 1


# What comes can be bad


@pytest.mark.faults
def test_few_images_are_refused(photographs):
    with pytest.raises(UserValueError, match="at least 16 images, and better a few hundred, but got 15"):
        recover(filtering(), photographs[:15])


@pytest.mark.faults
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(QUICK, crop=48), "smallest image has a side of 40 pixels, too small for a crop of 48"),
        (replace(QUICK, margin=16), "needs images of at least 48 pixels, but the smallest has a side of 40"),
    ],
)
def test_images_smaller_than_the_crop_and_its_context_are_refused(photographs, settings, words):
    with pytest.raises(UserValueError, match=words):
        recover(filtering(), photographs, "partial", settings)


@pytest.mark.faults
@pytest.mark.parametrize("network", [nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 1), nn.Sequential()])
def test_a_network_without_padding_is_said(photographs, network):
    with pytest.raises(UserValueError, match=r"nothing was changed.*no convolution pads"):
        recover(network, photographs, "partial", QUICK)


@pytest.mark.faults
def test_a_network_that_has_the_padding_already_is_said(photographs):
    with pytest.raises(UserValueError, match="already have partial padding"):
        recover(convert_padding(filtering(), "partial"), photographs, "partial", QUICK)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.network, self.wrap = filtering(), wrap

    def forward(self, x):
        return self.wrap(self.network(x))


@pytest.mark.faults
@pytest.mark.parametrize(
    "wrap", [lambda y: (y, None), lambda y: {"aux": y[:, :, ::2], "out": y}], ids=["tuple", "dict"]
)
def test_tuples_and_dicts_are_taken(photographs, wrap):
    found = recover(Wrapped(wrap).eval(), photographs, "partial", replace(QUICK, steps=4, rates=(1e-3,)))
    assert found.rows["recovered"]["border"] > found.rows["original"]["border"]


@pytest.mark.faults
def test_other_outputs_are_refused(photographs):
    with pytest.raises(UserTypeError, match="str"):
        recover(Wrapped(str).eval(), photographs, "partial", QUICK)
    with pytest.raises(UserValueError, match=r"\(N, classes\) or \(N, C, H, W\)"):
        recover(Wrapped(lambda y: y.flatten(2)).eval(), photographs, "partial", QUICK)


@pytest.mark.faults
def test_a_network_in_training_mode_is_said_and_stays_in_it(photographs):
    network = filtering().train()
    with pytest.warns(UserWarning, match="training mode"):
        found = recover(network, photographs, "partial", replace(QUICK, steps=2, rates=(1e-3,)))
    assert network.training
    assert "training mode" in found.notes[0]


@pytest.mark.faults
def test_outputs_that_are_not_finite_are_said(photographs):
    with pytest.raises(UserRuntimeError, match="output is not finite"):
        recover(Wrapped(lambda y: y / 0).eval(), photographs, "partial", QUICK)


@pytest.mark.faults
def test_a_network_that_fails_on_larger_crops_is_said(photographs):
    def fixed(y):
        assert y.shape[-1] == 16, "16 alone"
        return y

    with pytest.raises(UserRuntimeError, match=r"does not run on images of 32x32.*true context.*16 alone"):
        recover(Wrapped(fixed).eval(), photographs, "partial", QUICK)


@pytest.mark.faults
def test_images_of_other_kinds_are_refused(photographs):
    with pytest.raises(UserTypeError, match="image"):
        recover(filtering(), [image.numpy() for image in photographs], "partial", replace(QUICK, crop=None))
    with pytest.raises(UserTypeError, match="sequence"):
        recover(filtering(), iter(photographs), "partial", QUICK)
