"""torch.compile, torch.export, ONNX and torch.func; each followed by a plain call that must still be right."""

import itertools
import re

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.export import Dim

from pcpad import PartialConv1d, PartialConv2d, PartialConv3d, _border

LAYERS = {1: PartialConv1d, 2: PartialConv2d, 3: PartialConv3d}
PARITIES = [(32, 33), (17, 30), (41, 8), (12, 64), (5, 5)]


class Masked(nn.Module):
    """Two layers that hand on the mask: the second one's sizes are expressions of the first one's."""

    def __init__(self, stride=1, padding=1, kernel_size=3):
        super().__init__()
        self.first = PartialConv2d(3, 4, kernel_size, stride=stride, padding=padding, return_mask=True)
        self.second = PartialConv2d(4, 2, 3, stride=stride, padding=1, return_mask=True)

    def forward(self, x, mask):
        return self.second(*self.first(x, mask))


def _plain(stride=1, padding=1, kernel_size=3):
    return nn.Sequential(
        PartialConv2d(3, 4, kernel_size, stride=stride, padding=padding),
        nn.ReLU(),
        PartialConv2d(4, 2, 3, stride=stride, padding=1),
    )


def _network(masked, **options):
    torch.manual_seed(0)
    return (Masked if masked else _plain)(**options)


def _inputs(masked, size, samples=2):
    x = torch.randn(samples, 3, *size)
    return (x, (torch.rand(samples, 1, *size) < 0.4).float()) if masked else (x,)


def _assert_same(actual, expected, tolerance=1e-5):
    actual = actual if isinstance(actual, tuple | list) else (actual,)
    expected = expected if isinstance(expected, tuple | list) else (expected,)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)


# --- torch.compile ---------------------------------------------------------------------------------------------------


def _check_compiled(network, compiled, inputs):
    results = []
    for module in (network, compiled):
        x = inputs[0].clone().requires_grad_()
        network.zero_grad()
        y = module(x, *inputs[1:])
        first = y[0] if isinstance(y, tuple) else y
        first.square().sum().backward()
        with torch.no_grad():
            quiet = module(x, *inputs[1:])
        quiet = quiet[0] if isinstance(quiet, tuple) else quiet
        results.append((first.detach(), quiet, x.grad, *[p.grad.clone() for p in network.parameters()]))
    _assert_same(results[1], results[0], 1e-4)


# A compilation takes a second or two: the fast part of the suite takes half of the cases, the other half is slow.
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("masked", "stride"), [(False, 1), (True, 2), pytest.param(False, 2, marks=SLOW), pytest.param(True, 1, marks=SLOW)]
)
def test_compile(masked, stride):
    torch._dynamo.reset()
    network = _network(masked, stride=stride)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    _check_compiled(network, compiled, _inputs(masked, (14, 15)))


@pytest.mark.parametrize("dims", [1, pytest.param(3, marks=SLOW)])
def test_compile_other_dimensions(dims):
    torch._dynamo.reset()
    layer = LAYERS[dims](3, 4, 3, padding=1, groups=1, return_mask=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, mask = torch.randn(2, 3, *[6] * dims), torch.rand(1, 3, *[6] * dims) < 0.5
    _check_compiled(layer, compiled, (x, mask))


@pytest.mark.parametrize(
    ("masked", "stride"), [(False, 2), (True, 2), pytest.param(False, 1, marks=SLOW), pytest.param(True, 1, marks=SLOW)]
)
def test_compile_once_for_all_sizes(masked, stride):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    network = _network(masked, stride=stride)
    compiled = torch.compile(network, fullgraph=True, backend=backend)
    for size in PARITIES:
        inputs = _inputs(masked, size)
        for tensor in inputs:
            torch._dynamo.mark_dynamic(tensor, 2)
            torch._dynamo.mark_dynamic(tensor, 3)
        _assert_same(compiled(*inputs), network(*inputs))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("masked", "stride"), [(False, 1), (True, 2)])
