"""End runs, and refuse results, where the loss or a score is no longer finite."""

from __future__ import annotations

import torch
from torch import Tensor

from pcpad.errors import UserRuntimeError

__all__ = ["FiniteLoss", "NonFiniteLossError", "check_finite"]


class NonFiniteLossError(UserRuntimeError):
    """The loss became NaN or infinite."""


class FiniteLoss:
    """Detects a non-finite loss without waiting for the device at every step.

    On a GPU, reading a loss stalls the queue of kernels. The result is therefore accumulated on the device and read
    every `every` steps only; on the CPU, where reading is free, at each step.

    Args:
        every: Steps between two checks on a GPU.
        clips: Whether the trainer can clip this run's gradients, which is then advised.
    """

    def __init__(self, every: int = 50, clips: bool = True) -> None:
        self.every = every
        self.clips = clips
        self._finite: Tensor | None = None
        self._seen = 0

    def update(self, loss: Tensor, where: str) -> None:
        """Take one step's loss into account.

        Args:
            loss: A scalar.
            where: The place in the run, for the error: "epoch 3, step 1200".

        Raises:
            NonFiniteLossError: This loss, or on a GPU one of the last `every`, is not finite.
        """
        finite = loss.detach().isfinite().all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._seen += 1
        if loss.device.type == "cpu" or self._seen % self.every == 0:
            self.check(where)

    def check(self, where: str) -> None:
        """Check now, for instance at an epoch's end, before anything is saved.

        Args:
            where: The place in the run, for the error.

        Raises:
            NonFiniteLossError: A loss since the last check was not finite.
        """
        finite, self._finite = self._finite, None
        if finite is not None and not bool(finite):
            late = "" if finite.device.type == "cpu" else f", or up to {self.every} steps before"
            clip = ", warm it up, or clip gradients (--trainer.gradient_clip_val 1)" if self.clips else " or warm it up"
            message = f"The loss is not finite ({where}{late}). Lower the learning rate{clip}."
            raise NonFiniteLossError(message)


def check_finite(value: Tensor | float, name: str) -> None:
    """Refuse a non-finite evaluation result.

    Args:
        value: A scalar.
        name: Its name, for the error.

    Raises:
        NonFiniteLossError: It is NaN or infinite.
    """
    if not bool(torch.as_tensor(value).isfinite().all()):
        message = f"{name} is {float(value)}: the weights or the data hold values that are not finite."
        raise NonFiniteLossError(message)
