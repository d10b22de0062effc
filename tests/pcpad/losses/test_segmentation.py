"""Losses against torch's own and by hand."""

import pytest
import torch
import torch.nn.functional as F

from pcpad.losses import pixel_cross_entropy, relaxed_cross_entropy


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_torch_where_something_is_labeled(weighted):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 5, 6, 7, dtype=torch.float64), torch.randint(0, 5, (2, 6, 7))
    label[:, :2] = 255
    weights = torch.rand(5, dtype=torch.float64) if weighted else None
    expected = F.cross_entropy(logits, label, weight=weights, ignore_index=255)
    assert torch.allclose(pixel_cross_entropy(logits, label, weights), expected, atol=1e-12)


def test_nothing_labeled_gives_zero_and_zero_gradients():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_relaxed_equals_a_loop_over_pixels(radius, weighted):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 4, 6, 7, dtype=torch.float64), torch.randint(0, 4, (2, 6, 7))
    label[0, 2:4] = 255
    weights = torch.rand(4, dtype=torch.float64) if weighted else None
    total = weight = 0.0
    probability = logits.softmax(1)
    for n, i, j in (label != 255).nonzero().tolist():
        near = label[n, max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        classes = [k for k in near.unique().tolist() if k != 255]
        w = 1.0 if weights is None else float(weights[label[n, i, j]])
        total -= w * float(probability[n, classes, i, j].sum().log())
        weight += w
    assert float(relaxed_cross_entropy(logits, label, radius, weights)) == pytest.approx(total / weight, abs=1e-10)
    if radius == 0:
        assert torch.allclose(
            relaxed_cross_entropy(logits, label, 0, weights), pixel_cross_entropy(logits, label, weights)
        )


def test_relaxed_gradients():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 3, (1, 4, 4))
    label[0, 0] = 255
    assert torch.autograd.gradcheck(lambda x: relaxed_cross_entropy(x, label), logits)
    nothing = relaxed_cross_entropy(logits, torch.full((1, 4, 4), 255))
    nothing.backward()
    assert nothing == 0
    assert logits.grad.abs().max() == 0