def test_compile_with_inductor(masked, stride):
    torch._dynamo.reset()
    network = _network(masked, stride=stride)
    compiled = torch.compile(network, fullgraph=True)
    for size in PARITIES[:3]:
        _check_compiled(network, compiled, _inputs(masked, size))


# --- torch.export ----------------------------------------------------------------------------------------------------


def _dynamic_shapes(inputs):
    # From 5 on: at 4 the second layer would give size 1, which torch.export wants apart, for nn.Conv2d too.
    height, width = Dim("height", min=5, max=512), Dim("width", min=5, max=512)
    return tuple({2: height, 3: width} for _ in inputs)


@pytest.mark.parametrize(
    ("options", "gradients"),
    [
        ({}, True),
        ({"stride": 2}, False),
        ({"stride": 2, "kernel_size": 7, "padding": 3}, True),
        pytest.param({}, False, marks=SLOW),
        pytest.param({"stride": 2}, True, marks=SLOW),
    ],
    ids=str,
)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_export(masked, options, gradients):
    network, inputs = _network(masked, **options).eval(), _inputs(masked, (24, 26))
    with torch.set_grad_enabled(gradients):
        network(*inputs)  # a memo filled by an eager call must not become a constant of the graph
        program = torch.export.export(network, inputs, dynamic_shapes=_dynamic_shapes(inputs), strict=False)
    module = program.module()
    for size in PARITIES:
        inputs = _inputs(masked, size)
        _assert_same(module(*inputs), network(*inputs))


@pytest.mark.parametrize("padding", ["same", (2, 0), 5], ids=str)
def test_export_other_paddings(padding):
    network, inputs = _network(masked=False, padding=padding), _inputs(False, (24, 26))
    module = torch.export.export(network, inputs, dynamic_shapes=_dynamic_shapes(inputs)).module()
    for size in PARITIES:
        inputs = _inputs(False, size)
        _assert_same(module(*inputs), network(*inputs))


@pytest.mark.parametrize("dims", [1, 3])
def test_export_other_dimensions(dims):
    layer = LAYERS[dims](3, 4, 3, padding=1, stride=2).eval()
    shapes = ({axis + 2: Dim(f"s{axis}", min=3, max=64) for axis in range(dims)},)
    module = torch.export.export(layer, (torch.randn(2, 3, *[10, 11, 12][:dims]),), dynamic_shapes=shapes).module()
    for size in ([8, 9, 10], [9, 8, 7], [5, 5, 12]):
        x = torch.randn(2, 3, *size[:dims])
        _assert_same(module(x), layer(x))


class Concatenated(nn.Module):
    """Two maps with their own masks, concatenated, in a grouped convolution: a mask in groups of channels."""

    def __init__(self):
        super().__init__()
        self.layer = PartialConv2d(6, 4, 3, stride=2, padding=1, groups=2, return_mask=True)

    def forward(self, x, mask):
        return self.layer(torch.cat([x, x], 1), torch.cat([mask, 1 - mask], 1), mask_channels=(2, 4))


def test_export_mask_channels():
    network, inputs = Concatenated(), _inputs(True, (24, 26))
    module = torch.export.export(network, inputs, dynamic_shapes=_dynamic_shapes(inputs)).module()
    for size in PARITIES:
        inputs = _inputs(True, size)
        _assert_same(module(*inputs), network(*inputs))


def test_export_with_a_dynamic_batch():
    network, inputs = _network(masked=True), _inputs(True, (24, 26))
    shapes = [{0: Dim("batch", min=1, max=64), **axes} for axes in _dynamic_shapes(inputs)]
    module = torch.export.export(network, inputs, dynamic_shapes=tuple(shapes)).module()
    for samples in (2, 5):
        inputs = _inputs(True, (13, 18), samples)
        _assert_same(module(*inputs), network(*inputs))


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 2, "kernel_size": 7, "padding": 3}], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_onnx(masked, options, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, inputs = _network(masked, **options).eval(), _inputs(masked, (24, 26))
    path = tmp_path / "network.onnx"
    with torch.no_grad():
        program = torch.onnx.export(network, inputs, dynamo=True, dynamic_shapes=_dynamic_shapes(inputs), verbose=False)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    for size in PARITIES:
        inputs = _inputs(masked, size)
        outputs = session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})
        with torch.no_grad():
            _assert_same([torch.tensor(o) for o in outputs], network(*inputs), 1e-4)


