"""What a checkpoint may hold: plain settings, Lightning's current layout, and file names in its own folder.

Others use these functions through `pcpad.trust`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcpad.bounded_yaml import LETTERS, MOST_VALUES, TooManyValuesError
from pcpad.errors import UserValueError

__all__ = ["DEEPEST", "check_layout", "plain_settings", "refuse_many", "state_of_run"]

DEEPEST = 50
"""How deeply settings may be nested."""
_PLAIN = (bool, int, float, str, type(None))
# Keys under which Lightning 0.7 kept arguments, and still looks for them. No version of pcpad has written them.
_OLD_KEYS = ("hparams", "module_arguments", "hparams_type", "datamodule_hparams_type")


def refuse_many(count: int, source: str | Path) -> None:
    """Refuse settings that stand for more values than any task has, through nested references.

    Args:
        count: Values seen so far, those in nested texts included.
        source: The checkpoint or other source of the settings, for the error.

    Raises:
        TooManyValuesError: There are more than `MOST_VALUES`.
    """
    if count > MOST_VALUES:
        message = (
            f"{source} stands for more than {MOST_VALUES:,} settings through repeated references: no task has that "
            "many. Write the settings out without repetition"
        )
        raise TooManyValuesError(message)


def plain_settings(value: Any, source: str | Path, name: str = "hyper_parameters") -> Any:
    """Copy a checkpoint's settings as dicts, lists and plain values of exactly these types.

    Args:
        value: Anything that a weights-only pickle can carry. A list may be referenced from many places, also nested
            ones: each reference counts.
        source: The checkpoint, for the error.
        name: The value's name, for the error.

    Returns:
        A copy.

    Raises:
        UserValueError: There are other types, such as bytes or tensors, the value contains itself, or it stands for too
            many values.
    """
    return _Plain(source).copy(value, name, 0)


class _Plain:
    """Copies settings, and counts them."""

    def __init__(self, source: str | Path) -> None:
        self.source = source
        self.count = 0

    def copy(self, value: Any, name: str, depth: int) -> Any:
        self.count += 1 + (len(value) // LETTERS if isinstance(value, str) else 0)
        refuse_many(self.count, self.source)
        if type(value) in _PLAIN:
            return value
        if depth < DEEPEST and isinstance(value, Mapping) and all(type(key) in _PLAIN for key in value):
            return {key: self.copy(item, f"{name}.{key}", depth + 1) for key, item in value.items()}
        if depth < DEEPEST and isinstance(value, (list, tuple)):
            return [self.copy(item, f"{name}[{index}]", depth + 1) for index, item in enumerate(value)]
        what = "nested too deeply" if depth >= DEEPEST else f"of type {type(value).__name__}"
        message = (
            f"{self.source}: {name[:80]} is {what}. Expected the settings of a checkpoint to be numbers, words, lists "
            "and dicts of these: was it written by `pcpad fit`, or by a task of `pcpad.tasks`?"
        )
        raise UserValueError(message)


def check_layout(content: Mapping[str, Any], source: str | Path, *, weights: bool = False) -> None:
    """Refuse a file that is not a Lightning checkpoint, and entries that Lightning would take arguments from unasked.

    content: The file's content.
        content: The file's content.
        source: Its path, for the error.
        weights: Whether it must have weights.

    Raises:
        UserValueError: It is refused, or has no weights.
    """
    version = content.get("pytorch-lightning_version")
    if not (isinstance(version, str) and re.match(r"\d+\.\d+", version)):
        message = f"{source} is not a Lightning checkpoint: its `pytorch-lightning_version` is {version!r}"
        raise UserValueError(message)
    if weights and not isinstance(content.get("state_dict"), Mapping):
        message = (
            f"{source} is a checkpoint without weights: it has no `state_dict`. Was it written completely? Expected a "
            "checkpoint of `pcpad fit`."
        )
        raise UserValueError(message)
    old = [key for key in _OLD_KEYS if key in content and not _is_empty(content[key])]
    if old:
        message = (
            f"{source} keeps arguments under `{old[0]}`, as Lightning did before version 1: no version of pcpad has "
            "written that, so it is refused"
        )
        raise UserValueError(message)
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if not isinstance(content.get(key, {}), Mapping):
            message = f"{source}: expected `{key}` to be a dict, but got {type(content[key]).__name__}"
            raise UserValueError(message)


def _is_empty(value: Any) -> bool:
    """Whether a value of a checkpoint is empty; tensors are not, as their truth value may be undefined."""
    return value is None or (isinstance(value, (bool, int, float, str, list, tuple, Mapping)) and not value)


def state_of_run(states: Any, folder: Path) -> None:
    """Restrict, in place, the files that a checkpoint's callbacks remember and may remove to its own folder.

    `ModelCheckpoint` removes the previous best file, by its name in the checkpoint, when there is a better one.

    Args:
        states: The checkpoint's `callbacks`.
        folder: The checkpoint's.
    """

    def here(path: Any) -> str:
        name = re.split(r"[/\\]", path)[-1] if isinstance(path, str) else ""
        return str(folder / name) if name.endswith(".ckpt") and not re.search(r"[:\0]", name) else ""

    for state in states.values() if isinstance(states, Mapping) else ():
        if not isinstance(state, dict):
            continue
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if key in state:
                state[key] = here(state[key])
        best = state.get("best_k_models")
        if isinstance(best, Mapping):
            state["best_k_models"] = {here(path): score for path, score in best.items() if here(path)}
