"""What a checkpoint that is resumed may say about other files: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pcpad.trust import state_of_run

__all__ = ["OwnFiles"]


class OwnFiles(Callback):
    """Keeps the checkpoints that a resumed run takes for its own, and removes when better ones come, to its folder.

    Lightning's `ModelCheckpoint` believes the names that stand in the checkpoint, whoever wrote it.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Before any callback gets its state back."""
        if trainer.ckpt_path is not None:
            state_of_run(checkpoint.get("callbacks"), Path(trainer.ckpt_path).parent)
