"""The exponent of the ratio: 1 is the papers', 0 is zero padding, anything between or learned beside."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv1d, PartialConv2d, PartialConv3d, convert_padding
from pcpad.errors import UserTypeError, UserValueError
from pcpad.functional import padding_ratio, partial_conv2d

LAYERS = {PartialConv1d: (9,), PartialConv2d: (9, 8), PartialConv3d: (5, 6, 7)}


@pytest.mark.parametrize(("kind", "size"), LAYERS.items())
def test_zero_is_zero_padding_to_the_bit(kind, size):
    layer = kind(3, 4, 3, padding=1)
    x = torch.randn(2, 3, *size)
    layer.exponent = 0
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(size)]
    assert torch.equal(layer(x), conv(x, layer.weight, layer.bias, padding=1))


@pytest.mark.parametrize(("kind", "size"), LAYERS.items())
@pytest.mark.parametrize("exponent", [0.3, -0.5, 2.0])
def test_a_number_is_the_power_of_the_ratio(kind, size, exponent):
    layer = kind(3, 4, 3, padding=1, stride=2)
    x = torch.randn(2, 3, *size)
    layer.exponent = exponent
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(size)]
    bias = layer.bias.view(-1, *[1] * len(size))
    wanted = conv(x, layer.weight, None, 2, 1) * padding_ratio(size, 3, 2, 1) ** exponent + bias
    torch.testing.assert_close(layer(x), wanted)


def test_one_is_the_same_layer():
    layer, x = PartialConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 6, 6)
    plain = layer(x)
    layer.exponent = 1.0
    assert torch.equal(layer(x), plain)


def test_a_channel_s_exponent_is_learned():
    x, weight, bias = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    exponent = torch.rand(4, dtype=torch.float64, requires_grad=True)
    args = (x.double(), weight.double(), bias.double())
    assert torch.autograd.gradcheck(lambda e: partial_conv2d(*args, padding=1, exponent=e), (exponent,))
    each = [partial_conv2d(*args, padding=1, exponent=float(e))[:, n] for n, e in enumerate(exponent)]
    torch.testing.assert_close(partial_conv2d(*args, padding=1, exponent=exponent), torch.stack(each, 1))


@pytest.mark.parametrize("exponent", [0.0, 0.5, -1.0])
def test_with_a_mask_holes_stay_holes(exponent):
    x, weight, bias = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3, 3), torch.randn(3)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    y, new = partial_conv2d(x, weight, bias, padding=1, mask=mask, return_mask=True, exponent=exponent)
    _, plain = partial_conv2d(x, weight, bias, padding=1, mask=mask, return_mask=True)
    assert torch.equal(new, plain)
    assert bool(y.isfinite().all())
    assert not bool(y[..., 6:].any())


def test_windows_wholly_in_the_padding_stay_zero():
    x, weight, bias = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 1, 1), torch.randn(1)
    y = partial_conv2d(x, weight, bias, padding=1, exponent=-0.5)
    assert not bool(y[..., 0, :].any())
    assert bool(y.isfinite().all())


def test_half_precision_counts_in_float32():
    layer, x = PartialConv2d(3, 4, 3, padding=1).bfloat16(), torch.randn(1, 3, 6, 6).bfloat16()
    layer.exponent = torch.full((4,), 0.5)
    assert layer(x).dtype == torch.bfloat16


def test_it_is_traced_and_exported():
    network = nn.Sequential(PartialConv2d(3, 4, 3, padding=1)).eval()
    network[0].exponent = 0.5
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(torch.fx.symbolic_trace(network)(x), network(x))
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))


@pytest.mark.parametrize(
    ("exponent", "error", "words"),
    [
        (float("nan"), UserValueError, "finite"),
        (torch.zeros(3), UserValueError, "each of the 4 output channels"),
        (torch.zeros(4, dtype=torch.int64), UserTypeError, "floats"),
        ("much", UserTypeError, "number"),
    ],
)
def test_what_is_no_exponent_is_refused(exponent, error, words):
    layer = PartialConv2d(3, 4, 3, padding=1)
    layer.exponent = exponent
    with pytest.raises(error, match=words):
        layer(torch.randn(1, 3, 6, 6))


def test_converting_to_the_same_padding_keeps_it_and_to_another_does_not():
    network = nn.Sequential(PartialConv2d(3, 4, 3, padding=1))
    network[0].exponent = 0.5
    assert convert_padding(network, "partial")[0].exponent == 0.5
    convert_padding(network, "zeros")
    assert convert_padding(network, "partial")[0].exponent is None


def test_it_is_said():
    layer = PartialConv2d(3, 4, 3, padding=1)
    assert "exponent" not in repr(layer)
    layer.exponent = 0.25
    assert "exponent=0.25" in repr(layer)
