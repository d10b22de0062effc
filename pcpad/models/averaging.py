"""A running average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pcpad.errors import UserValueError


class AveragedNetwork(nn.Module):
    """A copy of a network whose weights are an exponential moving average of the original's.

    Parameters and batch statistics are averaged; the vectors of spectral norms, whose average has no meaning, are
    copied. The average and its number of updates are part of the state dict, so that runs resume exactly.

    Args:
        network: The original, which is copied.
        decay: Weight of the old average at each update, in [0, 1). At the n-th update at most (1 + n) / (10 + n), so
            that the arbitrary initial weights are soon forgotten.

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
        """Stay in evaluation mode: the average must not collect batch statistics itself."""
        return super().train(False)

    def restart(self, network: nn.Module) -> None:
        """Begin again from the original's current weights, in place, as after these were loaded from a file."""
        self.network.load_state_dict(network.state_dict(), strict=True)
        self.updates.zero_()

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one step toward the original's current weights."""
        self.updates += 1
        # On the device, to avoid synchronization in each step.
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
