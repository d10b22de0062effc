"""Hyper-parameters that a checkpoint can carry and `weights_only=True` can read back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule

_PLAIN = (bool, int, float, str, type(None))


def plain(value: Any) -> Any:
    """Turn a value into what a weights-only checkpoint may hold.

    Args:
        value: Anything a user may pass from Python: a `Path`, an `Enum`, a NumPy scalar or array, lists of those.

    Returns:
        The same as bool, int, float, str, None, or lists and dicts of these; other values come back as they are.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    for kind in (bool, int, float, str):  # np.float64 is a float, np.str_ a str, and neither loads back
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value


def is_plain(value: Any) -> bool:
    """Whether a weights-only checkpoint can carry the value and give it back.

    Args:
        value: What `plain` returned.

    Returns:
        False for functions, classes, modules and whatever else would need code to come back.
    """
    if isinstance(value, Mapping):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return type(value) in _PLAIN


def save_plain_hyperparameters(module: LightningModule, leave_out: Sequence[str] = ()) -> None:
    """Call this in a task's `__init__`, once its arguments have gone through `plain`.

    The command line hands Lightning the parsed configuration, in which an optimizer is its class path and arguments:
    all of that is kept. From Python an optimizer is a function, which no checkpoint should carry: it is left out. The
    class path is added, so that `pcpad test --ckpt_path` knows the class of a checkpoint made from Python too.

    Args:
        module: The task under construction.
        leave_out: Arguments that are no property of the trained network, such as where its first weights came from.
    """
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    module.save_hyperparameters(ignore=list(leave_out), frame=caller)
    code = [name for name, value in module.hparams.items() if not is_plain(value)]
    if code:
        # The second call also clears what Lightning hands to the loggers.
        module.save_hyperparameters(ignore=[*leave_out, *code], frame=caller)
    kind = type(module)
    module.hparams.setdefault("_class_path", f"{kind.__module__}.{kind.__qualname__}")
