"""Convolution of chosen windows against the convolution of all."""

import pytest
import torch
import torch.nn.functional as F

from pcpad import PanopticPlan
from pcpad.panoptic.rows import compute_rows_, empty_like, rows_weight_gradient


@pytest.fixture(params=["contiguous", "channels_last"])
def layout(request):
    return getattr(torch, f"{request.param}_format" if request.param == "contiguous" else request.param)


def operands(layout, samples=3, groups=2):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 4, 8, 9, dtype=torch.float64, generator=draw).contiguous(memory_format=layout)
    return x, torch.randn(6, 4 // groups, 3, 3, dtype=torch.float64, generator=draw)


def one_id(samples, mixed):
    """A plan of one id in which some windows are told to mix."""
    plan = PanopticPlan.build(torch.zeros(samples, 1, 8, 9, dtype=torch.int64), 3, padding=1)
    plan._mixed = type(plan.table().windows).where(mixed)
    plan._tables.clear()
    return plan


@pytest.mark.parametrize("chunk", [1, 1 << 19])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("of", [1, 3])
def test_chosen_windows_alone_are_overwritten(layout, of, groups, chunk, monkeypatch):
    monkeypatch.setattr("pcpad.panoptic.rows._CHUNK", {"cpu": chunk})
    mixed = torch.rand(of, 1, 8, 9, generator=torch.Generator().manual_seed(1)) < 0.3
    mixed[-1] = of == 1  # a sample without any, where there are several
    x, weight = operands(layout, groups=groups)
    y = empty_like(x, 6, (8, 9)).fill_(7)
    compute_rows_(y, x, weight, groups, one_id(of, mixed).table())
    expected = torch.where(mixed, F.conv2d(x, weight, padding=1, groups=groups), 7)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert y.is_contiguous(memory_format=layout)


def test_no_sample_and_no_window(layout):
    x, weight = operands(layout)
    y = torch.ones(3, 6, 8, 9, dtype=torch.float64)
    none = one_id(1, torch.zeros(1, 1, 8, 9, dtype=torch.bool)).table()
    compute_rows_(y, x, weight, 2, none)
    compute_rows_(y[:0], x[:0], weight, 2, none)
    assert torch.equal(y, torch.ones_like(y))


@pytest.mark.parametrize("groups", [1, 2])
def test_the_weight_s_gradient_is_that_of_the_chosen_windows(layout, groups):
    mixed = torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(1)) < 0.3
    x, weight = operands(layout, groups=groups)
    weight.requires_grad_()
    along = torch.randn(3, 6, 8, 9, dtype=torch.float64)
    (expected,) = torch.autograd.grad(F.conv2d(x, weight, padding=1, groups=groups), weight, along * mixed)
    mine = rows_weight_gradient(x, along, weight.shape, groups, one_id(3, mixed).table())
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)
