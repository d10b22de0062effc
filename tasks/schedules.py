"""Learning rates of tasks with several optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pcpad._renamed import with_present_paths
from pcpad.errors import UserValueError

__all__ = ["LinearDecay", "refuse_other_options"]


class LinearDecay(LRScheduler):
    """Constant at first, then linear decay to 0, as in training GANs.

    Args:
        optimizer: Whose learning rates to set.
        total: Epochs of the training; the rate reaches 0 in the epoch after the last.
        start: The last epoch, from 0, at the full rate.
        last_epoch: PyTorch's.

    Raises:
        ValueError: `start` is not before `total`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule, rates = LinearDecay(optimizer, total=4, start=2), []
        >>> for _ in range(4):
        ...     rates.append(schedule.get_last_lr()[0])
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [1.0, 1.0, 1.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, total: int, start: int, last_epoch: int = -1) -> None:
        if not 0 <= start < total:
            message = f"Expected 0 <= start < total, but got start={start} and total={total}"
            raise UserValueError(message)
        self.total, self.start = total, start
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the current epoch."""
        left = (self.total - max(self.last_epoch, self.start)) / (self.total - self.start)
        return [rate * max(0.0, left) for rate in self.base_lrs]


def refuse_other_options(task: LightningModule, checkpoint: dict[str, Any], names: Sequence[str]) -> None:
    """Refuse to resume a run with other optimizers or schedules than it had.

    Lightning would silently use the checkpoint's.

    Args:
        task: The task that is about to be restored.
        checkpoint: What is restored.
        names: The hyper-parameters that optimizers and schedules are made from.

    Raises:
        ValueError: One of them differs, and training resumes.
    """
    stored, used = with_present_paths(checkpoint.get("hyper_parameters", {})), task.hparams
    changed = [name for name in names if name in stored and name in used and stored[name] != used[name]]
    if changed and task._trainer is not None and task._trainer.state.fn == "fit":
        message = f"A run resumes with the optimizers and schedules it had, but {', '.join(changed)} differ"
        raise UserValueError(message)
