"""Scaling of what a padded convolution returns: the whole map or the border alone, in one pass, under autograd."""

import copy
import io
import threading

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

from pcpad import PartialConv2d, _border, _scaling
from pcpad.functional import padding_ratio, partial_conv1d, partial_conv2d, partial_conv3d

pytestmark = pytest.mark.faults

CONVOLUTIONS = {
    1: (F.conv1d, partial_conv1d, (17,)),
    2: (F.conv2d, partial_conv2d, (17, 20)),
    3: (F.conv3d, partial_conv3d, (21, 22, 23)),
}


@pytest.fixture
def borders(monkeypatch):
    """Maps of any size are taken for ones whose ratio is too large to be kept."""
    monkeypatch.setattr(_border, "_MEMO_ELEMENTS", 0)
    _border.forget()
    yield
    monkeypatch.undo()
    _border.forget()


def operands(dims, dtype=torch.float64, seed=0):
    """Input, weight and bias."""
    draw = torch.Generator().manual_seed(seed)
    size = CONVOLUTIONS[dims][2]
    shapes = (2, 3, *size), (4, 3, *[3] * dims), (4,)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def expected(dims, x, weight, bias, stride=1, dilation=1):
    """By the definition, in float64."""
    wide = (x.double(), weight.double())
    y = CONVOLUTIONS[dims][0](*wide, None, stride, 1, dilation)
    r = padding_ratio(x.shape[2:], weight.shape[2:], stride, 1, dilation, dtype=torch.float64)
    return y * r if bias is None else y * r + bias.double().view(-1, *[1] * dims)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("learns", [True, False])
def test_the_border_alone_is_scaled(borders, dims, stride, with_bias, learns):
    x, weight, bias = operands(dims)
    bias = bias if with_bias else None
    y = CONVOLUTIONS[dims][1](x.requires_grad_(learns), weight, bias, stride, 1)
    torch.testing.assert_close(y.detach(), expected(dims, x.detach(), weight, bias, stride), rtol=1e-12, atol=1e-12)
    assert _scaling._memoized_strips.cache_info().currsize


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_of_both_orders_where_the_border_alone_is_scaled(borders, dims, with_bias):
    x, weight, bias = (t[:1, :2] if t.dim() > 1 else t[:2] for t in operands(dims))
    weight = weight[:2].repeat(2, 1, *[1] * dims)
    size = {1: (9,), 2: (7, 8), 3: (5, 5, 5)}[dims]
    x = x[(..., *map(slice, size))].contiguous().requires_grad_()
    weight = weight.requires_grad_()
    inputs = (x, weight, bias.requires_grad_()) if with_bias else (x, weight)

    def call(x, weight, bias=None):
        return CONVOLUTIONS[dims][1](x, weight, bias, 1, 1)

    assert gradcheck(call, inputs, fast_mode=dims == 3)
    assert gradgradcheck(call, inputs, fast_mode=True)
    assert _scaling._memoized_strips.cache_info().currsize == (dims < 3)  # of a small volume most is border


@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "all but bias"])
def test_frozen_parts_where_the_border_alone_is_scaled(borders, frozen):
    names = ("x", "weight", "bias")
    ours, theirs = ([t.clone() for t in operands(2)] for _ in range(2))
    for tensors in (ours, theirs):
        for name, tensor in zip(names, tensors, strict=True):
            tensor.requires_grad_(name == "bias" if frozen == "all but bias" else name != frozen)
    partial_conv2d(*ours, 1, 1).square().sum().backward()
    expected(2, *theirs).square().sum().backward()
    for own, their in zip(ours, theirs, strict=True):
        assert (own.grad is None) == (their.grad is None)
        if own.grad is not None:
            torch.testing.assert_close(own.grad, their.grad)


