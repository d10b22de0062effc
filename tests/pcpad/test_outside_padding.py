"""Zeros that are padded before a convolution: seen, and replaced by the convolution's own border."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import DeformConv2d

from pcpad import PartialConv2d, convert_padding
from pcpad._conversion_report import OUTSIDE, OWN_KIND
from pcpad._outside_padding import look
from pcpad.errors import UserValueError
from pcpad.functional import partial_conv1d, partial_conv2d, partial_conv3d
from pcpad.paddings import pad_function

BY_SIZE = "its input comes with zeros around it, by an amount that depends on the size"


class Downsampler(nn.Module):
    """As diffusers' downsamplers."""

    def __init__(self, channels=3, padding=0):
        super().__init__()
        self.channels, self.padding = channels, padding
        self.conv = nn.Conv2d(channels, 4, 3, stride=2, padding=padding)

    def forward(self, x):
        assert x.shape[1] == self.channels  # stops `torch.fx`
        if self.padding == 0:
            x = F.pad(x, (0, 1, 0, 1), mode="constant", value=0)
        return self.conv(x)


class Tensorflows(nn.Module):
    """As transformers' MobileNets: by the size."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2)

    def forward(self, x):
        pads = [3 - (length % 2 or 2) for length in (x.shape[-1], x.shape[-2])]
        return self.conv(F.pad(x, (pads[0] // 2, pads[0] - pads[0] // 2, pads[1] // 2, pads[1] - pads[1] // 2)))


class Held(nn.Module):
    """As transformers' EfficientNet: a layer that pads, beside the convolution."""

    def __init__(self, pad, convolution, between=None):
        super().__init__()
        self.pad, self.convolution, self.between = pad, convolution, between

    def forward(self, x):
        x = self.pad(x)
        return self.convolution(x if self.between is None else self.between(x))


class Both(nn.Module):
    """What is padded reaches a convolution and a pooling, as in timm's HGNet."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 3, 2), nn.MaxPool2d(2, 1)

    def forward(self, x):
        x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x) + self.pool(x)


class Twice(nn.Module):
    """One convolution, with and without zeros before it."""

    def __init__(self, second):
        super().__init__()
        self.conv, self.second = nn.Conv2d(3, 3, 3), second

    def forward(self, x):
        return self.conv(self.conv(F.pad(x, (1, 1, 1, 1))) if not self.second else F.pad(self.conv(x), (1, 1, 1, 1)))


class InPlace(nn.Module):
    """Changes what it has padded."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1))
        x.add_(1)
        return self.conv(x)


class Mode(nn.Module):
    """Pads, but not with zeros."""

    def __init__(self, **options):
        super().__init__()
        self.conv, self.options = nn.Conv2d(3, 3, 3), options

    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1), **self.options))


def converted(network, padding="partial", **options):
    return convert_padding(network, padding, return_report=True, **options)


def rows(report):
    return {row.name: row.why for row in report.kept}


