"""Metrics that count as exactly in a half-precision run as in any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric

__all__ = ["KeepsPrecision"]


class KeepsPrecision(Metric):
    """A metric whose states keep their type when the module it is part of is converted.

    `Module.to(torch.bfloat16)`, which is what Lightning's precision `bf16-true` does, converts sums and counts, too.
    In bfloat16 counting ones ends at 256: a mean over more values is then far off, without a word.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        def moved(state: Tensor) -> Tensor:
            converted = fn(state)
            return converted if converted.dtype == state.dtype else state.to(converted.device)

        return super()._apply(moved, exclude_state)

    def set_dtype(self, dst_type: Any) -> Any:
        """Stay as exact."""
        return self
