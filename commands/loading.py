"""Load tasks and data modules from a checkpoint, for verbs that run a network without a trainer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import instantiate_module

import pcpad.datamodules
import pcpad.tasks
from pcpad.commands.checkpoint import remembered
from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError, did_you_mean
from pcpad.files import at_home, refuse_irregular
from pcpad.tasks.base import Task
from pcpad.trust import Trust

__all__ = ["NoTaskError", "load_datamodule", "load_task"]


class NoTaskError(UserValueError):
    """A checkpoint that does not name the task it was made by."""


def load_task(
    checkpoint: str | Path,
    *,
    device: torch.device | str = "cpu",
    trusted: Iterable[str] = (),
    where_known: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Task:
    """Build the task a checkpoint was made by, with its weights, ready to be run.

    Args:
        checkpoint: A local Lightning checkpoint.
        device: The network's device.
        trusted: Class paths from other packages that the checkpoint may name.
        where_known: Like `overrides`, but left out where the task has no such argument.
        overrides: Arguments of the task that outrank the checkpoint's: `padding="zeros"`.

    Returns:
        The task in evaluation mode; `trained_with` says what its weights were trained with.

    Raises:
        FileNotFoundError: There is no such file.
        NoTaskError: The checkpoint names no task.
        ValueError: It asks for a class from elsewhere, or an override is no argument.
        TypeError: It is a checkpoint of a LightningModule that is no `Task`.
    """
    trust = Trust(checkpoint, trusted)
    settings = _settings(checkpoint, "model", trust)
    if settings is None:
        message = f"{checkpoint} does not say which task it was made by; expected a checkpoint of `pcpad fit`."
        raise NoTaskError(message)
    kind = _find_class(settings["class_path"], LightningModule, pcpad.tasks)
    if not issubclass(kind, Task):
        message = (
            f"{settings['class_path']} is a plain LightningModule: it can be trained and tested, but this verb needs a "
            "pcpad.tasks.base.Task, which says what it is (`padding`, `num_classes`) and has `export_example`"
        )
        raise UserTypeError(message)
    known = inspect.signature(kind).parameters
    overrides |= {name: value for name, value in (where_known or {}).items() if name in known}
    _check_names(kind, overrides, "model")
    path = str(at_home(checkpoint))
    try:
        with trust.watch():
            task = kind.load_from_checkpoint(path, map_location=device, weights_only=True, **overrides)
    except ArgumentError as error:
        message = f"{checkpoint} holds settings that {kind.__name__} does not take: {error}"
        raise UserValueError(message) from None
    loaded: Task = task.to(device).eval()
    return loaded


def load_datamodule(
    checkpoint: str | Path, *, class_path: str | None = None, trusted: Iterable[str] = (), **overrides: Any
) -> LightningDataModule:
    """Build the data module a checkpoint was trained on; nothing is read yet, `setup` does that.

    Args:
        checkpoint: A local Lightning checkpoint.
        class_path: Another data module than the checkpoint's, by its short name or import path.
        trusted: Class paths from other packages that the checkpoint may name.
        overrides: Arguments of the data module that outrank the checkpoint's: `root="data/streets"`.

    Returns:
        The data module, without a trainer.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The checkpoint remembers no data, asks for a class from elsewhere, or an override does not fit.
    """
    trust = Trust(checkpoint, [*trusted, *([class_path] if class_path else [])])
    settings = _settings(checkpoint, "data", trust)
    if class_path is not None:
        kind = _find_class(class_path, LightningDataModule, pcpad.datamodules)
    elif settings is not None:
        kind = _find_class(settings["class_path"], LightningDataModule, pcpad.datamodules)
    else:
        message = f"{checkpoint} does not remember its data module: name one with --data, such as CityscapesDataModule."
        raise UserValueError(message)
    # A class has several import paths, so what is compared is the class. Of another one the arguments mean nothing.
    same = settings is not None and _find_class(settings["class_path"], LightningDataModule, pcpad.datamodules) is kind
    kept = settings["init_args"] if settings is not None and same else {}
    _check_names(kind, overrides, "data")
    try:
        with trust.watch():
            module: LightningDataModule = instantiate_module(kind, {**kept, **overrides})
            return module
    except ArgumentError as error:
        message = f"{kind.__name__}: {error}"
        raise UserValueError(message) from None


def _settings(checkpoint: str | Path, part: str, trust: Trust) -> dict[str, Any] | None:
    path = at_home(checkpoint)
    if "://" not in str(checkpoint):
        refuse_irregular(path)
    if "://" not in str(checkpoint) and not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.ckpt"))) or "no .ckpt file"
        message = f"No checkpoint at {checkpoint}: {path.parent.resolve()} has {there}."
        raise UserFileNotFoundError(message)
    return remembered(path if path.is_file() else checkpoint, trust, weights=part == "model").get(part)  # type: ignore[arg-type]


def _find_class(class_path: str, base: type, home: Any) -> Any:
    """The class of that import path, or of that name in the suite's own package."""
    module, _, name = class_path.rpartition(".")
    if not module:
        found = getattr(home, name, None)
        known = getattr(home, "__all__", [])
        hint = f"expected an import path or one of {', '.join(known)}"
    else:
        try:
            found = getattr(import_module(module), name, None)
        except ModuleNotFoundError:
            found = None
        hint = f"expected a {base.__name__} that can be imported"
    if not (isinstance(found, type) and issubclass(found, base)):
        message = f"No class {class_path!r}: {hint}."
        raise UserValueError(message)
    return found


def _check_names(kind: type, overrides: Mapping[str, Any], part: str) -> None:
    known = [name for name in inspect.signature(kind).parameters]
    for name in overrides:
        if name not in known:
            hint = did_you_mean(name, known, cutoff=0.6, form=f"--{part}.{{}}") or f" It has: {', '.join(known)}."
            message = f"{kind.__name__} has no argument {name!r}.{hint}"
            raise UserValueError(message)