# --- torch.func ------------------------------------------------------------------------------------------------------


FRESH_WIDTHS = itertools.count(38)  # another size each time, so that a transform's call is the first to fill a memo


@pytest.fixture(params=["plain", "plain_strips", "masked"])
def func_setting(request, monkeypatch):
    """(layer, x, mask) in float64, of a size nobody called before; and a check that a plain call is right after it."""
    torch.manual_seed(0)
    layer = PartialConv2d(3, 4, 3, padding=1, dtype=torch.float64)
    size = (15, next(FRESH_WIDTHS))
    if request.param == "plain_strips":  # scale the border alone, which else only large maps see
        monkeypatch.setattr(_border, "_STRIPS_FROM", 0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    mask = (torch.rand(2, 1, *size) < 0.5) if request.param == "masked" else None
    yield layer, x, mask
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            y = layer(x, mask)
        assert type(y) is torch.Tensor
        assert not torch._C._functorch.is_functorch_wrapped_tensor(y)
        # One sample at a time and at another position in a larger batch: independent of the call above.
        wide = layer(x.repeat(2, 1, 1, 1), None if mask is None else mask.repeat(2, 1, 1, 1))
        torch.testing.assert_close(wide[2:], y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradients", [True, False], ids=["grad", "no_grad"])
def test_vmap_over_samples(func_setting, gradients):
    layer, x, mask = func_setting
    with torch.set_grad_enabled(gradients):
        if mask is None:
            y = torch.func.vmap(layer)(x)
            nested = torch.func.vmap(torch.func.vmap(layer))(x[None])
            torch.testing.assert_close(nested[0], y)
        else:
            y = torch.func.vmap(layer)(x, mask)
            shared = torch.func.vmap(layer, in_dims=(0, None))(x, mask[0])
            torch.testing.assert_close(shared, layer(x, mask[:1]), rtol=0, atol=1e-12)
            masks_only = torch.func.vmap(layer, in_dims=(None, 0))(x[0], mask)
            torch.testing.assert_close(masks_only, layer(x[:1].expand(2, -1, -1, -1), mask), rtol=0, atol=1e-12)
    torch.testing.assert_close(y, layer(x, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradients", [True, False], ids=["grad", "no_grad"])
def test_vmap_over_weights(func_setting, gradients):
    layer, x, mask = func_setting
    stacked = {name: torch.stack([p, 2 * p]).detach() for name, p in layer.named_parameters()}
    with torch.set_grad_enabled(gradients):
        y = torch.func.vmap(lambda parameters: torch.func.functional_call(layer, parameters, (x, mask)))(stacked)
    expected = layer(x, mask)
    torch.testing.assert_close(y, torch.stack([expected, 2 * expected]), rtol=0, atol=1e-12)


def loops_beside(code, convolution):
    """The names of the fused loops that generated code calls before and after a convolution."""
    before, after = code.partition("def call(")[2].partition("benchmark_compiled_module")[0].split(convolution)
    return re.findall(r"cpp_fused_(\w+)\(", before), re.findall(r"cpp_fused_(\w+)\(", after)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_ratio_fuses_into_what_surrounds_it(dtype):
    """One loop after the convolution: closed form, ratio, bias, norm and ReLU; backward, ratio and ReLU are one."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = nn.Sequential(PartialConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval().to(dtype)
    x = torch.randn(1, 3, 20, 24, dtype=dtype, requires_grad=True)
    compiled, close = torch.compile(network, fullgraph=True), {"rtol": 0.02, "atol": 0.05}
    with torch.no_grad():
        y, (code,) = run_and_get_code(compiled, x)
        torch.testing.assert_close(y, network(x), **({} if dtype == torch.float32 else close))
    _, after = loops_beside(code, "extern_kernels.convolution(")
    assert len(after) == 1
    assert all(part in after[0] for part in ("reciprocal", "batch_norm", "relu"))

    network = nn.Sequential(PartialConv2d(3, 8, 3, padding=1, bias=False), nn.ReLU()).to(dtype)
    compiled = torch.compile(network, fullgraph=True)
    _, (forward, backward) = run_and_get_code(lambda: compiled(x).backward(torch.ones(1, 8, 20, 24, dtype=dtype)))
    assert len(loops_beside(forward, "extern_kernels.convolution(")[1]) == 1
    before, after = loops_beside(backward, "torch.ops.aten.convolution_backward.default(")
    assert any("threshold_backward" in name and "reciprocal" in name for name in before)
    assert len([name for name in before if "threshold_backward" in name]) == 1
    assert not after


@pytest.mark.faults
@pytest.mark.parametrize("padding", [1, 3])  # by 3, some windows lie in the padding entirely
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_vmap_over_a_bias_alone(func_setting, padding, dtype):
    _, x, mask = func_setting
    layer = PartialConv2d(x.shape[1], 4, 3, padding=padding).to(dtype)
    x, biases = x.to(dtype), torch.randn(2, 4, dtype=dtype)

    def call(bias):
        return torch.func.functional_call(layer, {"bias": bias}, (x, mask))

    close = {"rtol": 0, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 0.02, "atol": 0.2}
    torch.testing.assert_close(torch.func.vmap(call)(biases), torch.stack([call(bias) for bias in biases]), **close)


def test_functional_call(func_setting):
    layer, x, mask = func_setting
    doubled = {name: 2 * p.detach() for name, p in layer.named_parameters()}
    y = torch.func.functional_call(layer, doubled, (x, mask))
    torch.testing.assert_close(y, 2 * layer(x, mask), rtol=0, atol=1e-12)


def test_func_grad_and_per_sample_gradients(func_setting):
    layer, x, mask = func_setting
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters, x, mask):
        return torch.func.functional_call(layer, parameters, (x, mask)).square().sum()

    gradients = torch.func.grad(loss)(parameters, x, mask)
    layer.zero_grad()
    layer(x, mask).square().sum().backward()
    in_dims = (None, 0, None if mask is None else 0)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=in_dims)(parameters, x, mask)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(each[name].sum(0), parameter.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gradients", [True, False], ids=["grad", "no_grad"])
def test_jvp(func_setting, gradients):
    layer, x, mask = func_setting
    tangent = torch.randn_like(x)
    with torch.set_grad_enabled(gradients):
        y, product = torch.func.jvp(lambda x: layer(x, mask), (x,), (tangent,))
    expected = layer(x, mask)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    # The layer is affine in x: its derivative along a tangent is the difference of two calls.
    torch.testing.assert_close(product, layer(x + tangent, mask) - expected, rtol=0, atol=1e-10)


def test_jacobians_agree():
    layer = PartialConv2d(2, 2, 3, padding=1, stride=2, dtype=torch.float64)
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    forward, reverse = torch.func.jacfwd(layer)(x), torch.func.jacrev(layer)(x)
    torch.testing.assert_close(forward, reverse, rtol=0, atol=1e-12)
    assert torch.func.hessian(lambda x: layer(x).pow(3).sum())(x).isfinite().all()


def test_checkpointed_training():
    torch.manual_seed(0)
    network, x = _network(masked=False), torch.randn(2, 3, 10, 11, requires_grad=True)
    network(x).sum().backward()
    expected, x.grad = x.grad, None
    torch.utils.checkpoint.checkpoint(network, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, expected)
