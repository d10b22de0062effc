"""The Triton kernel by Triton's interpreter on a CPU, against the definition: forward and backward."""

import importlib
import random
import sys

import pytest
import torch
import torch.nn.functional as F

from pcpad import _border, _scaling, kernels
from pcpad.commands.benching.counting import as_on_a_gpu, count
from pcpad.functional import padding_ratio, partial_conv1d, partial_conv2d, partial_conv3d

pytest.importorskip("triton")

NAME = "pcpad._border_kernel"
OURS = {1: partial_conv1d, 2: partial_conv2d, 3: partial_conv3d}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TOLERANCES = {torch.float64: 1e-14, torch.float32: 3e-6, torch.bfloat16: 0.02, torch.float16: 0.004}


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel runs on a CPU, as it would be chosen on a GPU; the module is dropped again after the test."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read when the kernel is decorated
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setenv(kernels.OPTION, "triton")
    kernels.set_border_kernel(None)
    module = importlib.import_module(NAME)
    _border.forget()
    with as_on_a_gpu():
        yield module
    sys.modules.pop(NAME, None)
    monkeypatch.undo()
    kernels.set_border_kernel(None)
    _border.forget()


def drawn(seed):
    """A geometry and its operands, of any kind for which the border alone is scaled."""
    draw = random.Random(seed)
    while True:
        dims = draw.choice([1, 2, 2, 2, 3])
        kernel = [draw.choice([1, 2, 3, 3, 5, 7]) for _ in range(dims)]
        stride, dilation = draw.choice([1, 1, 2, 3]), draw.choice([1, 1, 2])
        padding = [draw.randint(0, (k - 1) * dilation // 2 + 1) for k in kernel]
        size = [draw.randint(*{1: (8, 90), 2: (6, 28), 3: (6, 11)}[dims]) for _ in range(dims)]
        groups = draw.choice([1, 1, 2, 3])
        shape = (draw.randint(1, 3), groups * draw.randint(1, 3), *size)
        weight = (groups * draw.randint(1, 6), shape[1] // groups, *kernel)
        try:
            plan = _border.make_plan(shape, weight, stride, tuple(padding), dilation, groups, strips_from=0)
        except ValueError:
            continue
        if plan.borders and plan.pads:
            break
    dtype = draw.choice(list(TOLERANCES))
    random_numbers = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(s, generator=random_numbers, dtype=torch.float64).to(dtype) for s in (shape, weight)]
    tensors.append(torch.randn(weight[0], generator=random_numbers).to(dtype) if draw.random() < 0.6 else None)
    if dims == 2 and draw.random() < 0.3:
        tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    return dims, tensors, (stride, tuple(padding), dilation, groups)


def definition(dims, x, weight, bias, stride, padding, dilation, groups):
    """`conv(x)·r + b`, in float64, of the ratio of `functional`."""
    y = PLAIN[dims](x, weight, None, stride, padding, dilation, groups)
    y = y * padding_ratio(x.shape[2:], tuple(weight.shape[2:]), stride, padding, dilation, dtype=torch.float64)
    return y if bias is None else y + bias.view(-1, *[1] * dims)


def check(seed):
    dims, tensors, where = drawn(seed)
    ours = [None if t is None else t.clone().requires_grad_() for t in tensors]
    theirs = [None if t is None else t.double().requires_grad_() for t in tensors]
    y, wanted = OURS[dims](*ours, *where), definition(dims, *theirs, *where)
    with torch.no_grad():
        again = OURS[dims](*tensors, *where)
    given = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    given = given.to(y.dtype)
    y.backward(given)
    wanted.backward(given.double())
    what = (seed, dims, y.dtype, [None if t is None else tuple(t.shape) for t in tensors], where)
    assert torch.equal(again, y), what
    pairs = [(y, wanted), *((a.grad, b.grad) for a, b in zip(ours, theirs, strict=True) if a is not None)]
    for own, their in pairs:
        off = (own.double() - their).abs().max() / their.abs().max().clamp(min=1e-3)
        assert off <= TOLERANCES[y.dtype], (what, float(off))


def geometries(start, stop):
    for seed in range(start, stop):
        check(seed)
    assert _scaling._memoized_table.cache_info().misses >= min(stop - start, 10)


def test_some_geometries(interpreted):
    geometries(0, 4)
    assert type(interpreted._scale).__name__ == "InterpretedFunction"


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 200, 50))
def test_200_geometries(interpreted, start):
    geometries(start, start + 50)


