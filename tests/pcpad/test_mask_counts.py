"""Masks of one channel: selection of bits, counts as integers, the ratio from a table."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pcpad import _border, _mask_counts
from pcpad.commands.benching.counting import as_on_a_gpu
from pcpad.functional import partial_conv1d, partial_conv2d, partial_conv3d

pytestmark = pytest.mark.faults

CALLS = {1: (partial_conv1d, (19,)), 2: (partial_conv2d, (11, 14)), 3: (partial_conv3d, (7, 8, 9))}
SETTINGS = [
    (1, 3, 1, 1, 1),
    (2, 3, 1, 1, 1),
    (2, (3, 5), (2, 1), (1, 2), 1),
    (2, 3, 1, 4, 2),
    (2, 3, 2, ((0, 1), (2, 1)), 1),
    (2, 3, 1, "same", 2),
    (2, 3, 1, 0, 1),
    (3, 3, (1, 2, 1), 1, 1),
]


def made(dims, dtype=torch.float64, batch=2):
    torch.manual_seed(0)
    size = CALLS[dims][1]
    mask = (torch.rand(batch, 1, *size) < 0.4).to(dtype)
    mask[..., :4] = 0  # windows without anything valid
    return torch.randn(2, 3, *size, dtype=dtype), mask


@pytest.fixture
def slow_way(monkeypatch):
    """What function transforms and recorders of programs take: whole maps compared, summed and divided."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr("pcpad._masked.can_count", lambda *_: False)
            return function(*arguments, **options)

    return call


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_counting_equals_the_definitions_way_bit_for_bit(setting, gpu, slow_way):
    dims, kernel, *where = setting
    call = CALLS[dims][0]
    shape = [kernel] * dims if isinstance(kernel, int) else kernel
    for dtype, bias, batch in itertools.product(
        (torch.float64, torch.float32, torch.bfloat16, torch.float16), (True, False), (1, 2)
    ):
        x, mask = made(dims, dtype, batch)
        x = torch.where(mask != 0, x, torch.nan)
        weight = torch.randn(4, 3, *shape).to(dtype)
        b = torch.randn(4).to(dtype) if bias else None
        for given in (mask, mask.bool(), mask * 0.5, mask.int() * 7):
            wanted, new = slow_way(call, x, weight, b, *where, mask=given, return_mask=True)
            if gpu:
                with as_on_a_gpu():
                    y, new_mask = call(x, weight, b, *where, mask=given, return_mask=True)
            else:
                y, new_mask = call(x, weight, b, *where, mask=given, return_mask=True)
            assert torch.equal(y, wanted)
            assert torch.equal(new_mask, new)
            assert new_mask.dtype == dtype
            assert torch.equal(call(x, weight, b, *where, mask=given), wanted)


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_gradients_of_both_orders(gpu):
    x, mask = made(2)
    x, mask = x[:1, :2, :5, :7].clone().requires_grad_(), mask[:1, :, :5, 2:9]
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def call(x, weight, bias):
        return partial_conv2d(x, weight, bias, 1, 1, mask=mask)

    if gpu:
        with as_on_a_gpu():
            assert gradcheck(call, (x, weight, bias))
            assert gradgradcheck(call, (x, weight, bias), fast_mode=True)
    else:
        assert gradcheck(call, (x, weight, bias))
        assert gradgradcheck(call, (x, weight, bias), fast_mode=True)


def test_no_gradient_comes_from_under_a_hole():
    x, mask = made(2, torch.float32)
    x = torch.where(mask != 0, x, torch.inf).requires_grad_()
    partial_conv2d(x, torch.randn(4, 3, 3, 3), None, 1, 1, mask=mask).square().sum().backward()
    assert not x.grad[(mask == 0).expand_as(x)].any()
    assert x.grad[(mask != 0).expand_as(x)].isfinite().all()


def test_layout_and_strides_of_the_input_do_not_matter(slow_way):
    x, mask = made(2, torch.float32)
    weight = torch.randn(4, 3, 3, 3)
    for layout in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        y = partial_conv2d(layout, weight, None, 1, 1, mask=mask)
        wanted = slow_way(partial_conv2d, layout, weight, None, 1, 1, mask=mask)
        torch.testing.assert_close(y, wanted, rtol=0, atol=1e-6)
        assert y.stride() == wanted.stride()
    one = x[:, :1].expand(-1, 3, -1, -1)
    wanted = slow_way(partial_conv2d, one, weight, None, 1, 1, mask=mask)
    torch.testing.assert_close(partial_conv2d(one, weight, None, 1, 1, mask=mask), wanted, rtol=0, atol=1e-6)


def test_masks_changed_in_place_are_counted_again():
    """Nothing is kept of a mask, whatever way it is changed."""
    x, mask = made(2, torch.float32)
    weight = torch.randn(4, 3, 3, 3)
    first = partial_conv2d(x, weight, None, 1, 1, mask=mask)
    mask.data.fill_(1)
    assert not torch.equal(first, partial_conv2d(x, weight, None, 1, 1, mask=mask))
    torch.testing.assert_close(
        partial_conv2d(x, weight, None, 1, 1, mask=mask), partial_conv2d(x, weight, None, 1, 1), rtol=1e-6, atol=1e-6
    )


def test_tables_made_in_inference_mode_serve_training():
    _border.forget()
    x, mask = made(2, torch.float32)
    weight = torch.randn(4, 3, 3, 3)
    with torch.inference_mode():
        partial_conv2d(x, weight, torch.zeros(4), 1, 1, mask=mask)
    partial_conv2d(x.requires_grad_(), weight, torch.zeros(4), 1, 1, mask=mask).sum().backward()
    assert _mask_counts._memoized_tables.cache_info().currsize == 1
