"""Metrics in a module that is converted, as precision bf16-true does: they go on counting exactly."""

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from pcpad.metrics import BandError, KeepsPrecision, SampleMean, VideoAccuracy


class Mean(KeepsPrecision, MeanMetric):
    """As tasks average their losses."""


CONVERSIONS = [
    lambda module: module.to(torch.bfloat16),
    lambda module: module.to("cpu", torch.float16),
    lambda module: module.half(),
    lambda module: module,
]


def converted(metric, how):
    return how(nn.ModuleDict({"score": metric, "layer": nn.Linear(2, 2)}))["score"]


@pytest.mark.parametrize("how", CONVERSIONS)
def test_a_mean_of_many(how):
    draw = torch.Generator().manual_seed(0)
    losses = torch.rand(3000, generator=draw)
    mean = converted(Mean(nan_strategy="disable"), how)
    for part in losses.split(10):
        mean.update(part)
    assert mean.compute().dtype == torch.float32
    assert float(mean.compute()) == pytest.approx(float(losses.mean()), rel=1e-6)
    mean.reset()
    mean.update(losses[:2])
    assert float(mean.compute()) == pytest.approx(float(losses[:2].mean()), rel=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize("how", CONVERSIONS)
def test_a_mean_depends_on_no_order(how):
    draw = torch.Generator().manual_seed(0)
    losses = torch.rand(14000, generator=draw) * torch.logspace(-3, 3, 14000)
    found = set()
    for order in (slice(None), torch.arange(14000).flip(0), torch.cat([torch.arange(k, 14000, 3) for k in range(3)])):
        mean = converted(SampleMean(), how)
        for part in losses[order].split(7):
            mean.update(part)
        found.add(float(mean.compute()))
    assert len(found) == 1
    assert found.pop() == pytest.approx(float(losses.double().mean()), rel=1e-7)


def test_a_mean_shows_what_is_no_number():
    mean = SampleMean()
    mean.update(torch.tensor([1.0, float("nan")]))
    assert mean.compute().isnan()
    mean.reset()
    mean.update(torch.tensor([1.0, float("inf")]))
    assert mean.compute().isinf()
    mean.reset()
    assert SampleMean().compute().isnan()  # of nothing


def test_without_it_counting_ends_at_256():
    plain = converted(MeanMetric(nan_strategy="disable"), CONVERSIONS[0])
    for _ in range(1000):
        plain.update(torch.ones(1))
    assert float(plain.weight) == 256


@pytest.mark.parametrize("how", CONVERSIONS)
def test_errors_by_band_and_videos(how):
    draw = torch.Generator().manual_seed(1)
    pictures = torch.rand(40, 1, 1, 8, 8, generator=draw)
    scores, exact = (converted(BandError(width=2), how), BandError(width=2))
    for picture in pictures:
        scores.update(picture, torch.zeros_like(picture))
        exact.update(picture, torch.zeros_like(picture))
    assert scores.compute() == exact.compute()
    assert scores.compute()["mse"].dtype == torch.float64
    videos, same = converted(VideoAccuracy(7, (1,)), how), VideoAccuracy(7, (1,))
    logits = torch.randn(50, 7, generator=draw)
    for metric in (videos, same):
        metric.update(logits, torch.arange(50) % 10 % 7, torch.arange(50) % 10)
    assert videos.compute() == same.compute()
    assert videos.sums[0].dtype == torch.float64


@pytest.mark.gpu
def test_states_still_move():
    mean = converted(Mean(), lambda module: module.to("cuda", torch.bfloat16))
    assert (mean.mean_value.device.type, mean.mean_value.dtype) == ("cuda", torch.float32)
    mean.update(torch.ones(3, device="cuda"))
    assert float(mean.compute()) == 1
