"""What a checkpoint remembers, and how it ranks below what the user asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pcpad._renamed import with_present_paths
from pcpad.commands.plugins import loaded_by_user
from pcpad.errors import UserFileNotFoundError, UserValueError

# Where the class paths in a checkpoint may lead unasked. A checkpoint is a file from someone, and building a class
# imports its module: any other must be typed, or stand in a config, by the user.
_OWN_PACKAGES = ("pcpad.", "torch.optim.", "lightning.pytorch.")
_PARTS = {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}


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
            content = yaml.safe_load(config.read_text(encoding="utf-8"))
            name = (content.get("ckpt_path") if isinstance(content, Mapping) else None) or name
    if name is None or name in ("", "null", "hpc"):
        return None
    if re.match(r"[a-z][a-z0-9+.-]*://", name, flags=re.IGNORECASE):
        message = f"Checkpoints are read from local files only, got {name!r}: fetch the file and pass its path."
        raise UserValueError(message)
    path = Path(name)
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


def remembered(path: Path, typed: Iterable[str] = ()) -> dict[str, Any]:
    """The task and the data module a checkpoint was made with, as a configuration.

    Args:
        path: A Lightning checkpoint.
        typed: What the user wrote, arguments and config files' texts: class paths in it are trusted.

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
    settings = {}
    for part, key in _PARTS.items():
        values = {name: value for name, value in content.get(key, {}).items() if name != "_instantiator"}
        class_path = values.pop("_class_path", None)
        if class_path is not None:
            settings[part] = {"class_path": class_path, "init_args": values}
    _check_trusted(settings, path, list(typed))
    return with_present_paths(settings)


def _check_trusted(settings: Any, path: Path, typed: list[str]) -> None:
    if isinstance(settings, Mapping):
        class_path = settings.get("class_path")
        known = class_path is None or str(class_path).startswith(_OWN_PACKAGES) or loaded_by_user(str(class_path))
        if not known and not any(str(class_path) in text for text in typed):
            message = (
                f"{path} asks for the class {class_path!r}, which is not pcpad's. Importing it runs its code: if you "
                "trust it, name it yourself: with --import, --model or --data, or in a --config."
            )
            raise UserValueError(message)
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for value in settings:
            _check_trusted(value, path, typed)


def differences(settings: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
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
    return a == b
