"""A running average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pcpad.errors import UserValueError


class AveragedNetwork(nn.Module):
    """A copy of a network whose weights follow the original's as an exponential moving average.

    Parameters and batch statistics are averaged; the vectors of spectral norms, directions that mean nothing on
    average, are copied. It is part of the state dict, its count of updates too, so that a resumed run goes on exactly.

    Args:
        network: The original; it is copied.
        decay: Part of the average that stays at each update, in [0, 1). At the n-th update at most (1 + n) / (10 + n),
            so that the first, arbitrary weights are soon forgotten.

    Raises:
        ValueError: `decay` is out of range.
    """

    updates: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            message = f"Expected argument `ema` to be in [0, 1), but got {decay}"
            raise UserValueError(message)
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> AveragedNetwork:
        """Stay in evaluation mode: what is averaged must not gather statistics of its own."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one step towards the original's present weights."""
        self.updates += 1
        # On the device, so that no step waits for it.
        keep = torch.clamp((1 + self.updates) / (10 + self.updates), max=self.decay)
        for kept, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            kept.lerp_(theirs.detach(), (1 - keep).to(kept.dtype))
        theirs_by_name = dict(network.named_buffers())
        for name, ours in self.network.named_buffers():
            averaged = name.endswith(("running_mean", "running_var"))
            if averaged:
                ours.lerp_(theirs_by_name[name], (1 - keep).to(ours.dtype))
            else:
                ours.copy_(theirs_by_name[name])

    def forward(self, *arguments: Any) -> Tensor:
        """Run the averaged network."""
        output: Tensor = self.network(*arguments)
        return output
