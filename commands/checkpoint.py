"""The settings that a checkpoint keeps, which rank below what the user asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcpad._renamed import moved, with_present_paths
from pcpad.bounded_yaml import read_config
from pcpad.commands.habits import remembered_habits
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import at_home, refuse_irregular
from pcpad.tasks.callbacks.run_values import RUN_VALUES
from pcpad.trust import Trust, check_layout, plain_settings

_PARTS = {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}
# What a run that resumes from a checkpoint alone takes from it, and of which types: nothing that could name a class, a
# folder or a file.
_NUMBER, _WORD, _SWITCH = (int, float, type(None)), (str, type(None)), (bool, type(None))
_OF_THE_RUN: dict[str, dict[str, tuple[type, ...]]] = {
    "trainer": {
        **dict.fromkeys(("max_epochs", "min_epochs", "max_steps", "min_steps"), _NUMBER),
        **dict.fromkeys(("check_val_every_n_epoch", "val_check_interval"), _NUMBER),
        **dict.fromkeys(("accumulate_grad_batches", "gradient_clip_val"), _NUMBER),
        **dict.fromkeys(("log_every_n_steps", "limit_train_batches", "limit_val_batches", "overfit_batches"), _NUMBER),
        **dict.fromkeys(("max_time", "gradient_clip_algorithm"), _WORD),
        **dict.fromkeys(("sync_batchnorm", "deterministic"), _SWITCH),
        "precision": (str, int, type(None)),
    },
    "checkpoint": {
        **dict.fromkeys(("monitor", "mode"), _WORD),
        **dict.fromkeys(("save_top_k", "every_n_epochs", "every_n_train_steps"), _NUMBER),
    },
    "results": {"last_epochs": (int,)},
}


def find_checkpoint(args: list[str], configs: Iterable[Path]) -> Path | None:
    """The checkpoint that a command line names.

    Args:
        args: The arguments after the verb.
        configs: The configuration files among them.

    Returns:
        Its path, or None when none is asked for.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is remote, or an alias that means something within one process only.
    """
    name = _typed_value(args, "--ckpt_path")
    if name is None:
        for config in configs:
            content = read_config(config)
            name = (content.get("ckpt_path") if isinstance(content, Mapping) else None) or name
    if name is None or name in ("", "null", "hpc"):
        return None
    if re.match(r"[a-z][a-z0-9+.-]*://", name, flags=re.IGNORECASE):
        message = f"Checkpoints are read from local files only, got {name!r}: fetch the file and pass its path."
        raise UserValueError(message)
    path = Path(name)
    at_home(path)  # which Lightning asks for
    refuse_irregular(path)
    if not path.is_file():
        raise UserFileNotFoundError(_missing(path))
    return path


def _typed_value(args: list[str], option: str) -> str | None:
    found = None
    for index, arg in enumerate(args):
        if arg == option and index + 1 < len(args):
            found = args[index + 1]
        elif arg.startswith(option + "="):
            found = arg.partition("=")[2]
    return found


def _missing(path: Path) -> str:
    if path.name in ("best", "last"):
        return f"--ckpt_path takes a file, such as runs/NAME/version_0/checkpoints/{path.name}.ckpt, got {path.name!r}."
    folder = path.parent
    there = sorted(file.name for file in folder.glob("*.ckpt")) if folder.is_dir() else []
    if not folder.is_dir():
        return f"No checkpoint at {path}: there is no folder {folder.resolve()}."
    return f"No checkpoint at {path}: {folder.resolve()} has {', '.join(there) or 'no .ckpt file'}."


def run_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a run's configuration that its checkpoints keep.

    Args:
        config: Parsed, or a checkpoint's entry, which may hold anything.

    Returns:
        The seed, `--early_stopping`, `--logger`; and by part, then by name: steps, epochs and time, how much of them,
        when it validates and logs, monitor, precision, accumulation. Values of other types are left out.
    """
    seed = config.get("seed_everything")
    found: dict[str, Any] = {"seed_everything": seed} if type(seed) is int else {}
    found |= remembered_habits(config)
    for part, names in _OF_THE_RUN.items():
        given = config.get(part)
        if isinstance(given, Mapping):
            kept = {name: given[name] for name, types in names.items() if name in given and type(given[name]) in types}
            found |= {part: kept} if kept else {}
    return found


def home_of(checkpoint: Path) -> tuple[str, str] | None:
    """The folder of all runs and this run's name, for a checkpoint that lies in its run's folder.

    Args:
        checkpoint: Its path.

    Returns:
        `("runs", "cls_digits")` for `runs/cls_digits/version_0/checkpoints/last.ckpt`; None for one elsewhere.
    """
    folder, version, *above = *checkpoint.parents, Path(), Path()
    if len(checkpoint.parents) < 4 or folder.name != "checkpoints" or not re.fullmatch(r"version_\d+", version.name):
        return None
    return str(above[1]), above[0].name


def remembered(path: Path, trust: Trust | None = None, *, run: bool = False, weights: bool = False) -> dict[str, Any]:
    """The task and the data module a checkpoint was made with, as a configuration.

    Args:
        path: A Lightning checkpoint.
        trust: What it may name; by default what any checkpoint may.
        weights: Whether it must have weights.
        run: Also what it remembers of its run, see `run_values`.

    Returns:
        `{"model": {"class_path": …, "init_args": …}, "data": …}`, each only as far as the checkpoint has it.

    Raises:
        ValueError: It is no Lightning checkpoint, carries code, or asks for a class from elsewhere.
    """
    from pcpad.models.weights import read_weights

    content = read_weights(path)
    if "pytorch-lightning_version" not in content:
        message = (
            f"{path} holds weights but is no Lightning checkpoint, so --ckpt_path cannot take it: "
            f"pass it as --model.weights {path}, with a config or --model that says which network it is for."
        )
        raise UserValueError(message)
    check_layout(content, path, weights=weights)
    settings = {}
    for part, key in _PARTS.items():
        kept = plain_settings(content.get(key, {}), path, key)
        values = {name: value for name, value in kept.items() if name != "_instantiator"}
        class_path = values.pop("_class_path", None)
        if class_path is not None:
            settings[part] = {"class_path": class_path, "init_args": values}
    if not run:
        _without_augmentation(settings)
    (trust or Trust(path)).check(settings)
    kept = content.get(RUN_VALUES)
    if run and isinstance(kept, Mapping):
        settings |= run_values(kept)
    present: dict[str, Any] = with_present_paths(settings)
    return present


def _without_augmentation(settings: dict[str, Any]) -> None:
    """Drop, in place, the transforms of training images: an evaluation need not trust their classes."""
    given = settings.get("data", {}).get("init_args", {})
    augment = given.get("augment") if isinstance(given, dict) else None
    if isinstance(augment, list) and all(isinstance(item, Mapping) and "class_path" in item for item in augment):
        del given["augment"]


def changed_settings(settings: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
    """Say where a run departs from its checkpoint.

    Args:
        settings: What `remembered` returned.
        used: The parsed configuration, with the same parts.

    Returns:
        One line for each differing value: its name, the checkpoint's value, the value used.
    """
    lines = []
    for part in settings:
        before, after = _flat(settings[part], part), _flat(used.get(part) or {}, part)
        for name, value in before.items():
            if name in after and not _same(after[name], value):
                lines.append(f"{name}: checkpoint {value!r}, used {after[name]!r}")
    return lines


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, name if key == "init_args" else f"{name}.{key}")
    return flat


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    same: bool = a == b
    return same


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
