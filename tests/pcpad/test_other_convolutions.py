"""Convolutions of timm's, torchvision's and others' classes under every padding, against definitions in float64."""

import copy
import itertools
import pickle
import subprocess
import sys

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.encoders._efficientnet import Conv2dDynamicSamePadding, Conv2dStaticSamePadding
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.conv2d_same import Conv2dSameExport
from timm.layers.padding import get_same_padding
from torch import nn
from torch.export import Dim
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.mkldnn import to_mkldnn
from torchvision.models.video.resnet import Conv3DNoTemporal, Conv3DSimple

from pcpad import MaskedSequential, PartialConv2d, PartialConv3d, convert_padding
from pcpad._other_convolutions import rule_of, same_padding
from pcpad.errors import UserTypeError
from pcpad.paddings import pad_function

SIZES = [(6, 7), (5, 9)]
NAMES = ["partial", "reflect", "replicate", "circular", "mean", "extrapolate", "explicit"]


class Named(nn.Conv2d):
    """A name and a method; no forward of its own."""

    def twice(self):
        return 2 * self.out_channels


class Centered(nn.Conv2d):
    """A forward of its own, by the base class's convolution."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Noisy(nn.Conv2d):
    """As diffusers' and others' adapters: more around the base class's forward."""

    def forward(self, x, scale=1.0):
        return super().forward(x) * scale


class OwnStep(nn.Conv2d):
    """A step of the forward of its own."""

    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight * 2, bias)


class Tuned(StdConv2d):
    """Below a class that is known."""


class ByHand(nn.Conv2d):
    """Convolves as a function: nobody can know."""

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class ByClass(nn.Conv2d):
    """Calls torch's class by name, so that no other class is asked."""

    def forward(self, x):
        return nn.Conv2d.forward(self, x)


class PadsFirst(nn.Conv2d):
    """As diffusers' causal convolutions: pads, then hands on."""

    def forward(self, x):
        return super().forward(F.pad(x, (2, 0, 2, 0)))


