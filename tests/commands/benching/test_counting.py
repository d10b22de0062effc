"""What is counted as a kernel, and its bytes."""

import torch

from pcpad.commands.benching.counting import count


def test_views_and_empty_memory_are_no_kernels():
    x = torch.rand(4, 6)
    counts = count(lambda: torch.empty(3, 3).fill_(1).t()[1:].add_(x.view(6, 4)[0, 0].expand(2, 3)))
    assert dict(counts.kernels) == {"fill_": 1, "add_": 1}
    assert counts.bytes == 4 * (9 + 6 + 1 + 6)  # what is expanded is read once


def test_out_is_written_and_not_read():
    x, y = torch.rand(8), torch.empty(8)
    assert count(lambda: torch.mul(x, 2, out=y)).bytes == 4 * 16
    assert count(lambda: y.copy_(x)).bytes == 4 * 16
    assert count(lambda: y.mul_(x)).bytes == 4 * 24


def test_what_is_read_back_is_waited_for():
    x = torch.rand(8)
    assert count(lambda: bool((x > 0).all())).waits == 1
    assert count(lambda: x.nonzero()).waits == 1
    assert count(lambda: x + 1).waits == 0


def test_padding_with_a_value_is_two_launches():
    x = torch.rand(1, 1, 4, 4)
    assert count(lambda: torch.nn.functional.pad(x, [1, 1, 1, 1])).total == 2


def test_a_backward_pass_is_counted():
    x = torch.rand(8, requires_grad=True)
    y = x * 2
    given = torch.ones(8)
    assert dict(count(lambda: y.backward(given)).kernels) == {"mul": 1}
