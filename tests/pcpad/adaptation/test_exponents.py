"""Exponents of a whole network, which are no part of its state."""

import pytest
import torch
from torch import nn

from pcpad import PartialConv2d
from pcpad.adaptation.exponents import annealed, exponents_of, learned_exponents, partial_layers, set_exponents
from pcpad.errors import UserValueError


@pytest.fixture
def network():
    return nn.Sequential(PartialConv2d(3, 4, 3, padding=1), nn.ReLU(), PartialConv2d(4, 2, 1), nn.Conv2d(2, 2, 3))


def test_only_partial_convolutions_that_pad_have_one(network):
    assert list(partial_layers(network)) == ["0"]


def test_they_are_no_part_of_the_state(network):
    names = list(network.state_dict())
    made = learned_exponents(network)
    assert list(network.state_dict()) == names
    assert [tuple(value.shape) for value in made] == [(4,)]
    assert len(list(network.parameters())) == len(names)


def test_learned_ones_get_gradients_and_are_read_back_as_numbers(network):
    made = learned_exponents(network, 0.5, channels=False)
    network(torch.randn(1, 3, 8, 8)).sum().backward()
    assert made[0].grad is not None
    assert exponents_of(network) == {"0": 0.5}


def test_one_number_is_for_all_and_one_means_none(network):
    set_exponents(network, 0.25)
    assert exponents_of(network) == {"0": 0.25}
    set_exponents(network, 1)
    assert exponents_of(network) == {}


@pytest.mark.parametrize("name", ["2", "3", "nothing"])
def test_a_layer_without_padding_is_refused(network, name):
    with pytest.raises(UserValueError, match="do not name a partial convolution with padding"):
        set_exponents(network, {name: 0.5})


def test_annealing_arrives():
    assert [annealed(done, 0.5) for done in (0, 0.25, 0.5, 1)] == [0, 0.5, 1, 1]
    assert annealed(0.0, 0) == 1
