"""Metrics that count as exactly in a half-precision run as in any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["KeepsPrecision", "SampleMean"]


class KeepsPrecision(Metric):
    """A metric whose states keep their type when the module it is part of is converted.

    `Module.to(torch.bfloat16)`, which is what Lightning's precision `bf16-true` does, converts sums and counts, too.
    In bfloat16 counting ones ends at 256: a mean over more values is then far off, without a word.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        def moved(state: Tensor) -> Tensor:
            wide = state.dtype == torch.float64
            converted = fn(state.float() if wide else state)
            if wide and converted.device.type == "mps":  # Apple's GPUs have no float64
                return converted.float()
            return converted if converted.dtype == state.dtype else state.to(converted.device)

        return super()._apply(moved, exclude_state)

    def set_dtype(self, dst_type: Any) -> Any:
        """Stay as exact."""
        return self


class SampleMean(KeepsPrecision):
    """The mean of a number that each sample has, over all samples of all processes.

    torchmetrics' `MeanMetric` sums in float32, which depends on the order from the sixth digit on, and drops values
    that are no numbers, or weights; here they show in the mean.

    Example:
        >>> mean = SampleMean()
        >>> mean.update(torch.tensor([1.0, 2.0]))
        >>> mean.update(torch.tensor([6.0]))
        >>> float(mean.compute())
        3.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Count the samples of one batch.

        Args:
            values: (N,), one number per sample.
        """
        self.total += values.detach().to(self.total.dtype).sum()
        self.samples += values.numel()

    def compute(self) -> Tensor:
        """The mean, a scalar in float32; NaN without samples."""
        return (self.total / self.samples).float()
