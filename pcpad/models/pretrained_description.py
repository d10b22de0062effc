"""What a folder of trained weights says of them: which network of ours they are for, and where they come from.

The description is JSON that anybody may have written. It names a builder of a fixed list and plain values for its
arguments, none of which is a file; it can start no other code and read no other file.
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
# Arguments that name files, or that matter while training alone.
_NEVER = ("weights", "encoder_weights", "head", "checkpointing")
_MOST = {"depth": 256, "scales": 16}  # of what makes layers; everything else is a number of channels or classes
_MOST_OTHERS = 1 << 16
# Of smp's further arguments, those that reach no loader of weights.
_OPTIONS = re.compile(r"decoder_\w+|encoder_output_stride|encoder_depth|upsampling")
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pretrained:
    """What is known of trained weights.

    Args:
        network: The builder's name, see `NETWORKS`.
        arguments: Its arguments, `weights` and the like left out.
        data: What the network was trained on, and under which terms that data is had.
        license: Of the weights: an SPDX identifier such as `BSD-3-Clause`, or a sentence.
        numbers: What was measured, by name: `{"mIoU, Cityscapes val": 0.78}`.
        mean: Of the images that it takes, one for each channel; None where its input is not normalized.
        std: Likewise.
        notes: Anything else, as Markdown.
        sha256: Of the file of weights.
        pcpad: The version that wrote it.
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
        """As it is written."""
        return json.dumps({"library_name": "pcpad", "format": _FORMAT, **asdict(self)}, indent=2) + "\n"


def read_description(path: Path) -> Pretrained:
    """Read a description, which may be of anybody's making.

    Args:
        path: The JSON file.

    Raises:
        UserFileNotFoundError: It is not there.
        UserValueError: It is none of ours, or says something that cannot be.
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
        message = f"{path} is of format {given.get('format')!r}, and pcpad {pcpad.__version__} reads format {_FORMAT}"
        raise UserValueError(message)
    kinds = {"network": str, "arguments": dict, "data": str, "license": str, "numbers": dict, "notes": str}
    wrong = [name for name, kind in {**kinds, "sha256": str}.items() if not isinstance(given.get(name), kind)]
    if wrong:
        message = f"{path} has no proper {wrong[0]}: got {_shown(given.get(wrong[0]))}"
        raise UserValueError(message)
    check_arguments(given["network"], given["arguments"], str(path))
    mean, std = check_range(given.get("mean"), given.get("std"), str(path))
    numbers = check_numbers(given["numbers"], str(path))
    if not _SUM.fullmatch(given["sha256"]):
        message = f"{path} has no proper sha256: got {_shown(given['sha256'])}"
        raise UserValueError(message)
    texts = {name: given[name] for name in ("network", "arguments", "data", "license", "notes", "sha256")}
    return Pretrained(**texts, numbers=numbers, mean=mean, std=std, pcpad=str(given.get("pcpad", ""))[:40])


def build(network: str, arguments: Mapping[str, Any], source: str, device: str = "cpu") -> nn.Module:
    """Build a network by its description, with random weights.

    Args:
        network: See `NETWORKS`.
        arguments: Checked, see `check_arguments`.
        source: Who says so, for the error.
        device: `meta` builds it without memory for its weights.

    Raises:
        UserValueError: It cannot be built so.
    """
    builder = _builder(network)
    weights = {"weights": None} if "weights" in inspect.signature(builder).parameters else {}
    try:
        with torch.device(device):
            return builder(**arguments, **weights)
    except UserError:
        raise
    # Values of the wrong type reach torch's, timm's and smp's constructors, each of which fails in its own way.
    except Exception as error:
        message = f"{source} describes a {network} that cannot be built ({type(error).__name__}: {error})"
        raise UserValueError(message) from error


def _builder(network: str) -> Callable[..., nn.Module]:
    builder: Callable[..., nn.Module] = getattr(importlib.import_module(NETWORKS[network]), network)
    return builder


def check_arguments(network: str, arguments: Mapping[str, Any], source: str) -> None:
    """See that a builder is one of ours, and its arguments are plain and name no file.

    Args:
        network: Its name.
        arguments: By name.
        source: Who says so, for the error.

    Raises:
        UserValueError: It is not so.
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
                message = f"{source} has an option {_shown(key)}: expected decoder_… or encoder_depth or …_stride"
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
    """See that mean and standard deviation are numbers, as many of the one as of the other.

    Raises:
        UserValueError: They are not.
    """
    if mean is None and std is None:
        return None, None
    lists = [list(one) if isinstance(one, list | tuple) else [] for one in (mean, std)]
    fine = all(isinstance(one, int | float) and math.isfinite(one) for each in lists for one in each)
    if not fine or not lists[0] or len(lists[0]) != len(lists[1]) or min(lists[1]) <= 0:
        message = f"{source}: expected mean and std to be as many numbers each, std above 0, but got {mean} and {std}"
        raise UserValueError(message)
    return [float(one) for one in lists[0]], [float(one) for one in lists[1]]


def check_numbers(numbers: Mapping[str, Any], source: str) -> dict[str, float | str]:
    """See that what was measured is numbers or texts by name.

    Raises:
        UserValueError: It is not.
    """
    for name, value in numbers.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float | str):
            message = f"{source}: expected numbers to be numbers or texts by name, but got {_shown({name: value})}"
            raise UserValueError(message)
    return dict(numbers)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