CASES = {
    "sequence": (lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 4, 3)), "1", ((2, 1), (1, 0))),
    "constant": (lambda: nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.Conv2d(3, 4, 3, 2)), "1", ((1, 1), (1, 1))),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.ZeroPad2d(1)), nn.Identity(), nn.Sequential(nn.Conv2d(3, 4, 3))),
        "2.0", ((1, 1), (1, 1)),
    ),
    "twice": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((0, 1, 0, 0)), nn.Conv2d(3, 4, 3)), "2", ((1, 1), (1, 2)),
    ),
    "and its own": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 0, 0)), nn.Conv2d(3, 4, 3, padding=1)), "1", ((0, 0), (1, 0)),
    ),
    "held": (lambda: Held(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2)), "convolution", ((0, 1), (0, 1))),
    "downsampler": (Downsampler, "conv", ((0, 1), (0, 1))),
    "within": (lambda: nn.Sequential(nn.Identity(), Downsampler()), "1.conv", ((0, 1), (0, 1))),
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("padding", ["partial", "replicate", "reflect", "explicit"])
def test_the_convolution_puts_its_border_where_zeros_were_padded(case, padding):
    build, name, zeros = CASES[case]
    torch.manual_seed(0)
    network = build().double()
    layer = network.get_submodule(name)
    before, keys = {}, list(network.state_dict())
    for size in itertools.product((9, 10), (8, 11)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        before[x] = network(x)
    _, report = converted(network, padding)
    assert not report.kept
    assert [row.name for row in report.converted] == [name]
    own = layer.padding
    pairs = tuple((a + c, b + c) for (a, b), c in zip(zeros, own, strict=True))
    pads = [side for pair in reversed(pairs) for side in pair]
    for x, zero in before.items():
        if padding == "partial":
            expected = partial_conv2d(x, layer.weight, layer.bias, layer.stride, pairs)
        elif padding == "explicit":  # copies of the filter at first
            expected = zero
        else:
            expected = F.conv2d(pad_function(padding)(x, pads), layer.weight, layer.bias, layer.stride)
        assert torch.allclose(network(x), expected, atol=1e-12)
    converted(network, "zeros", drop_border_filters=True)
    assert type(layer) is nn.Conv2d
    assert list(network.state_dict()) == keys
    assert all(torch.equal(network(x), zero) for x, zero in before.items())


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions(dims):
    pad = {1: nn.ConstantPad1d((2, 0), 0), 3: nn.ZeroPad3d((1, 0, 0, 0, 2, 0))}[dims]
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims](3, 4, 3)
    network = converted(nn.Sequential(pad, conv))[0]
    run = {1: partial_conv1d, 3: partial_conv3d}[dims]
    x = torch.rand(1, 3, *[7] * dims)
    pairs = {1: ((2, 0),), 3: ((2, 0), (0, 0), (1, 0))}[dims]
    assert torch.allclose(network(x), run(x, conv.weight, conv.bias, padding=pairs), atol=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (Tensorflows, {"conv": BY_SIZE}),
        (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3)), {"0": OUTSIDE}),
        (lambda: Held(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.ReLU()), {"pad": OUTSIDE}),
        (lambda: Held(nn.ConstantPad2d(1, 0.5), nn.Conv2d(3, 4, 3)), {"pad": OUTSIDE}),
        (Both, {"(root)": "it also pads the input of layers that are no convolutions"}),
        (lambda: Twice(second=False), {"conv": "only some of its calls come with zeros"}),
        (lambda: Twice(second=True), {"conv": "only some of its calls come with zeros"}),
        (lambda: Mode(mode="reflect"), {"conv": "its input comes padded by 'reflect'"}),
        (lambda: Mode(value=1.0), {"conv": "its input comes padded with 1.0"}),
        (lambda: nn.Sequential(nn.ZeroPad2d((-1, 1, -1, 1)), nn.Conv2d(3, 4, 3)),
         {"1": "its input comes padded by (-1, 1, -1, 1), which crops or adds channels", "0": OUTSIDE}),
        (lambda: nn.Sequential(DeformConv2d(3, 4, 3, padding=1)), {"0": OWN_KIND}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_example", [False, True])
def test_what_cannot_be_replaced_is_listed_with_the_reason(build, expected, with_example):
    network = build()
    if with_example and isinstance(network[0] if isinstance(network, nn.Sequential) else None, DeformConv2d):
        pytest.skip("takes two inputs")
    example = torch.rand(1, 3, 16, 16) if with_example else None
    _, report = converted(network, example=example)
    assert rows(report) == expected


@pytest.mark.faults
def test_an_example_shows_what_torch_fx_cannot():
    class Branch(Downsampler):
        def forward(self, x, kind):
            if kind.sum() > 0:
                x = F.pad(x, (0, 1, 0, 1))
            return self.conv(x)

    network, x = Branch(), torch.rand(1, 3, 9, 9)
    _, report = converted(network, example=(x, torch.ones(1)))
    assert [row.name for row in report.converted] == ["conv"]
    expected = partial_conv2d(x, network.conv.weight, network.conv.bias, 2, ((0, 1), (0, 1)))
    assert torch.allclose(network(x, torch.ones(1)), expected, atol=1e-6)
    _, report = converted(Branch(), example={"x": x, "kind": torch.zeros(1)})
    assert not report.converted


@pytest.mark.parametrize("with_example", [False, True])
def test_what_is_changed_in_place_is_not_zeros(with_example):
    network, x = InPlace(), torch.rand(1, 3, 8, 8)
    before = network(x)
    _, report = converted(network, example=x if with_example else None)
    assert not report.converted
    assert rows(report) == {"conv": "its input comes with zeros around it, and is then changed in place"}
    assert torch.equal(network(x), before)


def test_an_example_that_does_not_fit_is_refused_before_anything_is_done():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(UserValueError, match=r"does not take `example` \(\(1, 4, 8, 8\)\).*Nothing has been converted"):
        convert_padding(network, example=torch.rand(1, 4, 8, 8))
    assert type(network[0]) is nn.Conv2d


def test_looking_changes_nothing():
    network = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    network[2].eval()
    calls, state = [], {key: value.clone() for key, value in network.state_dict().items()}
    network[1].register_forward_hook(lambda *_: calls.append(1))
    random = torch.get_rng_state()
    observed = look(network, torch.empty(1, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), random)
    assert observed.before("1") == ((1, 1), (1, 1))
    assert not calls
    assert [module.training for module in network] == [True, True, False, True]
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert len(network[1]._forward_hooks) == 1


def test_what_nothing_calls_does_not_pad():
    """As transformers' EfficientNet, which has a layer that pads in every block and calls it where it strides."""

    class Block(Held):
        def forward(self, x):
            return self.convolution(self.pad(x) if self.convolution.stride == (2, 2) else x)

    pad = nn.ZeroPad2d((0, 1, 0, 1))
    network = nn.Sequential(Block(pad, nn.Conv2d(3, 3, 3, 2)), Block(copy.copy(pad), nn.Conv2d(3, 3, 3, padding=1)))
    for example in (None, torch.rand(1, 3, 16, 16)):
        _, report = converted(network, example=example)
        assert [row.name for row in report.converted] == ["0.convolution", "1.convolution"]
        assert {row.name: row.why for row in report.left}["1.pad"] == "nothing calls it"
        assert not report.kept
        converted(network, "zeros")


def test_multiply_adds_are_counted():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 10))
    _, report = converted(network, example=torch.rand(1, 3, 8, 8))
    assert report.multiply_adds == 3 * 4 * 9 * 64 + 2560
    assert report.converted[0].multiply_adds == 3 * 4 * 9 * 64
    assert report.share(report.converted) == pytest.approx(6912 / 9472)


