"""Descriptions of trained weights: the network of pcpad that they are for, and their origin.

A description is JSON from any source. It names a builder from a fixed list and plain values for its arguments, none of
which is a file; it can run no other code and read no other file.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pcpad
from pcpad.errors import UserError, UserValueError, did_you_mean
from pcpad.files import opened

__all__ = ["NETWORKS", "Pretrained", "build", "read_description"]

NETWORKS = {
    "classifier": "pcpad.models.classifiers",
    "deeplabv3plus": "pcpad.models.deeplab",
    "drn_d_105": "pcpad.models.drn",
    "filtering_unet": "pcpad.models.filtering_unet",
    "inpainting_unet": "pcpad.models.inpainting_unet",
    "patch_discriminator": "pcpad.models.patch_discriminator",
    "resnet3d": "pcpad.models.resnet3d",
    "restoration_network": "pcpad.models.restoration",
    "smp_network": "pcpad.models.smp",
    "spade_generator": "pcpad.models.spade",
    "torchvision_segmentation": "pcpad.models.torchvision_segmentation",
    "wide_resnet38": "pcpad.models.wide_resnet",
}
"""The networks that a description may name, and the modules of their builders."""

_FORMAT = 1
_MOST_BYTES = 1 << 20
# Arguments that name files, or that matter in training only.
_NEVER = ("weights", "encoder_weights", "head", "checkpointing")
_MOST = {"depth": 256, "scales": 16}  # these set numbers of layers; all others are numbers of channels or classes
_MOST_OTHERS = 1 << 16
# Those of smp's further arguments that do not load weights.
_OPTIONS = re.compile(r"decoder_\w+|encoder_output_stride|encoder_depth|upsampling")
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pretrained:
    """The description of trained weights.

    Args:
        network: The builder's name, see `NETWORKS`.
        arguments: Its arguments, without `weights` and the like.
        data: The training data, and the terms under which it is available.
        license: The weights' license: an SPDX identifier such as `BSD-3-Clause`, or a sentence.
        numbers: Measurements by name: `{"mIoU, Cityscapes val": 0.78}`.
        mean: Mean per channel for the normalization of images; None if the input is not normalized.
        std: Standard deviation per channel, likewise.
        notes: Further text, as Markdown.
        sha256: The checksum of the weight file.
        pcpad: The version of pcpad that wrote it.
    """

    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    license: str = ""
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    notes: str = ""
    sha256: str = ""
    pcpad: str = pcpad.__version__

    def json(self) -> str:
        """The content of the JSON file."""
        return json.dumps({"library_name": "pcpad", "format": _FORMAT, **asdict(self)}, indent=2) + "\n"


def read_description(path: Path) -> Pretrained:
    """Read a description, which is not trusted.

    Args:
        path: The JSON file.

    Raises:
        UserFileNotFoundError: There is no such file.
        UserValueError: It is not a description of pcpad, or has invalid values.
    """
    with opened(path) as file:
        content = file.read(_MOST_BYTES + 1)
    try:
        given = json.loads(content) if len(content) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or given.get("library_name") != "pcpad" or "network" not in given:
        message = (
            f"{path} does not describe weights of pcpad: expected what `pcpad.models.save_pretrained` writes. Weights "
            "of other libraries are loaded by `pcpad.models.load_weights`, or by name: classifier('timm/resnet50', "
            "weights='published')"
        )
        raise UserValueError(message)
    if given.get("format") != _FORMAT:
        message = f"{path} is of format {given.get('format')!r}, but pcpad {pcpad.__version__} reads format {_FORMAT}"
        raise UserValueError(message)
    kinds = {"network": str, "arguments": dict, "data": str, "license": str, "numbers": dict, "notes": str}
    wrong = [name for name, kind in {**kinds, "sha256": str}.items() if not isinstance(given.get(name), kind)]
    if wrong:
        message = f"{path} has no valid {wrong[0]}: got {_shown(given.get(wrong[0]))}"
        raise UserValueError(message)
    check_arguments(given["network"], given["arguments"], str(path))
    mean, std = check_range(given.get("mean"), given.get("std"), str(path))
    numbers = check_numbers(given["numbers"], str(path))
    if not _SUM.fullmatch(given["sha256"]):
        message = f"{path} has no valid sha256: got {_shown(given['sha256'])}"
        raise UserValueError(message)
    texts = {name: given[name] for name in ("network", "arguments", "data", "license", "notes", "sha256")}
    return Pretrained(**texts, numbers=numbers, mean=mean, std=std, pcpad=str(given.get("pcpad", ""))[:40])


def build(network: str, arguments: Mapping[str, Any], source: str, device: str = "cpu") -> nn.Module:
    """Build a network from its description, with random weights.

    Args:
        network: See `NETWORKS`.
        arguments: Arguments that `check_arguments` accepts.
        source: The description's origin, for the error.
        device: `meta` builds it without memory for its weights.

    Raises:
        UserValueError: It cannot be built from these arguments.
    """
    builder = _builder(network)
    weights = {"weights": None} if "weights" in inspect.signature(builder).parameters else {}
    try:
        with torch.device(device):
            return builder(**arguments, **weights)
    except UserError:
        raise
    # Values of wrong types reach the constructors of torch, timm and smp, which fail in many ways.
    except Exception as error:
        message = f"{source} describes a {network} that cannot be built ({type(error).__name__}: {error})"
        raise UserValueError(message) from error


def _builder(network: str) -> Callable[..., nn.Module]:
    builder: Callable[..., nn.Module] = getattr(importlib.import_module(NETWORKS[network]), network)
    return builder


def check_arguments(network: str, arguments: Mapping[str, Any], source: str) -> None:
    """Check that a builder is one of pcpad's, and that its arguments are plain values and name no files.

    Args:
        network: The builder's name.
        arguments: Its arguments by name.
        source: The description's origin, for the error.

    Raises:
        UserValueError: The builder or an argument is invalid.
    """
    if network not in NETWORKS:
        hint = did_you_mean(network, NETWORKS, cutoff=0.6)
        message = f"{source} names a network {_shown(network)}: expected one of {', '.join(NETWORKS)}.{hint}"
        raise UserValueError(message)
    parameters = inspect.signature(_builder(network)).parameters
    known = [name for name in parameters if name not in _NEVER]
    for name, value in arguments.items():
        if name not in known:
            hint = did_you_mean(str(name), known, cutoff=0.6)
            message = f"{source} has an argument {_shown(name)}: a {network} takes {', '.join(known)}.{hint}"
            raise UserValueError(message)
        parts = value if isinstance(value, dict) else {name: value}
        for key, part in parts.items():
            if isinstance(value, dict) and name == "options" and not _OPTIONS.fullmatch(str(key)):
                message = f"{source} has an option {_shown(key)}: expected decoder_…, encoder_depth or …_stride"
                raise UserValueError(message)
            if not _is_plain(str(key), part):
                message = f"{source} has {_shown(part)} as {key}: expected a short text, or a number of reasonable size"
                raise UserValueError(message)
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty and name not in arguments]
    if needed:
        message = f"{source} lacks the argument {needed[0]} of {network}"
        raise UserValueError(message)


def _is_plain(name: str, value: object) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 16 and all(not isinstance(one, list | tuple) and _is_plain(name, one) for one in value)
    if isinstance(value, str):
        return len(value) <= 200 and value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and 0 <= value <= _MOST.get(name, _MOST_OTHERS))


def check_range(mean: Any, std: Any, source: str) -> tuple[list[float] | None, list[float] | None]:
    """Check that mean and standard deviation are equally long lists of numbers.

    Raises:
        UserValueError: They are not, or a deviation is not positive.
    """
    if mean is None and std is None:
        return None, None
    lists = [list(one) if isinstance(one, list | tuple) else [] for one in (mean, std)]
    fine = all(isinstance(one, int | float) and math.isfinite(one) for each in lists for one in each)
    if not fine or not lists[0] or len(lists[0]) != len(lists[1]) or min(lists[1]) <= 0:
        message = f"{source}: expected mean and std to be equally many numbers, std above 0, but got {mean} and {std}"
        raise UserValueError(message)
    return [float(one) for one in lists[0]], [float(one) for one in lists[1]]


def check_numbers(numbers: Mapping[str, Any], source: str) -> dict[str, float | str]:
    """Check that measurements are numbers or texts by name.

    Raises:
        UserValueError: They are not.
    """
    for name, value in numbers.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float | str):
            message = f"{source}: expected numbers to be numbers or texts by name, but got {_shown({name: value})}"
            raise UserValueError(message)
    return dict(numbers)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
