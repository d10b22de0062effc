"""What docs/promises.md says of other people's code around our layers: each line of its table is a test here."""

import ast
import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torch.utils.mkldnn
from torch import nn
from torch.ao import quantization
from torch.ao.quantization import quantize_fx
from torch.func import functional_call, stack_module_state, vmap
from torch.fx.experimental import optimization
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, parametrize, prune, skip_init
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from pcpad import PanopticPartialConv2d, PartialConv1d, PartialConv2d, PartialConv3d
from pcpad.errors import UserTypeError
from pcpad.layers import ExplicitPadConv2d, PaddedConv1d, PaddedConv2d, PaddedConv3d
from pcpad.paddings import _REGISTERED, register_padding

PAGE = Path(__file__).resolve().parents[2] / "docs" / "promises.md"


def half(x, pads):
    """Surround the input with 0.5."""
    return F.pad(x, list(pads), value=0.5)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """For these tests alone: others list all paddings."""
    register_padding("of_test_other_layers")(half)
    yield
    del _REGISTERED["of_test_other_layers"]


def line(cell, verdict):
    """The decorated test shows this line of the page's table."""
    return pytest.mark.faults


def shown():
    """Cell and verdict of each `@line` here and in the tests beside this one."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("test_other_layers*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "line":
                        cell, verdict = map(ast.literal_eval, call.args)
                        found.setdefault(cell, []).append(verdict)
    return found


def table():
    """First cell and verdict of each line of the table."""
    section = PAGE.read_text(encoding="utf-8").partition("## Under other libraries")[2].partition("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in re.findall(r"^\|.*\|$", section, flags=re.MULTILINE)]
    return {row[0].strip(): row[1].strip() for row in rows[2:]}


def test_every_line_of_the_table_has_its_test_and_every_test_its_line():
    assert {cell: [verdict] for cell, verdict in table().items()} == shown()


# --- layers of every padding -----------------------------------------------------------------------------------------

PARTIAL = {1: PartialConv1d, 2: PartialConv2d, 3: PartialConv3d}
PADDED = {1: PaddedConv1d, 2: PaddedConv2d, 3: PaddedConv3d}
MODES = ["reflect", "replicate", "circular", "mean", "extrapolate", "of_test_other_layers"]
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CASES = {
    **{f"partial-{dims}d": (PARTIAL[dims], dims, {}) for dims in (1, 2, 3)},
    **{f"{mode}-{dims}d": (PADDED[dims], dims, {"padding_mode": mode}) for mode in MODES for dims in (1, 2, 3)},
    "explicit-2d": (ExplicitPadConv2d, 2, {}),
    "masked-2d": (PartialConv2d, 2, {}),
    "panoptic-2d": (PanopticPartialConv2d, 2, {}),
}
ALL = pytest.mark.parametrize("case", CASES)
ONE_INPUT = pytest.mark.parametrize("case", [name for name in CASES if not name.startswith(("masked", "panoptic"))])
# Compiling takes seconds: one of each kind.
KINDS = pytest.mark.parametrize(
    "case", ["partial-2d", "masked-2d", "panoptic-2d", "reflect-2d", "mean-2d", "explicit-2d"]
)


def make(case, channels=3, **options):
    """A layer of four channels with padding, its weights no copies of one another."""
    cls, _, own = CASES[case]
    torch.manual_seed(0)
    layer = cls(channels, 4, 3, padding=1, **own, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def inputs(case, size=9, samples=2):
    """What the layer is called with: an input, and a mask or ids where it takes them."""
    dims = CASES[case][1]
    torch.manual_seed(1)
    x = torch.randn(samples, 3, *[size + axis for axis in range(dims)])
    if case.startswith("masked"):
        mask = torch.ones(samples, 1, *x.shape[2:])
        mask[..., 1:6, 2:7] = 0
        return x, mask
    if case.startswith("panoptic"):
        return x, torch.randint(0, 3, (samples, 1, *x.shape[2:]))
    return (x,)


class Network(nn.Module):
    """A layer, a batch norm with statistics, an activation."""

    def __init__(self, case):
        super().__init__()
        self.conv = make(case)
        self.norm = NORMS[CASES[case][1]](4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.norm(self.conv(x)))


class NetworkOfTwo(Network):
    """With a mask or ids; FX cannot trace `*rest`."""

    def forward(self, x, second):
        return self.relu(self.norm(self.conv(x, second)))


def network_of(case):
    return (NetworkOfTwo if case.startswith(("masked", "panoptic")) else Network)(case)


def same(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max()))


def zero_padded(layer, x):
    """What the layer must not become."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[x.dim() - 3]
    return conv(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


@ONE_INPUT
def test_zero_padding_would_be_seen(case):
    layer, (x,) = make(case), inputs(case)
    assert not torch.allclose(layer(x), zero_padded(layer, x), atol=0.1)


# --- fusion ----------------------------------------------------------------------------------------------------------


@line("`fuse_conv_bn_eval`", "works")
@pytest.mark.parametrize("case", [name for name in CASES if not name.startswith(("explicit", "masked"))])
def test_fuse_conv_bn_eval(case):
    network = network_of(case).eval()
    fused = fuse_conv_bn_eval(network.conv, network.norm)
    assert type(fused) is type(network.conv)
    same(fused(*inputs(case)), network.norm(network.conv(*inputs(case))))


@line("`fuse_conv_bn_eval` of `explicit`, of layers with masks, or with windows entirely in the padding", "refused")
def test_fusion_that_would_be_wrong():
    norm = nn.BatchNorm2d(4).eval()
    with pytest.raises(UserTypeError, match="border filters would be left without it"):
        fuse_conv_bn_eval(make("explicit-2d").eval(), norm)
    for options in ({"return_mask": True}, {"padding": 3}):
        layer = PartialConv2d(3, 4, 3, **{"padding": 1, **options}).eval()
        with pytest.raises(UserTypeError, match="a window holds nothing valid"):
            fuse_conv_bn_eval(layer, norm)
    fused = fuse_conv_bn_eval(make("masked-2d").eval(), norm)
    with pytest.raises(UserTypeError, match="a batch norm was fused into it"):
        fused(*inputs("masked-2d"))


@line("FX: `symbolic_trace`, `fuse`, `optimize_for_inference`, `quantize_fx`", "left as it is")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_fx(case):
    network, args = network_of(case).eval(), inputs(case)
    expected = network(*args)
    traced, other = torch.fx.symbolic_trace(network), inputs(case, size=12)
    same(traced(*args), expected)
    same(traced(*other), network(*other))  # a node takes any size
    same(optimization.fuse(network)(*args), expected)
    if case in ("partial-2d", "explicit-2d", "mean-2d"):
        same(optimization.optimize_for_inference(network)(*args), expected)
        prepared = quantize_fx.prepare_fx(network, quantization.get_default_qconfig_mapping("x86"), args)
        prepared(*args)
        quantized = quantize_fx.convert_fx(prepared)
        assert torch.ops.quantized.conv2d not in {node.target for node in quantized.graph.nodes}
        same(quantized(*args), expected, 0.05)


@line("`torch.ao.quantization.fuse_modules`", "refused")
@ALL
def test_fuse_modules(case):
    with pytest.raises((AssertionError, NotImplementedError), match=r"did not find fuser method|Cannot fuse"):
        quantization.fuse_modules(network_of(case).eval(), [["conv", "norm", "relu"]])


# --- other number formats --------------------------------------------------------------------------------------------


@line("`torch.utils.mkldnn.to_mkldnn`", "refused")
@ALL
def test_to_mkldnn(case):
    for network in (make(case), nn.Sequential(make(case)), network_of(case).eval()):
        if case in ("masked-2d", "partial-2d") and isinstance(network, CASES[case][0]):
            network.return_mask = case == "masked-2d"
        with pytest.raises(UserTypeError, match="would put a zero-padded convolution in place of this"):
            torch.utils.mkldnn.to_mkldnn(network)


def test_to_mkldnn_of_what_does_not_pad():
    network = nn.Sequential(PartialConv2d(3, 4, 3), nn.ReLU()).eval()
    (x,) = inputs("partial-2d")
    same(torch.utils.mkldnn.to_mkldnn(copy.deepcopy(network))(x.to_mkldnn()).to_dense(), network(x))


@pytest.mark.faults
@ALL
def test_a_tensor_in_another_layout(case):
    x, *rest = inputs(case)
    if CASES[case][1] == 2:
        with pytest.raises(UserTypeError, match="oneDNN's layout"), torch.no_grad():
            make(case)(x.to_mkldnn(), *rest)
    with pytest.raises(UserTypeError, match="not quantized"):
        make(case)(torch.quantize_per_tensor(x, 0.1, 64, torch.quint8), *rest)


@line("eager quantization, `prepare_qat` too", "refused")
@ONE_INPUT
@pytest.mark.filterwarnings("ignore")
def test_eager_quantization(case):
    network = nn.Sequential(quantization.QuantStub(), network_of(case), quantization.DeQuantStub()).eval()
    network.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(network)
    prepared(*inputs(case))
    converted = quantization.convert(prepared)
    assert type(converted[1].conv) is CASES[case][0]
    with pytest.raises(UserTypeError, match="Compute them in float, between `DeQuantStub` and `QuantStub`"):
        converted(*inputs(case))
    network.train().qconfig = quantization.get_default_qat_qconfig("x86")
    assert type(quantization.prepare_qat(network)[1].conv) is CASES[case][0]


@line("dynamic quantization", "left as it is")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantization(case):
    network = network_of(case).eval()
    quantized = quantization.quantize_dynamic(network, {nn.Linear, PLAIN[CASES[case][1]], type(network.conv)})
    same(quantized(*inputs(case)), network(*inputs(case)))


@line("PT2E quantization (torchao)", "left as it is")
@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.parametrize("case", ["partial-1d", "partial-2d", "partial-3d", "reflect-2d", "mean-2d", "explicit-2d"])
@pytest.mark.filterwarnings("ignore")
def test_pt2e_quantization(case):
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    network, args = network_of(case).eval(), inputs(case)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = quantize_pt2e.prepare_pt2e(torch.export.export(network, args).module(), quantizer)
    prepared(*args)
    same(quantize_pt2e.convert_pt2e(prepared)(*args), network(*args), 0.05)


@line("autocast, bfloat16, float16", "works")
@ALL
def test_autocast(case):
    layer, (x, *rest) = make(case), inputs(case)
    expected = layer(x, *rest)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, *rest)
    assert y.dtype == torch.bfloat16
    same(y.float(), expected, 0.03)
    for dtype in (torch.bfloat16, torch.float16):
        same(copy.deepcopy(layer).to(dtype)(x.to(dtype), *rest).float(), expected, 0.03)


