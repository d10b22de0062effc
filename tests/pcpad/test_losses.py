"""Losses against torch's own and by hand."""

import pytest
import torch
import torch.nn.functional as F

from pcpad.losses import pixel_cross_entropy


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_torch_where_something_is_labelled(weighted):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 5, 6, 7, dtype=torch.float64), torch.randint(0, 5, (2, 6, 7))
    label[:, :2] = 255
    weights = torch.rand(5, dtype=torch.float64) if weighted else None
    expected = F.cross_entropy(logits, label, weight=weights, ignore_index=255)
    assert torch.allclose(pixel_cross_entropy(logits, label, weights), expected, atol=1e-12)


def test_nothing_labelled_gives_zero_and_zero_gradients():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0
