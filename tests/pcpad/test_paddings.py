"""The registry, the registered paddings against direct definitions, and explicit padding."""

import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import ExplicitPadConv2d, convert_padding
from pcpad.layers import PaddedConv1d, PaddedConv2d, PaddedConv3d
from pcpad.paddings import _REGISTERED, pad_function, padding_descriptions, padding_names, register_padding


def padded(name, x, pads):
    return pad_function(name)(x, pads)


def test_the_names_the_suite_promises():
    promised = {"partial", "zeros", "reflect", "replicate", "circular", "explicit", "mean", "extrapolate"}
    assert promised <= set(padding_names())


def test_extrapolate_continues_a_plane_exactly():
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(15.0), indexing="ij")
    plane = (3 * rows - 2 * columns + 1)[None, None].double()
    assert torch.allclose(padded("extrapolate", plane[..., 3:-4, 2:-5], [2, 5, 3, 4]), plane, atol=1e-12)


def test_extrapolate_repeats_a_single_value():
    assert padded("extrapolate", torch.tensor([[[7.0]]]), [2, 1]).tolist() == [[[7.0] * 4]]


def test_mean_keeps_the_interior_and_stops_the_gradient_in_the_border():
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    y = padded("mean", x, [2, 2, 1, 1])
    assert torch.equal(y[..., 1:-1, 2:-2], x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_mean_border_is_the_stretched_local_mean():
    x = torch.rand(1, 2, 8, 10)
    expected = F.interpolate(F.avg_pool2d(x, 3, stride=1), size=(10, 12), mode="bilinear", align_corners=False)
    y = padded("mean", x, [1, 1, 1, 1])
    for edge in (y[..., 0, :] - expected[..., 0, :], y[..., :, -1] - expected[..., :, -1]):
        assert edge.abs().max() == 0


@pytest.mark.parametrize("name", ["mean", "extrapolate", "replicate", "reflect", "circular"])
@pytest.mark.parametrize(("layer", "size"), [(PaddedConv1d, (9,)), (PaddedConv2d, (9, 8)), (PaddedConv3d, (6, 7, 8))])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_padding_runs_in_every_dimension_and_dtype(name, layer, size, dtype):
    conv = layer(2, 4, 3, stride=2, padding=2, dilation=2, padding_mode=name, dtype=dtype)
    batch = torch.rand(2, 2, *size, dtype=dtype)
    alone = conv(batch[0])
    expected = tuple((s + 4 - 4 - 1) // 2 + 1 for s in size)
    assert conv(batch).shape[2:] == expected
    assert torch.allclose(alone.float(), conv(batch)[0].float(), atol=1e-2)


@pytest.mark.parametrize("name", ["reflect", "circular"])
def test_too_small_an_input_names_the_layer_and_the_size(name):
    network = convert_padding(nn.Sequential(nn.Conv2d(1, 1, 7, padding=3)), name)
    said = r"Layer '0' cannot pad .*\(2, 9\).*fallback='replicate'.*--model\.fallback replicate"
    with pytest.raises(ValueError, match=said):
        network(torch.rand(1, 1, 2, 9))


def test_fallback_replicates_on_just_the_small_axis():
    x = torch.rand(1, 1, 2, 9)
    conv = PaddedConv2d(1, 1, 7, padding=3, padding_mode="reflect", fallback="replicate")
    by_hand = F.pad(F.pad(x, [0, 0, 3, 3], mode="replicate"), [3, 3, 0, 0], mode="reflect")
    assert torch.allclose(conv(x), F.conv2d(by_hand, conv.weight, conv.bias), atol=1e-6)


def test_a_registered_function_is_a_padding_everywhere():
    @register_padding("sevens")
    def sevens(x, pads):
        return F.pad(x, list(pads), value=7.0)

    try:
        conv = convert_padding(nn.Conv2d(1, 1, 3, padding=1, bias=False), "sevens")
        nn.init.ones_(conv.weight)
        assert conv(torch.zeros(1, 1, 2, 2))[0, 0, 0, 0] == 5 * 7
        with pytest.raises(ValueError, match="registered already"):
            register_padding("sevens")
    finally:
        del _REGISTERED["sevens"]


@pytest.fixture
def register():
    """Register paddings for one test."""
    before = dict(_REGISTERED)
    yield register_padding
    _REGISTERED.clear()
    _REGISTERED.update(before)


@pytest.mark.parametrize(
    ("smallest", "text", "ok"),
    [(5, r"at least \(0, 5\)", (1, 5)), (lambda before, after: before + 2 * after, r"at least \(0, 3\)", (1, 3))],
)
def test_a_registered_padding_says_itself_what_it_takes(register, smallest, text, ok):
    register("picky", smallest=smallest)(lambda x, pads: F.pad(x, list(pads), value=2.0))
    make = {"kernel_size": (1, 3), "padding": (0, 1), "bias": False, "padding_mode": "picky"}
    conv, x = PaddedConv2d(1, 1, **make), torch.zeros(1, 1, 1, 2)
    with pytest.raises(ValueError, match=text):
        conv(x)
    assert conv(torch.zeros(1, 1, *ok)).abs().sum() > 0
    assert PaddedConv2d(1, 1, fallback="replicate", **make)(x).abs().sum() == 0


def test_a_padding_that_takes_any_size_is_never_too_small(register):
    register("any")(lambda x, pads: F.pad(x, list(pads)))
    assert PaddedConv2d(1, 1, 7, padding=3, padding_mode="any")(torch.zeros(1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_errors_and_descriptions_are_read_from_the_registry(register):
    @register("halves")
    def halves(x, pads):
        """Fill the border with halves.

        And more.
        """
        return F.pad(x, list(pads), value=0.5)

    register("silent")(lambda x, pads: x)
    described = padding_descriptions()
    assert tuple(described) == padding_names()
    assert (described["halves"], described["silent"]) == ("Fill the border with halves.", "")
    assert all(described[name] for name in described if name != "silent")
    with pytest.raises(
        ValueError, match=r"Unknown padding 'halvs': expected one of partial, .*halves.*mean 'halves'\?"
    ):
        convert_padding(nn.Conv2d(1, 1, 3, padding=1), "halvs")


def test_registering_without_a_name_is_refused():
    with pytest.raises(TypeError, match=r'as in `@register_padding\("symmetric"\)`'):

        @register_padding
        def forgotten(x, pads):
            return x


@pytest.mark.slow
def test_a_padding_of_a_module_of_ones_own_serves_layers_tasks_and_bench(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch.nn.functional as F\n"
        "from pcpad import register_padding\n"
        "@register_padding('half', smallest=lambda before, after: 2 * max(before, after))\n"
        "def half(x, pads):\n"
        "    'Half of the nearest value.'\n"
        "    return F.pad(x, list(pads), mode='replicate') / 2 + F.pad(x, list(pads)) / 2\n"
    )
    code = """
import mine, pcpad, torch
from torch import nn
x = torch.ones(1, 1, 4, 4)
conv = pcpad.convert_padding(nn.Conv2d(1, 1, 3, padding=1, bias=False), "half")
nn.init.ones_(conv.weight)
print(conv(x)[0, 0, 0].tolist())
from pcpad.tasks import ActionRecognitionTask, ClassificationTask, GaussianFilteringTask, SegmentationTask
for padding in ({"padding": "half", "fallback": "replicate"}, {"padding": "reflect", "fallback": "half"}):
    task = ClassificationTask(network="resnet18", num_classes=2, **padding).eval()
    print(task.network(torch.ones(1, 3, 64, 64)).shape[1], task.network.conv1.padding_mode)
    ActionRecognitionTask(network="resnet3d18", width=4, **padding)
    GaussianFilteringTask(**padding)
    SegmentationTask(encoder="resnet18", **padding)
from pcpad.cli import main
main("bench --network resnet18 --size 64x64 --rounds 2 --mode inference --paddings half".split())
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "[6.5, 7.5, 7.5, 6.5]"
    assert lines[1:3] == ["2 half", "2 reflect"]
    assert any(re.search(r"\bhalf\b.*\d\.\d\d", line) for line in lines[3:]), run.stdout


def explicit_by_loops(layer, x):
    """Each output position with the filter of its class, a window at a time."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    height, width = x.shape[2:]
    filters = [*layer.border_weight[:4], layer.weight, *layer.border_weight[4:]]
    padded_x = F.pad(x, [pw, pw, ph, ph])
    rows, columns = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1

    def third(index, stride, pad, reach, size):
        before, after = index * stride - pad < 0, index * stride - pad + reach > size - 1
        assert not (before and after)
        return 0 if before else 2 if after else 1

    out = x.new_zeros(x.shape[0], layer.out_channels, rows, columns)
    for i in range(rows):
        for j in range(columns):
            which = 3 * third(i, sh, ph, dh * (kh - 1), height) + third(j, sw, pw, dw * (kw - 1), width)
            window = padded_x[:, :, i * sh : i * sh + dh * (kh - 1) + 1 : dh, j * sw : j * sw + dw * (kw - 1) + 1 : dw]
            out[:, :, i, j] = F.conv2d(window, filters[which], layer.bias, groups=layer.groups)[..., 0, 0]
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [(3, 1, 1, 1, 1), (5, 2, 2, 1, 2), (3, 2, 2, 2, 1), ((1, 5), (1, 3), (0, 2), 1, 1), (7, 3, 3, 1, 4)],
)
def test_explicit_uses_the_filter_of_each_position(kernel, stride, padding, dilation, groups):
    torch.manual_seed(0)
    layer = ExplicitPadConv2d(4, 8, kernel, stride, padding, dilation, groups, dtype=torch.float64)
    nn.init.normal_(layer.border_weight)
    for size in ((13, 14), (16, 11)):
        x = torch.rand(2, 4, *size, dtype=torch.float64)
        assert torch.allclose(layer(x), explicit_by_loops(layer, x), atol=1e-10)


def test_explicit_takes_the_nearer_side_when_the_kernel_is_larger_than_the_input():
    layer = ExplicitPadConv2d(1, 1, 5, padding=2, bias=False)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.border_weight.copy_(torch.arange(1.0, 9.0).view(8, 1, 1, 1, 1).expand_as(layer.border_weight))
    # Every window covers the whole 2x2 input of ones, so an output is 4 times its filter's number.
    assert layer(torch.ones(1, 1, 2, 2))[0, 0].tolist() == [[4.0, 12.0], [24.0, 32.0]]


def test_explicit_gradients():
    layer = ExplicitPadConv2d(1, 2, 3, padding=1, dtype=torch.float64)
    x = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = (layer.weight.detach().requires_grad_(), layer.border_weight.detach().requires_grad_())

    def run(x, weight, border):
        return torch.func.functional_call(layer, {"weight": weight, "border_weight": border}, x)

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_explicit_moves_to_other_layouts_and_dtypes():
    torch.manual_seed(0)
    network = nn.Sequential(ExplicitPadConv2d(4, 6, 3, padding=1), nn.ReLU())
    nn.init.normal_(network[0].border_weight)
    x = torch.rand(2, 4, 7, 8)
    expected, state = network(x), {name: value.clone() for name, value in network.state_dict().items()}
    network(x).sum().backward()
    network.to(memory_format=torch.channels_last)
    assert all(filters.is_contiguous(memory_format=torch.channels_last) for filters in network[0].border_weight)
    assert torch.equal(network[0].border_weight, state["0.border_weight"])
    assert network[0].border_weight.grad.shape == network[0].border_weight.shape
    assert torch.allclose(network(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-6)
    assert network.double()[0].border_weight.dtype == torch.float64
    assert network.to("meta")[0].border_weight.shape == (8, 6, 4, 3, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (5, 1)], ids=str)
def test_what_explicit_returns_may_be_overwritten_while_it_learns(size):
    torch.manual_seed(0)
    layer = ExplicitPadConv2d(2, 3, 3, padding=1)
    x = torch.rand(2, 2, *size, requires_grad=True)
    (by_layer,) = torch.autograd.grad(F.relu(layer(x)).sum(), x)
    (in_place,) = torch.autograd.grad(F.relu_(layer(x)).sum(), x)
    assert torch.equal(in_place, by_layer)
