"""What is known of a network that was followed: which modules its forward calls, and what it changes in place."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv2d, convert_padding
from pcpad._conversion_report import IN_PLACE, NO_PADDING, OUTSIDE, REPLACED, UNUSED
from pcpad._observed import CHANGED
from pcpad.functional import partial_conv2d


class Padded(nn.Module):
    """Pads with zeros before its convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1)))


class WithHead(nn.Module):
    """Has a head for training."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), Padded()

    def forward(self, x):
        x = self.body(x)
        return (x, self.head(x)) if self.training else x


class Coder(nn.Module):
    """Decodes in `forward`, as autoencoders for latent diffusion do in evaluation."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), Padded()

    def encode(self, x):
        return self.head(x)

    def forward(self, x):
        return self.body(x)


class Layered(nn.Module):
    """Has a layer that pads, which the forward calls in training alone, or another method does, or nothing."""

    def __init__(self, pad=None):
        super().__init__()
        self.pad = pad or nn.ZeroPad2d(1)
        self.conv, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3))

    def forward(self, x):
        return self.last(self.conv(x))


class InTraining(Layered):
    def forward(self, x):
        return self.last(self.conv(self.pad(x) if self.training else x))


class ByMethod(Layered):
    def encode(self, x):
        return self.conv(self.pad(x))


class Paddings(nn.Conv2d):
    """A convolution that also pads with a layer of its own."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, x):
        return super().forward(self.pad(x))


def converted(network, padding="partial", **options):
    return convert_padding(network, padding, return_report=True, **options)[1]


def reasons(report):
    return {row.name: row.why for row in report.left}


EXAMPLES = pytest.mark.parametrize("example", [None, torch.rand(1, 3, 16, 16)], ids=["read", "run"])


@pytest.mark.faults
@pytest.mark.parametrize("kind", [WithHead, Coder])
@EXAMPLES
def test_a_part_that_the_forward_does_not_call_is_converted_by_itself(kind, example):
    network = kind()
    report = converted(network, example=example)
    assert {row.name: row.why for row in report.converted} == {"body": "", "head.conv": IN_PLACE}
    assert reasons(report) == {"head": REPLACED}
    x, conv = torch.rand(1, 4, 9, 9), network.head.conv
    expected = partial_conv2d(x, conv.weight, conv.bias, padding=((1, 1), (1, 1)))
    assert torch.allclose(network.head(x), expected, atol=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "why"), [(Layered, UNUSED), (InTraining, OUTSIDE), (ByMethod, OUTSIDE)], ids=["none", "training", "method"]
)
@EXAMPLES
def test_nothing_calls_a_layer_only_where_no_code_does(kind, why, example):
    report = converted(kind(), example=example)
    assert reasons(report)["pad"] == why
    assert bool(report.said()) == (why == OUTSIDE)


@pytest.mark.faults
@EXAMPLES
def test_a_layer_that_pads_otherwise_is_called_too(example):
    network = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3))
    report = converted(network, example=example)
    assert reasons(report) == {"0": REPLACED, "2": OUTSIDE, "3": NO_PADDING}


@pytest.mark.faults
@pytest.mark.parametrize("options", [{}, {"padding": 1}], ids=["valid", "padded"])
@EXAMPLES
def test_the_zeros_of_a_convolution_s_own_layer_are_listed(options, example):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), Paddings(3, 4, 5, **options))
    report = converted(network, example=example)
    assert reasons(report)["1.pad"] == OUTSIDE
    assert [row.name for row in report.kept] == ["1.pad"]
    assert isinstance(network[1], PartialConv2d) == bool(options)


class ByHand(nn.Module):
    """Pads with zeros, and changes them or not before it convolves."""

    def __init__(self, change, **options):
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 4, 3, **options), change

    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1))
        self.change(x)
        return self.conv(x)


def circular(x):
    x[..., 0] = x[..., -2]
    x[..., -1] = x[..., 1]


def copied(x):
    x[..., 0].copy_(x[..., -2])


def filled(x):
    x[:, :, 0] = 1.0


def added_to(x):
    x[:, :, :1] += 1.0


def added_to_a_view(x):
    first = x.narrow(2, 0, 1)
    first += 1.0


def named_twice(x):
    torch.add(x, 1.0, out=x)


def in_a_function(x):
    F.hardtanh(x.transpose(2, 3), 1.0, 2.0, inplace=True)


CHANGES = (circular, copied, filled, added_to, added_to_a_view, named_twice, in_a_function)


@pytest.mark.faults
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@EXAMPLES
def test_a_border_written_by_hand_stays(change, example):
    network, x = ByHand(change), torch.rand(1, 3, 8, 8)
    before = network(x)
    report = converted(network, "replicate", example=example)
    assert {row.name: row.why for row in report.kept} == {"conv": CHANGED}
    assert torch.equal(network(x), before)


@EXAMPLES
def test_a_convolution_s_own_padding_is_converted_around_a_border_written_by_hand(example):
    network, x = ByHand(circular, padding=1), torch.rand(1, 3, 8, 8)
    report = converted(network, "replicate", example=example)
    assert [(row.name, row.why) for row in report.converted] == [("conv", "")]
    padded = F.pad(x, (1, 1, 1, 1))
    circular(padded)
    expected = F.conv2d(F.pad(padded, (1, 1, 1, 1), mode="replicate"), network.conv.weight, network.conv.bias)
    assert torch.allclose(network(x), expected, atol=1e-6)


class After(ByHand):
    """Changes other tensors, or what it has padded once that is convolved."""

    def forward(self, x):
        x = x.clone()
        x[..., 0] = 1.0
        padded = F.pad(x, (1, 1, 1, 1))
        height = padded.shape[2]
        height += 1
        y = self.conv(padded)
        x += 1.0
        y[..., 0].copy_(padded.mean((1, 3))[:, None, 1:-1].expand(-1, 4, -1))
        padded.zero_()
        return y


@pytest.mark.faults
def test_other_changes_in_place_do_not_matter():
    network = After(None)
    report = converted(network)
    assert [(row.name, row.why) for row in report.converted] == [("conv", IN_PLACE)]


@pytest.mark.faults
def test_changes_between_two_paddings_count():
    class Two(ByHand):
        def forward(self, x):
            x = F.pad(x, (1, 0, 1, 0))
            x[..., 0] = 1.0
            return self.conv(F.pad(x, (0, 1, 0, 1)))

    for example in (None, torch.rand(1, 3, 8, 8)):
        network = Two(None)
        report = converted(network, example=example)
        assert {row.name: row.why for row in report.kept} == {"conv": CHANGED}