@line("channels_last", "works")
@pytest.mark.parametrize("case", [name for name in CASES if not name.endswith("1d")])
def test_channels_last(case):
    layer, (x, *rest) = make(case), inputs(case)
    expected = layer(x, *rest)
    form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    same(layer.to(memory_format=form)(x.to(memory_format=form), *rest), expected)


# --- weights that others change --------------------------------------------------------------------------------------


@line("pruning, parametrizations, weight norm, spectral norm", "works")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_weights_that_others_compute(case):
    args = inputs(case)
    for change, undo in (
        (lambda m: prune.l1_unstructured(m, "weight", amount=0.5), lambda m: prune.remove(m, "weight")),
        (parametrizations.weight_norm, lambda m: parametrize.remove_parametrizations(m, "weight")),
        (parametrizations.spectral_norm, lambda m: parametrize.remove_parametrizations(m, "weight")),
        (nn.utils.weight_norm, nn.utils.remove_weight_norm),
        (nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
    ):
        layer = make(case)
        changed = change(layer) or layer
        changed.eval()
        y = changed(*args)
        plain = make(case)
        with torch.no_grad():
            plain.weight.copy_(changed.weight)
        same(y, plain(*args))  # the layer of those weights, border filters as they were
        undo(changed)
        same(changed(*args), y)


@line("averaged models: `AveragedModel`, EMA, `update_bn`", "works")
@ALL
def test_averaged_models(case):
    network, args = network_of(case), inputs(case)
    start = copy.deepcopy(network.conv)
    swa, ema = AveragedModel(network), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for averaged in (swa, ema):
        averaged.update_parameters(network)
    with torch.no_grad():
        for parameter in network.conv.parameters():
            parameter.mul_(3)
    for averaged in (swa, ema):
        averaged.update_parameters(network)
        same(averaged.module.conv(*args), expected := start(*args) * 2)
    assert expected.abs().max() > 0
    if len(args) == 1:
        torch.optim.swa_utils.update_bn([args[0]], swa)
        same(swa.module.norm.running_mean, swa.module.conv(*args).transpose(0, 1).flatten(1).mean(1))


@line("`copy`, `deepcopy`, `pickle`, `torch.save`, `state_dict`, `skip_init`, the meta device", "works")
@ALL
def test_copies(case, tmp_path):
    layer, args = make(case), inputs(case)
    expected = layer(*args)
    torch.save(layer.state_dict(), tmp_path / "weights.pt")
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    cls, _, own = CASES[case]
    with torch.device("meta"):
        empty = cls(3, 4, 3, padding=1, **own)
    skipped = skip_init(cls, 3, 4, 3, padding=1, **own)
    skipped.load_state_dict(state)
    empty.load_state_dict(state, assign=True)
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), empty, skipped):
        assert torch.equal(other(*args), expected)


