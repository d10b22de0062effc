"""Modules of people's own that pad: where their zeros go, and what is said where that is not seen."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import convert_padding
from pcpad._conversion_report import HANDED, IN_PLACE, REPLACED, UNSEEN
from pcpad._observed import BY_SIZE
from pcpad.adaptation import border_report
from pcpad.functional import partial_conv2d


class Grown(nn.Module):
    """Pads, and does nothing else."""

    def forward(self, x):
        return F.pad(x, (1, 1, 1, 1))


class SamePad(nn.Module):
    """As pytorch-mask-rcnn's `SamePad2d`: by the size."""

    def forward(self, x):
        total = [max((math.ceil(length / 2) - 1) * 2 + 3 - length, 0) for length in (x.size()[3], x.size()[2])]
        sides = [side for both in total for side in (both // 2, both - both // 2)]
        return F.pad(x, sides, "constant", 0)


class Static(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    @staticmethod
    def grown(x):
        return F.pad(x, (1, 1, 1, 1))

    def forward(self, x):
        return self.conv(self.grown(x))


class Inline(Static):
    def forward(self, x):
        return self.conv(nn.ZeroPad2d(1)(x))


class Pool(nn.Module):
    """As timm's `MaxPool2dSame`: what it pads stays within it."""

    def forward(self, x):
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 2)


class Chosen(nn.Module):
    """Cannot be traced, and its first convolution's input tells nothing of its own."""

    def __init__(self, pad):
        super().__init__()
        self.first, self.pad, self.last = nn.Conv2d(3, 4, 3, padding=1), pad, nn.Conv2d(4, 4, 3)

    def forward(self, x, kind):
        x = self.first(x)
        return self.last(self.pad(x) if kind.sum() > 0 else x)


def converted(network, **options):
    return convert_padding(network, "partial", return_report=True, **options)[1]


def sequence(*middle):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *middle)


EXAMPLES = pytest.mark.parametrize("example", [None, torch.rand(1, 3, 16, 16)], ids=["read", "run"])


@pytest.mark.faults
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: sequence(Grown(), nn.Conv2d(4, 4, 3)), "2"),
        (lambda: sequence(nn.Sequential(Grown()), nn.Identity(), nn.Conv2d(4, 4, 3)), "3"),
        (lambda: sequence(Static()), "1.conv"),
        (lambda: sequence(Inline()), "1.conv"),
    ],
    ids=["module", "nested", "static", "inline"],
)
@EXAMPLES
def test_the_convolution_takes_the_place_of_a_module_s_zeros(build, name, example):
    network, x = build(), torch.rand(1, 3, 9, 10)
    first, conv = network[0], network.get_submodule(name)
    report = converted(network, example=example)
    assert {row.name: row.why for row in report.converted} == {"0": "", name: IN_PLACE}
    assert not report.said()
    assert [row.why for row in report.left if row.why != IN_PLACE] == [REPLACED]
    expected = partial_conv2d(first(x), conv.weight, conv.bias, padding=((1, 1), (1, 1)))
    assert torch.allclose(network(x), expected, atol=1e-6)


@pytest.mark.faults
@EXAMPLES
def test_a_module_that_pads_by_the_size_is_named_by_its_convolution(example):
    report = converted(sequence(SamePad(), nn.Conv2d(4, 4, 3, stride=2)), example=example)
    assert {row.name: row.why for row in report.kept} == {"2": BY_SIZE}


@pytest.mark.faults
@EXAMPLES
def test_what_goes_to_another_layer_first_is_named(example):
    report = converted(sequence(Grown(), nn.ReLU(), nn.Conv2d(4, 4, 3)), example=example)
    assert {row.name: row.why for row in report.kept} == {"1": HANDED}


@pytest.mark.faults
@EXAMPLES
def test_padding_that_stays_within_a_module_is_not_named(example):
    report = converted(sequence(Pool(), nn.Conv2d(4, 4, 3)), example=example)
    assert not report.said()


@pytest.mark.faults
def test_a_module_that_nothing_is_seen_of_is_named():
    network, x = Chosen(Grown()), torch.rand(1, 3, 9, 9)
    report = converted(network)
    assert {row.name: row.why for row in report.kept} == {"pad": UNSEEN}
    network = Chosen(Grown())
    report = converted(network, example=(x, torch.ones(1)))
    assert [row.name for row in report.converted] == ["first", "last"]
    assert not report.said()
    assert not converted(Chosen(Pool())).said()


@pytest.mark.faults
def test_an_example_shows_zeros_below_code_that_is_not_read():
    class Hidden(nn.Module):
        pads = staticmethod(vars(F)["pad"])

        def forward(self, x):
            return getattr(self, "pa" + "ds")(x, (1, 1, 1, 1))

    assert not converted(sequence(Hidden(), nn.Conv2d(4, 4, 3))).said()
    for more in ((), (nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3))):
        network = sequence(Hidden(), nn.Conv2d(4, 4, 3), *more)
        report = converted(network, example=torch.rand(1, 3, 16, 16))
        assert network[2].zeros_before == ((1, 1), (1, 1))
        assert not report.said()


def test_the_borders_of_a_network_that_pads_by_a_module_are_measured():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), Grown(), nn.Conv2d(1, 1, 3), Grown(), nn.Conv2d(1, 1, 3))
    report = border_report(network, torch.rand(16, 1, 48, 48), paddings=["replicate"])
    assert report.results
