"""Valid taps per window: counted in plain numbers for a CPU as by operations elsewhere."""

import random

import pytest
import torch

from pcpad import _border
from pcpad._border import axis_counts, kept_counts, make_plan


@pytest.mark.parametrize("seed", range(40))
def test_counts_in_plain_numbers_are_those_of_the_operations(seed):
    draw = random.Random(seed)
    kernel = [draw.randint(1, 5) for _ in range(2)]
    stride, dilation = ([draw.randint(1, 3) for _ in range(2)] for _ in range(2))
    padding = tuple((draw.randint(0, 6), draw.randint(0, 6)) for _ in range(2))
    least = [d * (k - 1) + 1 - sum(p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [max(length, 1) + draw.randint(0, 9) for length in least]
    plan = make_plan((1, 2, *size), (3, 2, *kernel), stride, padding, dilation, 1, strips_from=1)
    windows = plan.geometry.output_size(plan.size)
    where = torch.float32, torch.device("cpu")
    expected = axis_counts(plan.size, windows, plan.geometry, *where)
    for found, right in zip(kept_counts(plan, *where), expected, strict=True):
        assert found.dtype == right.dtype
        assert torch.equal(found, right)


def test_axes_that_are_alike_are_counted_once(monkeypatch):
    calls = []
    counted = _border._counted
    monkeypatch.setattr(_border, "_counted", lambda *axis: calls.append(axis) or counted(*axis))
    plan = make_plan((1, 1, 9, 9), (1, 1, 3, 3), 1, 1, 1, 1, strips_from=1)
    rows, columns = kept_counts(plan, torch.float64, torch.device("cpu"))
    assert len(calls) == 1
    assert torch.equal(rows, columns)
    assert rows.tolist() == [2, *[3] * 7, 2]