# --- other ways to run -----------------------------------------------------------------------------------------------


@line("`torch.compile`", "works")
@KINDS
@pytest.mark.slow
def test_compile(case):
    torch._dynamo.reset()
    network, args = network_of(case).eval(), inputs(case)
    with torch.no_grad():
        same(torch.compile(network, backend="aot_eager")(*args), network(*args))


@line("`torch.export`", "works")
@KINDS
@pytest.mark.slow
def test_export(case):
    network, args = network_of(case).eval(), inputs(case)
    same(torch.export.export(network, args).module()(*args), network(*args))


@line("ONNX export", "works")
@KINDS
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx(case, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, args = network_of(case).eval(), inputs(case)
    torch.onnx.export(network, args, dynamo=True, verbose=False).save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), args, strict=True)}
    same(torch.tensor(session.run(None, feed)[0]), network(*args).detach(), 1e-4)


@line("`torch.jit.trace`, then other sizes too", "works")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_jit_trace(case):
    network = network_of(case).eval()
    traced = torch.jit.trace(network, inputs(case))
    for size in (9, 14):
        same(traced(*inputs(case, size=size)), network(*inputs(case, size=size)))


@line("`torch.jit.script`", "refused")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_jit_script(case):
    with pytest.raises((RuntimeError, ValueError, torch.jit.frontend.NotSupportedError)):
        torch.jit.script(make(case))


