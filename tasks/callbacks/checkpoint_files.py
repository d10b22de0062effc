"""Checkpoints as files that are either complete or not there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer

from pcpad.files import opened, whole_file

__all__ = ["WholeCheckpoints", "write_whole_checkpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints next to their final place and renames them, and only reads regular files.

    Lightning writes to a folder for temporary files and moves the result. If that is on another disk, moving means
    copying over the last checkpoint: if the disk is full, both are lost.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()  # PyTorch ends the process if it cannot finish a file
        torch.save(checkpoint, content)
        with whole_file(Path(path), "wb") as file:
            file.write(content.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: Any = None
    ) -> Any:
        """Read one."""
        if "://" in str(path):
            return super().load_checkpoint(path, map_location, weights_only)
        with opened(Path(path)) as file:
            return torch.load(file, map_location, weights_only=weights_only is not False)


def write_whole_checkpoints(trainer: Trainer) -> None:
    """Make a trainer write and read `WholeCheckpoints`, unless it was configured otherwise.

    Args:
        trainer: The trainer, before it runs.
    """
    if trainer.strategy._checkpoint_io is None:
        trainer.strategy.checkpoint_io = WholeCheckpoints()
