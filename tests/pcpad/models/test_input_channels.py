"""Networks for other channels than RGB: what trained filters become, and what is refused."""

import pytest
import torch
from torch import nn

from pcpad.errors import UserValueError
from pcpad.models import classifier, deeplabv3plus, smp_network
from pcpad.models.input_channels import adapt_input_channels, channel_statistics


def test_gray_gives_what_it_gave_as_rgb():
    network = classifier("resnet18", 4).eval()
    gray = torch.rand(2, 1, 40, 40)
    before = network(gray.expand(-1, 3, -1, -1))
    adapt_input_channels(network, 1, trained=True)
    assert torch.allclose(network(gray), before, atol=1e-5)


def test_more_channels_take_the_filters_in_turn():
    from timm.models import adapt_input_conv

    network = classifier("resnet18", 4)
    before = network.conv1.weight.detach().clone()
    adapt_input_channels(network, 5, trained=True)
    assert torch.equal(network.conv1.weight, adapt_input_conv(5, before))
    assert isinstance(network.conv1.weight, nn.Parameter)


@pytest.mark.parametrize("padding", ["partial", "explicit", "zeros"])
def test_random_filters_keep_their_outputs_size(padding):
    network = classifier("resnet18", 4, padding)
    conv, x = network.conv1, torch.randn(2, 3, 48, 48)
    before = float(conv(x).detach().std())
    adapt_input_channels(network, 12, trained=False)
    assert float(conv(torch.randn(2, 12, 48, 48)).detach().std()) == pytest.approx(before, rel=0.2)
    assert network.eval()(torch.randn(2, 12, 48, 48)).shape == (2, 4)
    assert not torch.equal(conv.weight[:, :3], conv.weight[:, 3:6])


@pytest.mark.slow
def test_segmentation_networks():
    for network in (deeplabv3plus("resnet18", 3), *(smp_network(name, "resnet18", 3) for name in ("Unet", "MAnet"))):
        adapt_input_channels(network, 5, trained=False)
        assert network.eval()(torch.rand(1, 5, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.faults
def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(UserValueError, match="Expected argument `in_channels` to be in 1 … 512, but got 0"):
        adapt_input_channels(nn.Conv2d(3, 4, 1), 0, trained=False)
    with pytest.raises(
        UserValueError, match="a network that begins with a convolution of RGB's three channels for in_channels=5"
    ):
        adapt_input_channels(nn.Conv2d(4, 4, 1), 5, trained=False)
    with pytest.raises(UserValueError, match=r"Expected argument `std` to be 5 numbers, .*but got \[0.1, 0.2, 0.3\]"):
        channel_statistics([0.5], [0.1, 0.2, 0.3], 5)
    default = channel_statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2)
    assert default[0] == pytest.approx((0.449, 0.449))
    assert channel_statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 3)[1] == (0.229, 0.224, 0.225)
