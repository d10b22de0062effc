"""Sums of a recovery's scores, over batches and processes."""

import copy

import pytest
import torch
from torch import nn

from pcpad.adaptation.teaching import Scores, Teaching
from pcpad.metrics import TeachingError


@pytest.mark.parametrize("dense", [True, False])
def test_it_says_what_the_scores_say(dense):
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*parts[: 1 if dense else 3])
    student = copy.deepcopy(network)
    with torch.no_grad():
        student[0].weight.mul_(1.5)
    teaching = Teaching(network, student, dense=dense, margin=2, border=2)
    scores, metric = Scores(dense), TeachingError(dense)
    for _ in range(3):
        image = torch.randn(2, 1, 12, 12)
        teaching.score(image, scores)
        teaching.score(image, metric)
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(scores.values())
    metric.reset()
    metric.bfloat16()
    assert metric.loss.dtype == torch.float64