@pytest.mark.parametrize("with_bias", [True, False])
def test_one_launch_and_the_interior_is_not_touched(interpreted, monkeypatch, with_bias):
    x, weight, bias = torch.randn(2, 3, 9, 8), torch.randn(4, 3, 3, 3), torch.randn(4) if with_bias else None
    grids = []

    class Counted:
        def __getitem__(self, grid):
            grids.append(grid)
            return lambda *_, **__: None  # the interpreter copies what a GPU does not

    result = partial_conv2d(x, weight, bias, padding=1)
    monkeypatch.setattr(interpreted, "_scale", Counted())
    operations = count(lambda: partial_conv2d(x, weight, bias, padding=1))
    assert len(grids) == 1
    assert dict(operations.kernels) == {"convolution": 1}
    plain = F.conv2d(x, weight, bias, padding=1)
    assert torch.equal(result[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    assert not torch.isclose(result, plain)[..., 0, :].any()


def test_planes_of_any_layout(interpreted):
    y = torch.randn(2, 5, 6, 7)
    places, ratios = torch.tensor([0, 8, 41], dtype=torch.int32), torch.tensor([2.0, 3.0, 0.5])
    wanted = y.clone().flatten(2)
    wanted[..., places] *= ratios
    for laid in (y, y.contiguous(memory_format=torch.channels_last), y.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(interpreted.scale_border_(laid.clone(), None, places, ratios, 2).flatten(2), wanted)
    assert torch.equal(interpreted.scale_border_(y[0].clone(), None, places, ratios, 2).flatten(1), wanted[0])
    nothing = y[:0].clone()
    assert interpreted.scale_border_(nothing, None, places, ratios, 2) is nothing


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "ratio"), [("fp32", "fp32"), ("bf16", "fp32"), ("fp16", "fp32"), ("fp64", "fp64")])
@pytest.mark.parametrize("bias", [True, False])
def test_it_compiles_for_a_gpu_without_one(monkeypatch, tmp_path, dtype, ratio, bias):
    """As far as Triton goes without a GPU: to the machine code of compute capability 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    kernel = importlib.import_module(NAME)._scale
    numbers = dict.fromkeys(("count", "blocks", "planes", "channels", "channel_step", "place_step"), "i32")
    constants = {"HAS_BIAS": bias, "PLACES": 64, "PLANES": 16}
    pointers = {"y": f"*{dtype}", "bias": f"*{dtype}", "places": "*i32", "ratios": f"*{ratio}"}
    signature = {**pointers, **numbers, "image_step": "i64", **dict.fromkeys(constants, "constexpr")}
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert made.asm["cubin"]
    assert made.asm["ptx"].count("ld.global") >= 3 + bias


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(20))
def test_on_a_gpu(monkeypatch, seed):
    monkeypatch.setenv(kernels.OPTION, "triton")
    kernels.set_border_kernel(None)
    dims, tensors, where = drawn(seed)
    ours = [None if t is None else t.cuda() for t in tensors]
    theirs = [None if t is None else t.cuda().double() for t in tensors]
    y, wanted = OURS[dims](*ours, *where), definition(dims, *theirs[:3], *where[:1], *where[1:])
    off = (y.double() - wanted).abs().max() / wanted.abs().max()
    assert off <= 10 * TOLERANCES[y.dtype]