@line("`vmap`, `functional_call` and the rest of `torch.func`", "works")
@ALL
@pytest.mark.filterwarnings("ignore")
def test_func(case):
    args = inputs(case)
    layers = [make(case), make(case)]
    with torch.no_grad():
        for parameter in layers[1].parameters():
            parameter.mul_(-0.5)
    parameters, buffers = stack_module_state(layers)
    base = copy.deepcopy(layers[0])
    together = vmap(lambda p, b: functional_call(base, (p, b), args))(parameters, buffers)
    for y, layer in zip(together, layers, strict=True):
        same(y, layer(*args))


@line("`torch.utils.checkpoint`", "works")
@ALL
def test_checkpoint(case):
    results = []
    for run in (lambda network, *args: network(*args), lambda *a: checkpoint(*a, use_reentrant=False)):
        network, (x, *rest) = network_of(case), inputs(case)
        y = run(network, x.requires_grad_(), *rest)
        y.square().sum().backward()
        results.append([y, x.grad, *[p.grad for p in network.parameters()]])
    for one, other in zip(*results, strict=True):
        same(one, other)


@line("`DataParallel`, `convert_sync_batchnorm`", "works")
@ALL
def test_several_devices(case):
    network, args = network_of(case).eval(), inputs(case)
    expected = network(*args)
    replica = network.conv._replicate_for_data_parallel()  # what DataParallel runs, whose parameters it then sets
    replica.__dict__.update(network.conv._parameters)
    same(replica(*args), network.conv(*args))
    same(nn.DataParallel(network)(*args), expected)
    same(nn.SyncBatchNorm.convert_sync_batchnorm(network)(*args), expected)
