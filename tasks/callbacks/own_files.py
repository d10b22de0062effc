"""Restrict what a resumed checkpoint says about other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pcpad.trust import state_of_run

__all__ = ["OwnFiles"]


class OwnFiles(Callback):
    """Restricts the checkpoints that a resumed run may remove when better ones come to those in its folder.

    Lightning's `ModelCheckpoint` trusts the names in the checkpoint, whoever wrote it.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Run before any callback gets its state back."""
        if trainer.ckpt_path is not None:
            state_of_run(checkpoint.get("callbacks"), Path(trainer.ckpt_path).parent)
