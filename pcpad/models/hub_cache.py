"""Find published weights in the Hugging Face hub's cache; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pcpad.errors import UserFileNotFoundError, UserValueError, did_you_mean

__all__ = ["hub_file", "timm_file", "timm_network"]

_NAMES = ("model.safetensors", "pytorch_model.bin")


class _NotCachedError(UserFileNotFoundError, UserValueError):
    """Published weights were requested by name, and are in no cache."""


def timm_network(weights: object) -> str | None:
    """The network in a name of weights such as `timm/resnet50.a1_in1k`.

    Args:
        weights: Such a name, or anything else.

    Returns:
        `resnet50`; None for anything else, including an existing file of such a name.
    """
    name = str(weights)
    if not name.startswith("timm/") or Path(name).exists():
        return None
    return name.removeprefix("timm/").partition(".")[0]


def timm_file(name: str, argument: str = "weights") -> Path:
    """Find weights published by timm, in the hub's cache or torchvision's.

    Args:
        name: A timm network, with the tag of its weights or without it for the default: `resnet50.a1_in1k`,
            `timm/resnet50`.
        argument: The name of the caller's argument for a file, for the error.

    Returns:
        The file's path.

    Raises:
        UserFileNotFoundError: It is in neither; the message says where it was looked for.
        UserValueError: timm publishes no such weights.
    """
    import timm
    from timm.models import get_pretrained_cfg

    name = name.removeprefix("timm/")
    network = name.partition(".")[0]
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{network}.*")]
    if not timm.is_model_pretrained(name):
        hint = f" It has the weights {', '.join(known)}." if known else did_you_mean(name, timm.list_pretrained())
        message = f"timm publishes no weights named {name!r}.{hint}"
        raise UserValueError(message)
    settings: Any = get_pretrained_cfg(name)
    repository = str(settings.hf_hub_id)
    in_torch = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(settings.url or "")).name
    if settings.url and in_torch.is_file():
        return in_torch
    names = (settings.hf_hub_filename, *_NAMES) if settings.hf_hub_filename else _NAMES
    return hub_file(repository, names, argument)


def hub_file(repository: str, names: tuple[str, ...] = _NAMES, argument: str = "weights") -> Path:
    """Find a file of a hub repository in the hub's cache.

    Args:
        repository: The repository, such as `timm/resnet50.a1_in1k`.
        names: Possible names of the file; the first that exists is used.
        argument: The name of the caller's argument for a file, for the error.

    Returns:
        The file's path.

    Raises:
        UserFileNotFoundError: There is none of them; the message says where they were looked for.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    message = (
        f"No weight file at {folder}: the published weights {repository} ({' or '.join(names)}) are not in the hub's "
        f"cache (HF_HUB_CACHE and HF_HOME move it). Nothing is downloaded here: get "
        f"https://huggingface.co/{repository} on a machine with a connection (hf download {repository}), or pass "
        f"another file as {argument}=PATH."
    )
    raise _NotCachedError(message)