def same_pads(layer, size):
    """The "SAME" padding as timm computes it."""
    totals = [
        get_same_padding(*axis) for axis in zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def own_pads(layer, size):
    return [(pad, pad) for pad in layer.padding]


def static_pads(layer, size):
    pads = list(getattr(layer.static_padding, "padding", (0, 0, 0, 0)))
    return [(pads[2], pads[3]), (pads[0], pads[1])]


def raw(layer, weight):
    return weight


def standardized(layer, weight):
    """Mean 0 and variance 1, filter by filter."""
    mean = weight.mean((1, 2, 3), keepdim=True)
    var = weight.var((1, 2, 3), keepdim=True, unbiased=False)
    return (weight - mean) / (var + layer.eps).sqrt()


def gained(layer, weight):
    return standardized(layer, weight) * (layer.gain * layer.scale).repeat(
        weight.shape[0] // layer.out_channels, 1, 1, 1
    )


KINDS = [
    (lambda **o: Conv2dSame(4, 6, 3, **o), same_pads, raw),
    (lambda **o: Conv2dSame(4, 6, (5, 2), **o), same_pads, raw),
    (lambda **o: Conv2dSameExport(4, 6, 3, **o), same_pads, raw),
    (lambda **o: StdConv2d(4, 6, 3, bias=True, **o), own_pads, standardized),
    (lambda **o: StdConv2dSame(4, 6, 3, bias=True, **o), same_pads, standardized),
    (lambda **o: ScaledStdConv2d(4, 6, 3, **o), own_pads, gained),
    (lambda **o: ScaledStdConv2dSame(4, 6, 3, **o), same_pads, gained),
    (lambda **o: Conv2dDynamicSamePadding(4, 6, 3, **o), same_pads, raw),
    (lambda **o: Conv2dStaticSamePadding(4, 6, 3, image_size=32, **o), static_pads, raw),
    (lambda **o: Named(4, 6, 3, padding=1, **o), own_pads, raw),
    (lambda **o: Centered(4, 6, 3, padding=1, **o), own_pads, lambda _layer, w: w - w.mean((1, 2, 3), keepdim=True)),
    (lambda **o: Noisy(4, 6, 3, padding=1, **o), own_pads, raw),
    (lambda **o: OwnStep(4, 6, 3, padding=1, **o), own_pads, lambda _layer, w: 2 * w),
    (lambda **o: Tuned(4, 6, 3, bias=True, **o), own_pads, standardized),
]
IDS = [
    "Conv2dSame", "Conv2dSame-even", "Conv2dSameExport", "StdConv2d", "StdConv2dSame", "ScaledStdConv2d",
    "ScaledStdConv2dSame", "Dynamic", "Static", "Named", "Centered", "Noisy", "OwnStep", "Tuned",
]  # fmt: skip


def made(build, **options):
    torch.manual_seed(0)
    layer = build(**options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return layer


def brute_force(layer, x, pads, weight):
    """`y = W·(x ⊙ m)·|1|/|m| + b`, window by window."""
    (top, bottom), (left, right) = pads
    padded, valid = (F.pad(t, (left, right, top, bottom)) for t in (x, torch.ones_like(x[:, :1])))
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    rows, columns = (range(0, padded.shape[2 + axis] - reach[axis] + 1, layer.stride[axis]) for axis in (0, 1))
    out = torch.zeros(x.shape[0], layer.out_channels, len(rows), len(columns), dtype=x.dtype)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        where = (
            ...,
            slice(row, row + reach[0], layer.dilation[0]),
            slice(column, column + reach[1], layer.dilation[1]),
        )
        taps = valid[where][0, 0]
        if taps.sum() == 0:
            continue
        windows = padded[where].unflatten(1, (layer.groups, -1))
        filters = weight.unflatten(0, (layer.groups, -1))
        sums = torch.einsum("ngchw,gochw->ngo", windows, filters).flatten(1)
        out[:, :, i, j] = sums * (taps.numel() / taps.sum()) + layer.bias
    return out


@pytest.mark.faults
@pytest.mark.parametrize(("build", "pads", "weight"), KINDS, ids=IDS)
@pytest.mark.parametrize("options", [{}, {"stride": 2, "groups": 2}, {"stride": 3}])
def test_partial_is_what_it_is_defined_to_be(build, pads, weight, options):
    layer = made(build, **options)
    convert_padding(layer, "partial")
    assert isinstance(layer, PartialConv2d)
    for size in SIZES:
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        if isinstance(layer, Conv2dSameExport):
            layer.pad = None
        expected = brute_force(layer, x, pads(layer, size), weight(layer, layer.weight))
        assert torch.allclose(layer(x), expected, atol=1e-12)


@pytest.mark.parametrize("dilation", [2, 3])
def test_a_dilated_same_convolution(dilation):
    layer = made(lambda **o: Conv2dSame(4, 6, 2, **o), dilation=dilation)
    convert_padding(layer, "partial")
    for size in [(1, 1), (2, 5), (6, 7)]:
        x = torch.randn(1, 4, *size, dtype=torch.float64)
        assert torch.allclose(layer(x), brute_force(layer, x, same_pads(layer, size), layer.weight), atol=1e-12)


@pytest.mark.faults
@pytest.mark.parametrize(("build", "pads", "weight"), KINDS, ids=IDS)
@pytest.mark.parametrize("name", ["reflect", "replicate", "circular", "mean", "extrapolate"])
def test_other_paddings_pad_where_zeros_stood(build, pads, weight, name):
    layer = convert_padding(made(build, stride=2), name)
    for size in SIZES:
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        (top, bottom), (left, right) = pads(layer, size)
        padded = pad_function(name)(x, (left, right, top, bottom))
        expected = F.conv2d(padded, weight(layer, layer.weight), layer.bias, layer.stride)
        assert torch.allclose(layer(x), expected, atol=1e-12)


@pytest.mark.faults
@pytest.mark.parametrize(("build", "pads", "weight"), KINDS, ids=IDS)
def test_there_and_back_through_every_padding(build, pads, weight):
    layer = made(build, stride=2)
    own, keys, attributes = type(layer), list(layer.state_dict()), vars(layer).keys()
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(2, 4, 9, 12, dtype=torch.float64)
    before = layer(x)
    hands_on = rule_of(own).hands_on
    for name in NAMES:
        _, report = convert_padding(layer, name, drop_border_filters=True, return_report=True)
        if name == "explicit" and hands_on:
            assert "a forward of its own" in report.kept[0].why
            convert_padding(layer, "zeros")
            continue
        assert [row.after for row in report.converted] == [name]
        assert isinstance(layer, own)
        if name != "explicit":
            assert list(layer.state_dict()) == keys
            assert not torch.equal(layer(x), before)
        else:  # its border filters start as copies
            assert torch.allclose(layer(x), before, atol=1e-12)
    convert_padding(layer, "zeros", drop_border_filters=True)
    assert type(layer) is own
    assert vars(layer).keys() == attributes
    assert list(layer.state_dict()) == keys
    assert torch.equal(layer(x), before)
    assert len(calls) == (8 if hands_on else 9)


@pytest.mark.faults
@pytest.mark.parametrize(("build", "pads", "weight"), KINDS, ids=IDS)
@pytest.mark.parametrize("name", ["partial", "reflect", "explicit"])
def test_converted_layers_pickle_copy_and_take_another_dtype(build, pads, weight, name):
    layer = made(build, stride=2)
    if name == "explicit" and rule_of(type(layer)).hands_on:
        pytest.skip("refused")
    convert_padding(layer, name)
    x = torch.randn(2, 4, 9, 12, dtype=torch.float64)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert type(twin) is type(layer)
        assert torch.equal(twin(x), layer(x))
    assert layer.float()(x.float()).dtype == torch.float32
    assert type(convert_padding(copy.deepcopy(layer), "zeros", drop_border_filters=True)) in type(layer).__mro__


def test_parametrized_and_shared_layers():
    shared = spectral_norm(StdConv2dSame(4, 4, 3, stride=2))
    network = nn.Sequential(shared, shared).eval()
    x = torch.rand(1, 4, 9, 9)
    before, keys = network(x), list(network.state_dict())
    convert_padding(network, "partial")
    assert network[0] is network[1]
    assert parametrize.is_parametrized(network[0], "weight")
    assert list(network.state_dict()) == keys
    assert not torch.equal(network(x), before)
    assert torch.equal(copy.deepcopy(network)(x), network(x))
    convert_padding(network, "zeros")
    assert torch.equal(network(x), before)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [ByHand, ByClass, PadsFirst])
def test_what_cannot_be_known_is_left_and_listed(kind):
    assert rule_of(kind) is None
    layer = kind(4, 4, 3, padding=0 if kind is PadsFirst else 1)
    _, report = convert_padding(nn.Sequential(layer), "partial", return_report=True)
    assert type(layer) is kind
    assert [row.name for row in report.kept] == ["0"]
    assert not report.converted


class Labeled(nn.Conv2d):
    """Has attributes whose names a conversion might use too."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.layer_name = "stem"

    def forward(self, x):
        assert self.layer_name == "stem"
        return super().forward(x)


@pytest.mark.parametrize("name", ["partial", "reflect"])
def test_attributes_of_a_subclass_stay(name):
    layer, x = Labeled(3, 4, 3, padding=1), torch.randn(1, 3, 6, 6)
    plain = convert_padding(nn.Conv2d(3, 4, 3, padding=1), name)
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(convert_padding(layer, name)(x), plain(x))
    assert convert_padding(layer, "zeros").layer_name == "stem"


@pytest.mark.parametrize("taken", ["exponent", "fallback", "return_mask", "rule"])
def test_a_subclass_that_uses_our_names_is_left_and_listed(taken):
    layer, x = Named(3, 4, 3, padding=1), torch.randn(1, 3, 6, 6)
    setattr(layer, taken, nn.Parameter(torch.ones(1)) if taken == "exponent" else False)
    before = layer(x)
    _, report = convert_padding(layer, "partial", return_report=True)
    assert report.left[0].why == f"it has an attribute `{taken}` of its own, and layers of pcpad use that name"
    assert torch.equal(layer(x), before)
    assert getattr(layer, taken) is not None


def patch(layer):
    """As accelerate does: the forward that the instance had is called by the one that it gets."""
    old = layer.forward
    layer.forward = lambda *args: old(*args)
    return layer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zeros_before", [False, True], ids=["own padding", "zeros before"])
def test_a_replaced_forward_reaches_the_padding(name, zeros_before):
    def build():
        torch.manual_seed(0)
        front = nn.ZeroPad2d((1, 2, 0, 1)) if zeros_before else nn.Identity()
        return nn.Sequential(front, nn.Conv2d(3, 4, 3, padding=1))

    network, patched, x = build(), build(), torch.randn(2, 3, 7, 8)
    patch(patched[1])
    for each in (network, patched):
        convert_padding(each, name)
        if name == "explicit":
            torch.manual_seed(1)
            nn.init.normal_(each[1].border_weight)
    assert torch.equal(patched(x), network(x))
    assert not torch.allclose(patched(x), build()(x))


def test_a_replaced_forward_of_a_class_that_standardizes_is_left_and_listed():
    layer = patch(StdConv2d(3, 4, 3, padding=1))
    _, report = convert_padding(layer, "partial", return_report=True)
    assert report.left[0].why.startswith("its own forward has been replaced")


def test_torch_s_own_subclasses_are_left():
    layer = torch.ao.nn.qat.Conv2d(3, 4, 3, padding=1, qconfig=torch.ao.quantization.get_default_qat_qconfig())
    _, report = convert_padding(nn.Sequential(layer), "partial", return_report=True)
    assert len(report.kept) == 1


@pytest.mark.faults
def test_convolutions_of_clips_keep_their_class():
    for kind in (Conv3DSimple, Conv3DNoTemporal):
        layer = convert_padding(kind(3, 4), "partial")
        assert isinstance(layer, PartialConv3d)
        assert isinstance(layer, kind)
        assert layer.get_downsample_stride(2) == kind.get_downsample_stride(2)
        assert type(convert_padding(layer, "zeros")) is kind


def test_smp_s_networks_are_converted_dilated_ones_too():
    for architecture in ("Unet", "DeepLabV3Plus"):
        network = smp.create_model(architecture, "efficientnet-b0", encoder_weights=None).eval()
        x = torch.rand(1, 3, 64, 64)
        before = network(x)
        _, report = convert_padding(network, "partial", return_report=True)
        assert len(report.converted) > 20
        assert report.kept == ()
        assert network(x).shape == before.shape
        convert_padding(network, "zeros")
        assert torch.equal(network(x), before)


def test_a_method_of_the_class_stays():
    assert convert_padding(Named(3, 4, 3, padding=1), "partial").twice() == 8


def test_without_a_kernel_nothing_is_padded():
    _, report = convert_padding(nn.Sequential(Conv2dSame(3, 4, 1, stride=2)), "partial", return_report=True)
    assert not report.converted
    assert not report.kept


def test_masks_go_through_same_convolutions():
    network = MaskedSequential(convert_padding(made(KINDS[0][0], stride=2), "partial"))
    x = torch.randn(1, 4, 12, 13, dtype=torch.float64)
    mask = torch.ones(1, 1, 12, 13, dtype=torch.float64)
    mask[..., 6:] = 0
    output, new_mask = network(x, mask)
    assert output.shape[2:] == new_mask.shape[2:] == (6, 7)
    assert torch.equal(output, network(x * mask, mask)[0])
    assert new_mask[0, 0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0]
    handed_on = MaskedSequential(convert_padding(made(KINDS[10][0]), "partial"))
    with pytest.raises(TypeError, match="Cannot thread a mask"):
        handed_on(x, mask)


def test_what_would_lose_the_padding_is_refused():
    layer = convert_padding(Conv2dSame(3, 4, 3, stride=2), "partial").eval()
    with pytest.raises(UserTypeError, match="zero-padded convolution"):
        to_mkldnn(nn.Sequential(layer))
    fuse_conv_bn_eval(layer, nn.BatchNorm2d(4).eval())  # every window holds a valid tap
    far = convert_padding(Conv2dSame(3, 4, 2, dilation=2), "partial").eval()
    with pytest.raises(UserTypeError, match="holds nothing valid"):
        fuse_conv_bn_eval(far, nn.BatchNorm2d(4).eval())
    standard = convert_padding(StdConv2d(3, 4, 3), "partial").eval()
    with pytest.raises(UserTypeError, match="standardized"):
        fuse_conv_bn_eval(standard, nn.BatchNorm2d(4).eval())


class Strided(nn.Module):
    """Three kinds one after the other."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            Conv2dSame(3, 4, 3, stride=2), nn.ReLU(), ScaledStdConv2dSame(4, 4, 5, stride=2), StdConv2d(4, 4, 3)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("name", ["partial", pytest.param("replicate", marks=pytest.mark.slow)])
def test_compile(name):
    torch._dynamo.reset()
    network = convert_padding(Strided(), name)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for size in [(32, 33), (17, 30), (21, 21)]:
        x = torch.rand(2, 3, *size)
        assert torch.allclose(compiled(x), network(x), atol=1e-5)


@pytest.mark.parametrize("name", ["partial", pytest.param("replicate", marks=pytest.mark.slow)])
def test_export(name):
    network = convert_padding(Strided(), name).eval()
    x = torch.rand(2, 3, 32, 33)
    program = torch.export.export(network, (x,)).module()
    assert torch.allclose(program(x), network(x), atol=1e-6)


def test_export_for_any_size():
    network = convert_padding(Strided(), "partial").eval()
    sizes = {2: Dim("height", min=8, max=512), 3: Dim("width", min=8, max=512)}
    program = torch.export.export(network, (torch.rand(2, 3, 32, 33),), dynamic_shapes=(sizes,)).module()
    for size in [(32, 33), (17, 30), (40, 9)]:
        x = torch.rand(2, 3, *size)
        assert torch.allclose(program(x), network(x), atol=1e-5)


def test_torch_fx():
    network = convert_padding(Strided(), "partial")
    traced = torch.fx.symbolic_trace(network)
    for size in [(32, 33), (17, 30)]:
        x = torch.rand(2, 3, *size)
        assert torch.equal(traced(x), network(x))


def test_same_padding_is_timm_s():
    for size, kernel, stride, dilation in itertools.product(range(1, 12), range(1, 6), range(1, 5), range(1, 4)):
        total = get_same_padding(size, kernel, stride, dilation)
        came = same_padding(torch.zeros(size), (kernel,), (stride,), (dilation,))
        assert came == ((total // 2, total - total // 2),)


def test_timm_is_not_imported():
    code = (
        "import sys, torch; from pcpad import convert_padding;"
        "convert_padding(torch.nn.Conv2d(1, 1, 3, padding=1));"
        "print([m for m in ('timm', 'segmentation_models_pytorch', 'torchvision') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
