"""How far a network is from the one that teaches it, over a whole set and all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from pcpad.adaptation.teaching import Scores
from pcpad.metrics.precision import KeepsPrecision

__all__ = ["TeachingError"]

_SUMS = {
    True: ("loss", "images", "square", "values", "border_error", "border_values", "interior_error", "interior_values"),
    False: ("loss", "images", "agreed", "kl"),
}


class TeachingError(KeepsPrecision):
    """The sums of `pcpad.adaptation.teaching.Scores`, gathered over processes.

    Args:
        dense: Whether outputs are maps, or else scores of classes.

    Example:
        >>> metric = TeachingError(dense=False)
        >>> metric.add(loss=0.5, images=2, agreed=1, kl=0.5)
        >>> metric.compute()["agreement"]
        tensor(0.5000)
    """

    full_state_update = False

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        for name in _SUMS[dense]:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, **parts: float) -> None:
        """Add to the sums, by name."""
        for name, value in parts.items():
            setattr(self, name, getattr(self, name) + value)

    def add(self, **parts: float) -> None:
        """As `Scores.add`."""
        self.update(**parts)

    def compute(self) -> dict[str, Tensor]:
        """The figures, see `Scores.values`."""
        sums = {name: float(getattr(self, name)) for name in _SUMS[self.dense]}
        return {name: torch.tensor(value) for name, value in Scores(self.dense, sums).values().items()}
