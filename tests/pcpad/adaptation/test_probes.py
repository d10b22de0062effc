"""Positions, uneven padding and blind spots."""

import pytest
import torch
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation.observing import Place
from pcpad.adaptation.probes import blind_spots, position_information, position_pattern, uneven_padding


def network(padding="zeros"):
    torch.manual_seed(0)
    layers = [m for i in range(6) for m in (nn.Conv2d(8 if i else 1, 8, 5, padding=2), nn.ReLU())]
    return convert_padding(nn.Sequential(*layers), padding)


def test_zeros_tell_positions_and_circular_padding_tells_none():
    images = torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    zeros, circular = (
        {target.name: target for target in position_information(network(p), images, size=16).targets}
        for p in ("zeros", "circular")
    )
    assert zeros["gaussian"].correlation > 0.6
    assert abs(circular["gaussian"].correlation) < 0.2
    assert abs(zeros["gaussian"].control) < 0.2


def test_the_pattern_of_padding_is_strong_where_there_is_one():
    from fractions import Fraction

    images = torch.rand(12, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    place = Place(Fraction(1), (16, 16), (32, 32))
    pattern, strength = position_pattern(
        network(), images[..., 16:48, 16:48], images, lambda run: place.cut(run.maps["10"]), "10"
    )
    assert pattern.shape == (8, 32, 32)
    assert float(pattern[:, 16, 16].abs().max()) < 1e-5 < float(pattern[:, 0, 0].abs().max())
    assert strength > 2


@pytest.mark.parametrize(("size", "uneven"), [(32, ["0", "1"]), (33, [])])
def test_strides_that_leave_pixels_over(size, uneven):
    model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, padding=1))
    found = uneven_padding(model, torch.rand(1, 1, size, size))
    assert [layer.name for layer in found] == uneven
    if found:
        assert found[0].read == ((1, 0), (1, 0))
        assert found[0].fits == (29, 33)


def test_same_padding_of_tensorflow_reads_behind():
    from timm.layers import Conv2dSame

    model = nn.Sequential(Conv2dSame(1, 1, 3, stride=2))
    assert uneven_padding(model, torch.rand(1, 1, 32, 32))[0].read == ((0, 1), (0, 1))


def test_a_constant_image_shows_what_padding_makes():
    zeros, circular = (blind_spots(network(padding), 32, 1) for padding in ("zeros", "circular"))
    assert float(zeros[0, 0]) > 0.01
    assert float(zeros[16, 16]) == 0
    assert float(circular.max()) < 1e-4
