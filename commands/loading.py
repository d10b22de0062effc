"""A trained task from its checkpoint, for the verbs that need no trainer."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from pcpad.commands.checkpoint import find_checkpoint, remembered
from pcpad.models.weights import read_weights


def load_task(path: str | Path, **overrides: Any) -> LightningModule:
    """Build the task a checkpoint was made with, and load its weights.

    The checkpoint is read as weights and plain values alone, and names no class but pcpad's own; its optimizer is
    left out.

    Args:
        path: A Lightning checkpoint of one of the suite's tasks.
        overrides: Arguments of the task to change, such as `padding`; those it does not have are ignored.

    Returns:
        The task, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint of a task of pcpad's.
    """
    found = find_checkpoint(["--ckpt_path", str(path)], [])
    if found is None:
        message = f"Expected a checkpoint's path, but got {str(path)!r}."
        raise FileNotFoundError(message)
    settings = remembered(found).get("model")
    if settings is None:
        message = f"{found} does not say which task it is a checkpoint of: it was not made by a task of pcpad's."
        raise ValueError(message)
    module, _, name = settings["class_path"].rpartition(".")
    kind = getattr(import_module(module or "pcpad.tasks"), name, None)
    if not (isinstance(kind, type) and issubclass(kind, LightningModule)):
        message = f"{found} asks for {settings['class_path']!r}, which is no task of this version of pcpad."
        raise ValueError(message)
    arguments = {
        argument: value
        for argument, value in settings["init_args"].items()
        if not (isinstance(value, Mapping) and "class_path" in value)  # optimizer and schedule
    }
    task = kind(**{**arguments, **{name: value for name, value in overrides.items() if name in arguments}})
    content = dict(read_weights(found))
    task.on_load_checkpoint(content)
    task.load_state_dict(content["state_dict"])
    return task.eval()
