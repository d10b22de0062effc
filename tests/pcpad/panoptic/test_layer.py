"""Panoptic partial convolution: against its definition; isolation, gradients, plans, precision, export."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PanopticPartialConv2d, PanopticPlan, PartialConv2d
from pcpad.functional import partial_conv2d
from pcpad.panoptic import layer as layer_module
from pcpad.panoptic import panoptic_conv2d

SIZE = (9, 10)


def by_definition(x, weight, bias, ids, stride=1, padding=0, dilation=1, groups=1):
    """Eq. 1, 2 and 4 as a loop over windows and taps, on Python integers for ids."""
    (samples, channels, height, width), (outs, _, *kernel) = x.shape, weight.shape
    heights, widths = (
        (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        for size, k in zip((height, width), kernel, strict=True)
    )
    known = ids.to(torch.int64).tolist() if ids.dtype != torch.uint64 else ids.numpy().tolist()
    y = torch.zeros(samples, outs, heights, widths, dtype=x.dtype)
    group_of = [slice(g * channels // groups, (g + 1) * channels // groups) for g in range(groups)]
    for n, i, j in itertools.product(range(samples), range(heights), range(widths)):
        own = known[n % len(known)][0]
        at = {
            (a, b): (i * stride - padding + a * dilation, j * stride - padding + b * dilation)
            for a, b in itertools.product(*map(range, kernel))
        }
        inside = {tap: (p, q) for tap, (p, q) in at.items() if 0 <= p < height and 0 <= q < width}
        center = inside.get((kernel[0] // 2, kernel[1] // 2))
        valid = (
            {} if center is None else {t: p for t, p in inside.items() if own[p[0]][p[1]] == own[center[0]][center[1]]}
        )
        if not valid:
            continue  # 0, the bias included
        for g, ins in enumerate(group_of):
            out = slice(g * outs // groups, (g + 1) * outs // groups)
            total = sum(weight[out, :, a, b] @ x[n, ins, p, q] for (a, b), (p, q) in valid.items())
            y[n, out, i, j] = total * (kernel[0] * kernel[1] / len(valid)) + (0 if bias is None else bias[out])
    return y


def operands(groups=1, kernel=3, dtype=torch.float64, samples=2, size=SIZE, seed=0):
    """(x, weight, bias), the same each time, that want gradients."""
    draw = torch.Generator().manual_seed(seed)
    shapes = (samples, 4, *size), (6, 4 // groups, kernel, kernel), (6,)
    return [torch.randn(s, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def random_ids(count=3, samples=2, size=SIZE, low=0):
    return torch.randint(low, low + count, (samples, 1, *size), generator=torch.Generator().manual_seed(1))


def blocks(size=SIZE):
    """Two instances side by side on a background."""
    ids = torch.zeros(1, 1, *size, dtype=torch.int64)
    ids[..., 2:7, 1:5], ids[..., 2:7, 5:9] = 26001, 26002
    return ids


@pytest.fixture(params=["rows", "everywhere", "dense"])
def form(request, monkeypatch):
    """Each way to compute it, whatever share of the windows mix; gives the form to build plans of."""
    share = {"rows": 2.0, "everywhere": -1.0}.get(request.param)
    if share is not None:
        everywhere_from = dict.fromkeys(layer_module._EVERYWHERE_FROM, share)
        monkeypatch.setattr(layer_module, "_EVERYWHERE_FROM", everywhere_from)
    return "dense" if request.param == "dense" else "rows"


def planned(x, weight, bias, ids, *arguments, form="rows"):
    plan = PanopticPlan.build(ids, tuple(weight.shape[2:]), *arguments[:3], form=form)
    return panoptic_conv2d(x, weight, bias, plan, *arguments)


# --- the definition --------------------------------------------------------------------------------------------------

IDS = {
    "random": random_ids(),
    "one map for the batch": random_ids(samples=1),
    "single": torch.full((2, 1, *SIZE), 7),
    "all different": torch.arange(2 * 90).view(2, 1, *SIZE),
    "beyond 16 bits": random_ids(4, low=32766),
    "differ in the last bit of a float32": random_ids(3, low=2**24),
    "differ in the last bit of a float64": random_ids(3, low=2**53),
    "negative": random_ids(4, low=-2),
    "blocks": blocks(),
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())
def test_definition_on_ids(form, ids):
    x, weight, bias = operands()
    expected = by_definition(x, weight, bias, ids, padding=1)
    y = planned(x, weight, bias, ids, 1, 1, form=form)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    along = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, weight, bias), along)
    for mine, theirs in zip(torch.autograd.grad(y, (x, weight, bias), along), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


SHAPES = {  # stride, padding, dilation, groups, kernel
    "valid": (1, 0, 1, 1, 3),
    "stride": (2, 1, 1, 1, 3),
    "stride without padding": (2, 0, 1, 2, 3),
    "dilation": (1, 2, 2, 1, 3),
    "dilation, too little padding": (1, 1, 2, 2, 3),
    "stride and dilation": (3, 2, 2, 1, 3),
    "groups": (1, 1, 1, 2, 3),
    "kernel of 5": (1, 2, 1, 1, 5),
    "kernel of 1": (1, 0, 1, 1, 1),
    "centers in the padding": (1, 3, 1, 1, 3),
    "centers in the padding, stride": (2, 2, 1, 2, 3),
}


@pytest.mark.parametrize("arguments", SHAPES.values(), ids=SHAPES.keys())
def test_definition_on_shapes(form, arguments):
    *arguments, kernel = arguments
    x, weight, bias = operands(arguments[3], kernel)
    ids = random_ids(2)
    expected = by_definition(x, weight, bias, ids, *arguments)
    along = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, weight, bias), along)
    for layout in (torch.contiguous_format, torch.channels_last):
        y = planned(x.contiguous(memory_format=layout), weight, bias, ids, *arguments, form=form)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
        for mine, theirs in zip(torch.autograd.grad(y, (x, weight, bias), along), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_rectangular_kernel_and_no_bias(form):
    x, ids = operands()[0], random_ids()
    weight = torch.randn(5, 4, 3, 5, dtype=torch.float64)
    y = planned(x, weight, None, ids, (2, 1), "valid", 1, form=form)
    tall = by_definition(x, weight, None, ids)[:, :, ::2]
    torch.testing.assert_close(y, tall, rtol=0, atol=1e-10)
    same = planned(x, weight, None, ids, 1, "same", form=form)
    torch.testing.assert_close(same[:, :, 1:-1, 2:-2], by_definition(x, weight, None, ids), rtol=0, atol=1e-10)


INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_every_integer_type(form, dtype):
    top = torch.iinfo(dtype).max  # what a float or a signed type would confuse or refuse
    ids = torch.tensor([top, top - 1, 0], dtype=dtype)[random_ids()]
    x, weight, bias = operands()
    expected = by_definition(x, weight, bias, random_ids(), padding=1)
    torch.testing.assert_close(planned(x, weight, bias, ids, 1, 1, form=form), expected, rtol=0, atol=1e-10)


def test_bool_ids(form):
    x, weight, bias = operands()
    ids = random_ids(2)
    y = planned(x, weight, bias, ids.bool(), 1, 1, form=form)
    torch.testing.assert_close(y, by_definition(x, weight, bias, ids, padding=1), rtol=0, atol=1e-10)


def test_one_id_is_partial_padding():
    x, weight, bias = operands()
    y = panoptic_conv2d(x, weight, bias, torch.zeros(1, 1, *SIZE, dtype=torch.uint8), 2, 2, 2)
    assert torch.equal(y, partial_conv2d(x, weight, bias, 2, 2, 2))


def test_gradients_of_first_and_second_order(form):
    x, weight, bias = operands(size=(4, 5), samples=1)
    weight = weight.detach()[:2].requires_grad_()
    ids = random_ids(2, samples=1, size=(4, 5))

    def layer(x, weight, bias):
        return planned(x, weight, bias, ids, 2, 2, form=form)

    inputs = (x, weight, bias.detach()[:2].requires_grad_())
    assert torch.autograd.gradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(layer, inputs)


# --- what must hold --------------------------------------------------------------------------------------------------


def test_an_instance_never_reaches_another(form):
    ids = blocks((12, 12))
    x, weight, bias = operands(size=(12, 12), samples=1, dtype=torch.float32)
    weight, bias, x = weight.detach(), bias.detach(), x.detach()
    plan = PanopticPlan.build(ids, 3, padding=1, form=form)
    before = panoptic_conv2d(x, weight, bias, plan, 1, 1)
    plain = F.conv2d(x, weight, bias, padding=1)
    leaked = 0
    for row, column in itertools.product(range(12), range(12)):
        changed = x.clone()
        changed[..., row, column] = 1e30  # any trace of it would show
        others = (ids != ids[0, 0, row, column]).expand_as(before)
        assert torch.equal(panoptic_conv2d(changed, weight, bias, plan, 1, 1)[others], before[others])
        leaked += not torch.equal(F.conv2d(changed, weight, bias, padding=1)[others], plain[others])
    assert leaked > 20  # the pixels at an edge


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_values_stay_in_their_instance(form, bad):
    ids = blocks((12, 12))
    x, weight, bias = operands(size=(12, 12), samples=1)
    with torch.no_grad():
        x[(ids == 26001).expand_as(x)] = bad
    y = planned(x, weight, bias, ids, 1, 1, form=form)
    others = (ids != 26001).expand_as(y)
    assert y[others].isfinite().all()
    assert not y[~others].isfinite().any()
    y[others].sum().backward()
    assert x.grad.isfinite().all()


def test_samples_are_independent():
    x, weight, bias = (t.detach() for t in operands(samples=4))
    ids = torch.cat([random_ids(), torch.zeros(1, 1, *SIZE, dtype=torch.int64), blocks()])
    whole = panoptic_conv2d(x, weight, bias, ids, 1, 1)
    for index in range(4):
        one = slice(index, index + 1)
        alone = panoptic_conv2d(x[one], weight, bias, ids[one], 1, 1)
        torch.testing.assert_close(whole[one], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(panoptic_conv2d(x[0], weight, bias, ids[0], 1, 1), whole[0], rtol=0, atol=1e-12)
    assert panoptic_conv2d(x[:0], weight, bias, ids[:1], 1, 1).shape == (0, 6, *SIZE)


def test_windows_computed_in_several_portions(monkeypatch):
    monkeypatch.setattr("pcpad.panoptic.rows._CHUNK", {"cpu": 1})
    size = (24, 26)
    x, weight, bias = operands(size=size, samples=1)
    ids = random_ids(size=size, samples=1)
    y, dense = (planned(x, weight, bias, ids, 1, 1, form=form) for form in ("rows", "dense"))
    torch.testing.assert_close(y, dense, rtol=0, atol=1e-12)
    along = torch.randn_like(y)
    pairs = (torch.autograd.grad(out, (x, weight, bias), along) for out in (y, dense))
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(form, dtype, assert_near):
    exact = [t.detach().to(dtype).double().requires_grad_() for t in operands()]
    half = [t.detach().to(dtype).requires_grad_() for t in exact]
    ids = IDS["blocks"]
    expected, y = by_definition(*exact, ids, padding=1), planned(*half, ids, 1, 1, form=form)
    assert y.dtype == dtype
    assert_near(y, expected)
    expected.square().sum().backward()
    y.float().square().sum().backward()
    for mine, theirs in zip(half, exact, strict=True):
        assert mine.grad.dtype == dtype
        error = (mine.grad.double() - theirs.grad).abs().max() / theirs.grad.abs().max()
        assert error < (4e-3 if dtype == torch.float16 else 3e-2)


def test_autocast(form):
    x, weight, bias = operands(dtype=torch.float32)
    ids = random_ids()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = planned(x, weight, bias, ids, 1, 1, form=form)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()  # inside, too
    assert all(t.grad.dtype == torch.float32 and t.grad.isfinite().all() for t in (x, weight, bias))
    expected = by_definition(*(t.detach().double() for t in (x, weight, bias)), ids, padding=1)
    assert (y.double() - expected).abs().max() < 2e-2 * expected.abs().max()


# --- the layer and its plan ------------------------------------------------------------------------------------------


def test_layer_is_a_convolution_in_all_but_forward():
    layer = PanopticPartialConv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False, dtype=torch.float64)
    ordinary = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False, dtype=torch.float64)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {k: v.shape for k, v in ordinary.state_dict().items()}
    assert "kernel_size=(3, 3), stride=(2, 2)" in repr(layer)
    x, ids = operands()[0], random_ids()
    expected = by_definition(x, layer.weight, None, ids, 2, 1, 2, 2)
    torch.testing.assert_close(layer(x, ids), expected, rtol=0, atol=1e-10)
    partial = PartialConv2d(4, 6, 3, 2, 1, 2, 2, bias=False, dtype=torch.float64)
    partial.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, torch.zeros_like(ids)), partial(x))


def test_a_plan_serves_several_layers_and_precisions():
    ids = random_ids()
    plan = PanopticPlan.build(ids, 3, padding=1)
    x = operands()[0].detach()
    for outs, dtype in ((4, torch.float64), (2, torch.float32), (4, torch.float64)):
        layer = PanopticPartialConv2d(4, outs, 3, padding=1, dtype=dtype)
        assert torch.equal(layer(x.to(dtype), plan), layer(x.to(dtype), ids))


def test_a_plan_from_inference_serves_training():
    x, weight, bias = operands()
    with torch.inference_mode():
        ids = random_ids()
        plan = PanopticPlan.build(ids, 3, padding=1)
        y = panoptic_conv2d(x, weight, bias, plan, 1, 1)
    again = panoptic_conv2d(x, weight, bias, plan, 1, 1)
    assert torch.equal(y, again)
    (gradient,) = torch.autograd.grad(again.square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert weight.grad.isfinite().all()


def test_shapes_without_values():
    layer = PanopticPartialConv2d(4, 6, 3, stride=2, padding=1, device="meta")
    ids = torch.empty(2, 1, *SIZE, dtype=torch.int32, device="meta")
    assert layer(torch.empty(2, 4, *SIZE, device="meta"), ids).shape == (2, 6, 5, 5)
    with torch._subclasses.FakeTensorMode() as mode:
        layer = PanopticPartialConv2d(4, 6, 3, padding=1)
        x, ids = mode.from_tensor(torch.zeros(2, 4, *SIZE)), mode.from_tensor(random_ids())
        assert layer(x, ids).shape == (2, 6, *SIZE)


def test_bad_input():
    layer, x = PanopticPartialConv2d(4, 6, 3, padding=1), torch.zeros(2, 4, *SIZE)
    ids = torch.zeros(2, 1, *SIZE, dtype=torch.int32)
    with pytest.raises(TypeError, match=r"tensor of integers, but got a tensor of torch.float32.*26001 equals 26002"):
        layer(x, ids.float())
    with pytest.raises(TypeError, match="but got list"):
        layer(x, [0, 1])
    with pytest.raises(ValueError, match=r"`ids` of shape \(N, 1, H, W\), one id per pixel, but got \(2, 2, 9, 10\)"):
        layer(x, ids.expand(-1, 2, -1, -1))
    with pytest.raises(ValueError, match=r"input's size \(9, 10\), but got \(9, 5\).*nearest"):
        layer(x, ids[..., ::2])
    with pytest.raises(ValueError, match="of 1 or 2 samples, as the input has, but got 3"):
        layer(x, ids[:1].expand(3, -1, -1, -1))
    with pytest.raises(ValueError, match=r"another layer: stride \(2, 2\) where the layer has \(1, 1\)\. Build"):
        layer(x, PanopticPlan.build(ids, 3, stride=2, padding=1))
    with pytest.raises(ValueError, match=r"kernel_size \(5, 5\) where the layer has \(3, 3\), padding \(2, 2\)"):
        layer(x, PanopticPlan.build(ids, 5, padding=2))
    with pytest.raises(ValueError, match=r"odd kernel sizes.*\(4, 4\)"):
        PanopticPartialConv2d(4, 6, 4)
    with pytest.raises(ValueError, match=r"odd kernel sizes.*\(3, 2\)"):
        PanopticPlan.build(ids, (3, 2))
    with pytest.raises(ValueError, match='"auto", "rows" or "dense"'):
        PanopticPlan.build(ids, 3, form="sparse")
    with pytest.raises(ValueError, match=r"Expected an input of shape \(N, 4, H, W\)"):
        layer(x[:, :3], ids)
    with pytest.raises(ValueError, match="input's device meta, but they are on cpu"):
        layer.to("meta")(x.to("meta"), ids)


# --- tracing ---------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    """A plan shared by two layers, and a layer that is given ids."""

    def __init__(self):
        super().__init__()
        self.first = PanopticPartialConv2d(4, 6, 3, padding=1)
        self.second = PanopticPartialConv2d(6, 6, 3, padding=1, groups=2)
        self.third = PanopticPartialConv2d(6, 2, 5, stride=2, padding=2)

    def forward(self, x, ids):
        plan = PanopticPlan.build(ids, 3, padding=1)
        return self.third(self.second(self.first(x, plan).relu(), plan).relu(), ids)


@pytest.mark.slow
def test_compile_breaks_the_graph_and_is_right():
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = Network()
    compiled = torch.compile(network, backend="aot_eager")
    for ids in (random_ids(), blocks()):
        x = torch.randn(2, 4, *SIZE, requires_grad=True)
        results = [
            torch.autograd.grad(f(x, ids).square().sum(), [x, *network.parameters()]) for f in (network, compiled)
        ]
        for mine, theirs in zip(*results, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_a_dense_plan_compiles_into_one_graph():
    torch._dynamo.reset()
    layer, x = PanopticPartialConv2d(4, 6, 3, padding=1), torch.randn(2, 4, *SIZE)

    def run(x, ids):
        return layer(x, PanopticPlan.build(ids, 3, padding=1, form="dense"))

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, random_ids()), layer(x, random_ids()))


def dynamic_shapes():
    height, width = torch.export.Dim("height", min=8, max=512), torch.export.Dim("width", min=8, max=512)
    return ({2: height, 3: width},) * 2


@pytest.mark.slow
def test_export_with_dynamic_sizes():
    torch.manual_seed(0)
    network = Network().eval()
    inputs = torch.randn(2, 4, *SIZE), random_ids()
    module = torch.export.export(network, inputs, dynamic_shapes=dynamic_shapes()).module()
    for size in (SIZE, (17, 30), (8, 9)):
        x, ids = torch.randn(2, 4, *size), random_ids(size=size)
        torch.testing.assert_close(module(x, ids), network(x, ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared_map", [False, True], ids=["a map each", "one map"])
def test_export_with_a_dynamic_batch(shared_map):
    torch.manual_seed(0)
    layer = PanopticPartialConv2d(2, 3, 3, padding=1).eval()
    batch = torch.export.Dim("batch", min=1)
    inputs = torch.randn(2, 2, 5, 6), torch.randint(0, 3, (1 if shared_map else 2, 1, 5, 6))
    shapes = ({0: batch}, {} if shared_map else {0: batch})
    module = torch.export.export(layer, inputs, dynamic_shapes=shapes).module()
    for samples in (1, 3):
        x, ids = torch.randn(samples, 2, 5, 6), torch.randint(0, 3, (1 if shared_map else samples, 1, 5, 6))
        torch.testing.assert_close(module(x, ids), layer(x, ids), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network, path = Network().eval(), tmp_path / "network.onnx"
    inputs = torch.randn(2, 4, *SIZE), random_ids()
    with torch.no_grad():
        program = torch.onnx.export(network, inputs, dynamo=True, dynamic_shapes=dynamic_shapes(), verbose=False)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    for size in (SIZE, (17, 30)):
        inputs = torch.randn(2, 4, *size), random_ids(size=size)
        (y,) = session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})
        torch.testing.assert_close(torch.tensor(y), network(*inputs).detach(), rtol=1e-4, atol=1e-4)


def test_function_transforms():
    x, weight, bias = (t.detach() for t in operands())
    ids = random_ids()
    expected = panoptic_conv2d(x, weight, bias, ids, 1, 1)
    each = torch.func.vmap(lambda x, ids: panoptic_conv2d(x, weight, bias, ids, 1, 1))(x, ids)
    torch.testing.assert_close(each, expected, rtol=0, atol=1e-12)
    tangent = torch.randn_like(x)
    y, along = torch.func.jvp(lambda x: panoptic_conv2d(x, weight, bias, ids, 1, 1), (x,), (tangent,))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(along, panoptic_conv2d(tangent, weight, None, ids, 1, 1), rtol=0, atol=1e-12)
    gradient = torch.func.grad(lambda w: panoptic_conv2d(x, w, bias, ids, 1, 1).square().sum())(weight)
    weight.requires_grad_()
    panoptic_conv2d(x, weight, bias, ids, 1, 1).square().sum().backward()
    torch.testing.assert_close(gradient, weight.grad, rtol=1e-10, atol=1e-10)


def test_checkpointed_training():
    x, weight, bias = operands()
    ids = random_ids()
    expected = torch.autograd.grad(panoptic_conv2d(x, weight, bias, ids, 1, 1).square().sum(), (x, weight, bias))
    y = torch.utils.checkpoint.checkpoint(panoptic_conv2d, x, weight, bias, ids, 1, 1, use_reentrant=False)
    for mine, theirs in zip(torch.autograd.grad(y.square().sum(), (x, weight, bias)), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("arguments", [(1, 1, 1, 1), (2, 2, 1, 2)], ids=str)
def test_cuda(form, arguments):
    ids = random_ids()
    for layout in (torch.contiguous_format, torch.channels_last):
        cpu = operands(arguments[3])
        gpu = [t.detach().cuda().requires_grad_() for t in cpu]
        expected = by_definition(*cpu, ids, *arguments)
        y = planned(gpu[0].contiguous(memory_format=layout), *gpu[1:], ids.cuda(), *arguments, form=form)
        torch.testing.assert_close(y.cpu(), expected, rtol=0, atol=1e-10)
        along = torch.randn_like(expected)
        wanted, mine = torch.autograd.grad(expected, cpu, along), torch.autograd.grad(y, gpu, along.cuda())
        for a, b in zip(mine, wanted, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-10)
