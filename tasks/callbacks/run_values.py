"""A run's settings, kept in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["RUN_VALUES", "RunValues"]

RUN_VALUES = "pcpad_run"
"""The entry of a checkpoint that holds them."""


class RunValues(Callback):
    """Keeps plain values of a run's configuration in its checkpoints, such as its length and when it validates.

    So that `pcpad fit --ckpt_path last.ckpt` alone continues as the run would have.

    Args:
        values: Plain ones, by name, or by part of the configuration and then by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add them."""
        checkpoint[RUN_VALUES] = self.values
