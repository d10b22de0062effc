"""The progress bar."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from pcpad.terminal import for_terminal

__all__ = ["ShownProgress"]


class ShownProgress(RichProgressBar):
    """Lightning's progress bar, with metric names escaped for the terminal: a class may have any name."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics by names that are safe to print."""
        found = super().get_metrics(trainer, pl_module)
        return {for_terminal(name, lines=False): value for name, value in found.items()}