@pytest.mark.parametrize("kept_whole", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once_or_twice(request, dtype, learns, with_bias, kept_whole):
    """The convolution's rounding and one more; the ratio itself is in float32."""
    if not kept_whole:
        request.getfixturevalue("borders")
    x, weight, bias = operands(2, dtype)
    bias = bias if with_bias else None
    y = partial_conv2d(x.requires_grad_(learns), weight, bias, 1, 1)
    plain = F.conv2d(x.detach(), weight, None if kept_whole else bias, 1, 1).double()
    r = padding_ratio(x.shape[2:], 3, 1, 1, dtype=torch.float32).double()
    b = 0 if bias is None else bias.double().view(-1, 1, 1)
    exact = plain * r + (b if kept_whole else b * (1 - r))
    once = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6
    assert ((y.detach().double() - exact).abs() <= once).all()
    assert y.dtype == dtype
    if learns:
        given = torch.randn_like(y)
        y.backward(given)
        gradient = (given.double() * r).to(dtype)
        wanted = torch.nn.grad.conv2d_input(x.shape, weight, gradient, 1, 1)
        torch.testing.assert_close(x.grad, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("kept_whole", [True, False])
def test_under_autocast_with_a_bias_in_float32(request, kept_whole):
    if not kept_whole:
        request.getfixturevalue("borders")
    x, weight, bias = (t.float().requires_grad_() for t in operands(2))
    with torch.autocast("cpu", torch.bfloat16):
        y = partial_conv2d(x, weight, bias, 1, 1)
        again = partial_conv2d(x.bfloat16(), weight, bias, 1, 1)
    assert y.dtype == again.dtype == torch.bfloat16
    torch.testing.assert_close(y.detach().double(), expected(2, x, weight, bias).detach(), rtol=0.03, atol=0.1)
    torch.testing.assert_close(y, again, rtol=0, atol=0)
    y.float().square().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == bias.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_function_transforms_where_the_border_alone_is_scaled(borders, dtype):
    x, weight, bias = operands(2, dtype)
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 0.05, "atol": 0.1}
    wanted = expected(2, x, weight, bias)

    def call(x, weight, bias):
        return partial_conv2d(x, weight, bias, 1, 1)

    y = torch.vmap(call, (0, None, None))(x[:, None], weight, bias)[:, 0]
    torch.testing.assert_close(y.double(), wanted, **close)
    many = torch.stack([bias, bias])
    torch.testing.assert_close(torch.vmap(call, (None, None, 0))(x, weight, many)[1].double(), wanted, **close)
    gradient = torch.func.grad(lambda b: call(x, weight, b).float().sum())(bias)
    assert (gradient == 2 * 17 * 20).all()
    if dtype == torch.float64:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            tangent = forward_ad.unpack_dual(call(dual, weight, bias)).tangent
        torch.testing.assert_close(tangent, expected(2, torch.ones_like(x), weight, None))


def test_what_is_computed_does_not_depend_on_what_was_called_before(borders):
    """In inference mode, then in training; in two dtypes; by several threads; copied, pickled and checkpointed."""
    layer, x = PartialConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 9, 12)
    with torch.inference_mode():
        first = layer(x).clone()
    y = layer(x.requires_grad_())
    y.sum().backward()
    torch.testing.assert_close(y.detach(), first.detach(), rtol=0, atol=0)
    wide = copy.deepcopy(layer).double()(x.detach().double())
    torch.testing.assert_close(y.double(), wide, rtol=1e-5, atol=1e-5)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), y)
    results = []
    threads = [threading.Thread(target=lambda: results.append(layer(x.detach()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, y) for result in results)
    x.grad = None
    checkpoint(layer, x, use_reentrant=False).sum().backward()
    again = x.grad.clone()
    x.grad = None
    layer(x).sum().backward()
    torch.testing.assert_close(again, x.grad, rtol=0, atol=0)


def test_a_gradient_that_others_hold_is_not_overwritten(borders):
    x, weight, bias = operands(2)
    y = partial_conv2d(x.requires_grad_(), weight, bias, 1, 1)
    given = torch.randn_like(y)
    kept = given.clone()
    y.backward(given, retain_graph=True)
    first = x.grad.clone()
    y.backward(given)
    assert torch.equal(given, kept)
    torch.testing.assert_close(x.grad, 2 * first)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_layout_is_the_convolutions_where_the_border_alone_is_scaled(borders, format):
    x, weight, bias = (t.float() for t in operands(2))
    x = x.contiguous(memory_format=format)
    y = partial_conv2d(x, weight, bias, 1, 1)
    assert y.stride() == F.conv2d(x, weight, bias, 1, 1).stride()


def test_memory_that_is_kept_is_bounded(monkeypatch):
    _border.forget()
    plan = _border.plan_for(torch.empty(1, 1, 1 << 17, 40, device="meta"), torch.empty(1, 1, 3, 3), 1, 1, 1, 1)
    assert not plan.memoize
    assert not plan.borders  # more of them than are kept
    monkeypatch.setattr(_border, "STRIP_ELEMENTS", 10)
    monkeypatch.setattr(_border, "_MEMO_ELEMENTS", 10)
    x, weight, bias = operands(2)
    _border.forget()
    torch.testing.assert_close(partial_conv2d(x, weight, bias, 1, 1), expected(2, x, weight, bias))
    assert not _scaling._memoized_strips.cache_info().currsize
    assert _border._memoized_counts.cache_info().currsize == 1
    _border.forget()
