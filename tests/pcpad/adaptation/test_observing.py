"""Looking into networks."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pcpad.adaptation.observing import UpTo, choice, observe, pick, shared_copy, strides_of
from pcpad.errors import UserRuntimeError, UserTypeError


def test_a_shared_copy_has_its_own_modules_and_the_tensors_of_the_original():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)).train()
    twin = shared_copy(network)
    assert not twin.training
    assert network.training
    assert twin[0] is not network[0]
    assert twin[0].weight is network[0].weight
    assert twin[1].running_mean is network[1].running_mean


def test_a_network_that_cannot_be_copied_is_told():
    network = nn.Conv2d(1, 1, 3)
    network.lock = (number for number in range(3))
    with pytest.raises(UserTypeError, match="but Conv2d fails"):
        shared_copy(network)


def test_calls_of_one_module_are_told_apart():
    relu = nn.ReLU()
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), relu, nn.Conv2d(2, 3, 3, stride=2, padding=1), relu)
    found = observe(shared_copy(network), torch.rand(1, 1, 8, 8), None)
    assert list(found.maps) == ["0", "1", "2", "1 (call 2)"]
    larger = observe(shared_copy(network), torch.rand(1, 1, 72, 72), None)
    strides, alignment = strides_of(found, larger, 64)
    assert strides["1"] == 1
    assert strides[""] == alignment == 2
    part = UpTo(network, "1 (call 2)")(torch.rand(1, 1, 8, 8))
    assert part.shape == (1, 3, 4, 4)
    assert not network[1]._forward_hooks


def test_of_a_map_that_is_cut_the_rest_goes_on():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(1, 1, 8, 8)
    found = observe(shared_copy(network), images, ["0"], cut=("0", lambda maps: maps[..., 2:4, 2:4]))
    assert torch.allclose(found.output, network(images[..., 2:4, 2:4]))
    assert found.maps["0"].shape == (1, 2, 8, 8)


def test_failures_name_the_size():
    with pytest.raises(UserRuntimeError, match="fails on images of 2×2 pixels"):
        observe(shared_copy(nn.Conv2d(1, 1, 3)), torch.rand(1, 1, 2, 2))


def test_the_largest_map_is_picked():
    large, small, vector = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4), torch.rand(1, 900)
    assert pick([small, {"a": (large, vector)}]) is large
    assert pick([small, {"a": (large, vector)}], "1.a.1") is vector
    assert pick([small, vector], lambda output: output[1]) is vector
    with pytest.raises(UserTypeError, match="got a Tensor of the tensor"):
        pick(torch.rand(1, 2, 3))


@dataclass(slots=True)
class Slotted:
    loss: torch.Tensor | None
    logits: torch.Tensor


@pytest.mark.faults
def test_the_main_output_is_picked_before_larger_feature_maps():
    logits, hidden, wide = torch.rand(1, 2, 4, 4), torch.rand(1, 9, 8, 8), torch.rand(1, 9, 4, 4)
    assert pick({"loss": None, "logits": logits, "hidden_states": (hidden,)}) is logits
    assert pick({"aux": hidden, "out": logits}) is logits
    assert pick(Slotted(None, logits)) is logits
    assert pick((logits, wide)) is logits  # of maps of one size the first, whatever their channels
    classes = torch.rand(1, 5)
    assert pick({"features": hidden, "logits": classes}) is classes


@pytest.mark.faults
def test_of_several_outputs_the_choice_is_told():
    assert choice({"logits": torch.rand(1, 2, 4, 4)}) == ""
    told = choice({"logits": torch.rand(1, 2, 4, 4), "hidden_states": (torch.rand(1, 9, 8, 8),)})
    assert told == "logits (1, 2, 4, 4); there are also hidden_states.0 (1, 9, 8, 8)"
