"""Batch norm folded into convolutions that keep their ratio."""

import copy

import pytest
import torch
from torch import nn

from pcpad import PartialConv2d, convert_padding, fuse_padding
from pcpad.commands.benching.counting import count
from pcpad.errors import UserTypeError, UserValueError
from pcpad.models import deeplabv3plus

pytestmark = pytest.mark.faults


class Block(nn.Module):
    """A residual block, and a norm that follows no convolution."""

    def __init__(self, padding="partial"):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=2)
        self.norm2 = nn.BatchNorm2d(8)
        self.short = nn.Sequential(nn.Conv2d(8, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8, affine=False))
        self.last = nn.BatchNorm2d(8)
        convert_padding(self, padding)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(self.norm2(self.second(x)) + self.short(x)))


@pytest.mark.parametrize("padding", ["partial", "zeros", "reflect", "mean"])
@pytest.mark.parametrize("inplace", [False, True])
def test_fused_is_the_same_network(padding, inplace):
    torch.manual_seed(0)
    network, x = Block(padding).eval(), torch.randn(2, 3, 15, 18)
    before, state = network(x).detach(), copy.deepcopy(network.state_dict())
    fused, report = fuse_padding(network, inplace=inplace, return_report=True)
    after = fused(x)
    assert (after - before).abs().max() <= 1e-6 * before.abs().max()
    assert (fused is network) == inplace
    assert [row[:2] for row in report.fused] == [("norm", "first"), ("norm2", "second"), ("short.1", "short.0")]
    assert [(row.norm, row.why) for row in report.left] == [("last", "it follows no convolution")]
    assert "3 batch norms fused, 1 left" in str(report)
    if not inplace:
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        assert count(lambda: fused(x)).total <= count(lambda: Block(padding).eval()(x)).total - 3


@pytest.mark.parametrize("aliased", ["first", "norm"])
def test_a_module_with_two_names_is_fused_under_both(aliased):
    class Aliased(Block):
        def forward(self, x):
            return torch.relu(self.norm(self.first(x)))

    torch.manual_seed(0)
    network, x = Aliased().eval(), torch.randn(2, 3, 15, 18)
    network.again = getattr(network, aliased)
    del network._modules[aliased]
    setattr(network, aliased, network.again)  # called by its second name
    before = network(x)
    fused, report = fuse_padding(network, return_report=True)
    assert len(report.fused) == 1
    assert (fused(x) - before).abs().max() <= 1e-6 * before.abs().max()


def test_half_precision_is_rounded_once():
    torch.manual_seed(0)
    network = nn.Sequential(PartialConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)).eval()
    network[1].running_var.uniform_(0.5, 2)
    wanted = fuse_padding(network)[0].weight.bfloat16()
    exact = copy.deepcopy(network)
    assert fuse_padding(exact.bfloat16())[0].weight.dtype == torch.bfloat16
    torch.testing.assert_close(fuse_padding(exact)[0].weight, wanted, rtol=0.02, atol=0.01)


def left(network):
    network.eval()
    x = torch.randn(1, 3, 9, 9)
    before = network(x)
    fused, report = fuse_padding(network, return_report=True)
    torch.testing.assert_close(fused(x), before, rtol=0, atol=0)
    assert not report.fused
    return [row.why for row in report.left]


def test_what_is_left_and_why():
    def pair(*, padding=1, **options):
        return nn.Sequential(PartialConv2d(3, 3, 3, padding=padding, **options), nn.BatchNorm2d(3))

    assert "holds nothing valid" in left(pair(padding=3))[0]  # windows that lie in the padding
    hooked = pair()
    hooked[0].register_forward_hook(lambda *_: None)
    assert left(hooked) == ["it has hooks or parametrizations"]
    normed = pair()
    nn.utils.parametrizations.weight_norm(normed[0])
    assert left(normed)  # another class, by then
    without = pair()
    without[1] = nn.BatchNorm2d(3, track_running_stats=False)
    assert left(without) == ["it has no running statistics"]
    twice = pair()
    assert left(nn.Sequential(twice, twice)) == ["it is called more than once"] * 2
    explicit = convert_padding(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)), "explicit")
    assert left(explicit) == ["ExplicitPadConv2d is of an unknown class"]

    class Used(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = PartialConv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    assert left(Used()) == ["what the convolution returns is used elsewhere too"]


def test_norms_of_timm_leave_their_activation():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = convert_padding(timm.create_model("efficientnet_b0", num_classes=3), "partial").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.1)
    x = torch.randn(1, 3, 64, 64)
    fused, report = fuse_padding(network, return_report=True)
    assert len(report.fused) == sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(fused(x), network(x), rtol=1e-4, atol=1e-4)


def test_own_networks_can_be_traced():
    network = deeplabv3plus("resnet18", num_classes=3, padding="partial").eval()
    fused, report = fuse_padding(network, return_report=True)
    assert [row.why for row in report.left] == []
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = network(x)
        assert (fused(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_layer_that_holds_a_norm_refuses_masks():
    fused = fuse_padding(nn.Sequential(PartialConv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)).eval())
    with pytest.raises(UserTypeError, match="a batch norm was fused into it"):
        fused[0](torch.randn(1, 3, 9, 9), torch.ones(1, 1, 9, 9))


def test_training_mode_and_code_that_cannot_be_traced_are_refused():
    network = Block()
    with pytest.raises(UserValueError, match=r"Call `.eval\(\)` first"):
        fuse_padding(network)

    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UserTypeError, match=r"torch\.fx cannot trace this Sequential .* Nor can any part of it"):
        fuse_padding(nn.Sequential(Asks()).eval())

    network = nn.Sequential(Block(), Asks(), nn.Sequential(Asks(), Block())).eval()
    with pytest.raises(UserTypeError, match=r"can be fused in place: 0, 2\.1, as in `fuse_padding\(model\.get_sub"):
        fuse_padding(network)
