"""Hyper-parameters as a weights-only checkpoint may hold them: plain values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

__all__ = ["is_plain", "plain"]


def plain(value: Any) -> Any:
    """Turn a value into what a weights-only checkpoint may hold.

    Args:
        value: Anything a user may pass from Python: a `Path`, an `Enum`, a NumPy scalar or array, lists of those.

    Returns:
        The same as bool, int, float, str, None, or lists and dicts of these; other values are returned unchanged.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
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
        False for functions, classes, modules and everything else that would need code to be restored.
    """
    if isinstance(value, Mapping):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return type(value) in (bool, int, float, str, type(None))
