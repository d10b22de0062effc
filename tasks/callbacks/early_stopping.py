"""End a run that no longer improves."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info


class StopsEarly(EarlyStopping):
    """Lightning's early stopping, by the metric that decides which checkpoint is the best; says why a run ended.

    Args:
        monitor: The metric.
        mode: Whether the best is the metric's `max` or `min`.
        patience: Number of validations without improvement after which the run ends.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor=monitor, mode=mode, patience=patience, verbose=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume counting from a checkpoint; the patience is this run's, which may be larger, and so is its end."""
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience, self.stopped_epoch = patience, 0

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that early stopping ended the run."""
        if self.stopped_epoch:
            rank_zero_info(
                f"Stopped after epoch {self.stopped_epoch}: {self.monitor} has not been better than "
                f"{self.best_score.item():.6g} in {self.patience} validations (--early_stopping)"
            )