def test_a_network_compiles_and_exports_after_it():
    network = converted(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2), nn.ReLU()))[0].eval()
    assert isinstance(network[1], PartialConv2d)
    x = torch.rand(1, 3, 9, 12)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), network(x), atol=1e-6)
    program = torch.export.export(network, (x,)).module()
    assert torch.allclose(program(x), network(x), atol=1e-6)


class MobileNetV2ConvLayer(nn.Module):
    """As transformers writes it, under the same name."""

    __module__ = "transformers.models.mobilenet_v2.modeling_mobilenet_v2"

    def __init__(self, config, **options):
        super().__init__()
        self.config = config
        self.convolution = nn.Conv2d(3, 4, 3, bias=False, **options)

    def padded(self, features):
        amounts = []
        conv = self.convolution
        for length, k, s, d in zip(features.shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True):
            total = max(k - (s if int(length) % s == 0 else int(length) % s), 0)
            amounts = [total // 2 * d, (total - total // 2) * d, *amounts]
        return F.pad(features, amounts, "constant", 0.0), amounts

    def forward(self, features):
        if self.config.tf_padding:
            features = self.padded(features)[0]
        return self.convolution(features)


@pytest.mark.faults
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"stride": 3}])
def test_transformers_mobilenets(options):
    torch.manual_seed(0)
    config = SimpleNamespace(tf_padding=True)
    network = nn.Sequential(nn.Identity(), MobileNetV2ConvLayer(config, **options))
    layer, (x, y) = network[1], (torch.rand(1, 3, 9, 12), torch.rand(1, 3, 10, 11))
    before = network(x), network(y)
    for padding in ("partial", "replicate"):
        _, report = converted(network, padding)
        assert [row.name for row in report.converted] == ["1.convolution"]
        assert not report.kept
        assert config.tf_padding, "shared with other layers"
        for image in (x, y):
            (left, right, top, bottom), conv = layer.padded(image)[1], layer.convolution
            shape = (conv.stride, ((top, bottom), (left, right)), conv.dilation)
            expected = partial_conv2d(image, conv.weight, None, *shape)
            if padding == "replicate":
                padded = F.pad(image, (left, right, top, bottom), mode="replicate")
                expected = F.conv2d(padded, conv.weight, None, conv.stride, 0, conv.dilation)
            assert torch.allclose(network(image), expected, atol=1e-6)
    converted(network, "zeros")
    assert layer.config is config
    assert all(torch.equal(network(image), zero) for image, zero in zip((x, y), before, strict=True))
    assert vars(layer).keys() == vars(MobileNetV2ConvLayer(config)).keys()
