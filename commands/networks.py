"""Networks by what users type: a library's name and a file of weights, a checkpoint, or a function of theirs."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pcpad import convert_padding
from pcpad.commands.benching.networks import build, own_networks, required_arguments
from pcpad.commands.loading import NoTaskError, load_task
from pcpad.commands.plugins import load_user_modules
from pcpad.errors import UserTypeError, UserValueError
from pcpad.models import classifier, load_weights, smp_network
from pcpad.models.classifiers import find_network
from pcpad.models.padded_weights import read_metadata
from pcpad.tasks.base import Task
from pcpad.terminal import say
from pcpad.trust import loaded_modules

__all__ = ["LoadedNetwork", "load_network"]

_Numbers = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation

_IMAGENET: _Numbers = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PLAIN: _Numbers = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_CLASSIFIED = 224
_CITYSCAPES = 19
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, and the images it expects.

    Args:
        module: The network alone, in evaluation mode; of a checkpoint the task's `network`.
        mean: Of each channel of images in [0, 1]; a single one for gray images.
        std: Likewise.
        name: As it was typed.
        size: The side of the images that it was published for; None for networks that take any.
        trained: Whether its weights came from anywhere; of what a function of the user's makes it is taken on trust.
        task: The checkpoint's, that the module is a part of.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    size: int | None = None
    trained: bool = True
    task: Task | None = None

    def normalize(self, images: Tensor) -> Tensor:
        """Bring images to the range the network was trained on.

        Args:
            images: (N, 3, H, W), uint8 in [0, 255] or floats in [0, 1].

        Returns:
            (N, C, H, W) floats, (image − mean) / std; C is 1 for a network of gray images (ITU-R 601 luma), else 3.
        """
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        if len(self.mean) == 1 and scaled.shape[1] == 3:
            scaled = (scaled * scaled.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        return (scaled - scaled.new_tensor(self.mean).view(-1, 1, 1)) / scaled.new_tensor(self.std).view(-1, 1, 1)


def load_network(
    name: str,
    *,
    weights: str | Path | None = None,
    padding: str | None = None,
    fallback: str | None = None,
    imports: Iterable[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    untrained: bool | None = None,
    trusted: Iterable[str] = (),
    device: torch.device | str = "cpu",
) -> LoadedNetwork:
    """Build a network with its weights.

    Args:
        name: A network of torchvision (`resnet50`, `fcn_resnet50`), of timm (`timm/resnet50`, or without the prefix
            where torchvision has none of that name), of `pcpad.models` (`deeplabv3plus/resnet50`: the first argument
            behind the stroke), or of segmentation-models-pytorch (`smp/Unet-resnet18`); a checkpoint of the suite
            (`best.ckpt`); or `my.module:make`, a function without arguments that returns the network, or its class.
        weights: A local file, see `pcpad.models.load_weights`; a Lightning checkpoint of another project is such a
            file. For torchvision's and timm's classifiers also `published`, from their local caches. If not given, a
            network that a function makes keeps the weights it has.
        padding: Convert the network to it; None leaves it its own.
        fallback: See `pcpad.convert_padding`.
        imports: Modules whose functions may be called, beside those that `--import` has loaded.
        mean: Of images in [0, 1], one number for all channels or one per channel, in place of those known; a network
            from a function has 0 and 1. One number for a network of gray images.
        std: Likewise.
        num_classes: Of networks by name: 1000 for classifiers and 19 for others when not given.
        untrained: Allow random weights; None where no option allows them.
        trusted: Class paths from other packages that a checkpoint may name.
        device: Where the network shall be.

    Returns:
        The network in evaluation mode.

    Raises:
        UserValueError: There is no such network, or the weights do not fit, or there are none.
        UserTypeError: What the function or checkpoint gives is no network of images.
        UserFileNotFoundError: There is no such file.
    """
    task, trained, size, known = None, True, None, _PLAIN
    if name.endswith(".ckpt"):
        _refuse_options(name, weights, num_classes)
        try:
            task = load_task(name, trusted=trusted)
        except NoTaskError as error:
            message = f"{error} Of a project of your own: --import mine --network mine:MyNetwork --weights {name}"
            raise UserValueError(message) from None
        module, known = _of_task(task, name)
    elif ":" in name:
        module = _made(name, imports, weights is not None)
        if weights is not None:
            stated = read_metadata(weights).get("padding")
            if stated is not None:  # as `pcpad adapt` writes them
                convert_padding(module, stated)
            load_weights(module, weights)
    else:
        trained = weights is not None
        if not trained and not untrained:
            message = (
                f"{name} has random weights, from which nothing can be learned: pass --weights FILE (or `--weights "
                "published` for torchvision's and timm's classifiers, from their local caches)"
            )
            message += ", or --untrained if that is meant" if untrained is not None else ""
            raise UserValueError(message)
        module, known, size = _by_name(name, weights, num_classes)
    if padding is not None:
        convert_padding(module, padding, fallback=fallback)
    mean, std = _per_channel(mean, std, known)
    return LoadedNetwork(module.to(device).eval(), mean, std, name, size, trained, task)


def _refuse_options(name: str, weights: object, num_classes: object) -> None:
    for option, value in (("--weights", weights), ("--num_classes", num_classes)):
        if value is not None:
            message = f"{option} {value} has no effect with {name}: a checkpoint has weights and classes of its own"
            raise UserValueError(message)


def _of_task(task: Task, name: str) -> tuple[nn.Module, _Numbers]:
    """The network of a checkpoint's task, and its normalization."""
    kind = type(task).__name__
    try:
        inputs = list(task.export_example(1, 64, 64))
    except UserTypeError:
        inputs = []
    if inputs != ["image"]:
        message = f"{name} is of {kind}, whose network takes inputs other than one image"
        raise UserTypeError(message)
    network = getattr(task, "network", None)
    if not isinstance(network, nn.Module):
        return task, _PLAIN  # its forward takes images in [0, 1]
    mean, std = getattr(task, "mean", None), getattr(task, "std", None)
    if not (isinstance(mean, Tensor) and isinstance(std, Tensor)):
        return network, _PLAIN
    return network, (tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))


def _made(name: str, imports: Iterable[str], weighted: bool) -> nn.Module:
    if not _FUNCTION.fullmatch(name):
        message = f"Expected a network's name, a .ckpt file or my.module:make, but got {name!r}"
        raise UserValueError(message)
    home, _, function = name.partition(":")
    allowed = set(imports)
    if home not in allowed | loaded_modules:
        message = f"{name} runs code of {home}: allow it by --import {home}"
        raise UserValueError(message)
    load_user_modules([home] if home in allowed else [])
    make: Any = getattr(importlib.import_module(home), function, None)
    if not callable(make):
        message = f"{name}: {home} has no function {function!r}"
        raise UserValueError(message)
    if needed := required_arguments(make):
        message = (
            f"{name} needs {', '.join(needed)}, but is called without arguments: name a function that gives them, "
            f"`def network(): return {function}({', '.join(f'{one}=…' for one in needed)})`"
        )
        raise UserTypeError(message)
    made = make()
    if not isinstance(made, nn.Module):
        message = f"Expected {name}() to return a torch.nn.Module, but got a {type(made).__name__}"
        raise UserTypeError(message)
    if isinstance(make, type) and not weighted:
        text = f"{name} is a class, and there are no --weights: its weights are those that {function}() begins with."
        say(text, file=sys.stderr)
    return made


def _by_name(name: str, weights: str | Path | None, num_classes: int | None) -> tuple[nn.Module, _Numbers, int | None]:
    library, _, rest = name.partition("/")
    # What `pcpad adapt` writes says which padding its weights are for.
    own = "zeros" if weights is None or weights == "published" else read_metadata(weights).get("padding", "zeros")
    if library == "smp":
        architecture, dash, encoder = rest.partition("-")
        classes = _CITYSCAPES if num_classes is None else num_classes
        encoder = encoder if dash else "resnet50"
        module = smp_network(architecture, encoder, classes, padding=own)
        known = _of_timm(encoder.removeprefix("tu-"))[0] if encoder.startswith("tu-") else _IMAGENET
        return (module if weights is None else load_weights(module, weights)), known, None
    if library not in own_networks() and _is_classifier(name):
        module = classifier(name, 1000 if num_classes is None else num_classes, padding=own, weights=weights)
        network, home = find_network(name)
        return module, *(_of_timm(network) if home == "timm" else (_IMAGENET, _CLASSIFIED))
    if num_classes is not None:
        message = f"--num_classes is for networks of images' classes and for smp's; {name} has its own number"
        raise UserValueError(message)
    module = build(name)
    if own != "zeros":
        convert_padding(module, own)
    return (module if weights is None else load_weights(module, weights)), _IMAGENET, None


def _is_classifier(name: str) -> bool:
    """Whether `classifier` builds it, or raises the error that there is no such network."""
    from torchvision import models

    return name not in models.list_models() or name in models.list_models(module=models)


def _of_timm(name: str) -> tuple[_Numbers, int | None]:
    """Normalization and image size that a timm network was published with."""
    import timm

    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return _IMAGENET, _CLASSIFIED
    return (tuple(settings.mean), tuple(settings.std)), settings.input_size[-1]


def _per_channel(mean: Sequence[float] | None, std: Sequence[float] | None, known: _Numbers) -> _Numbers:
    means, stds = (tuple(own) if given is None else tuple(given) for given, own in zip((mean, std), known, strict=True))
    if mean is None and len(stds) == 1:
        means = means[:1]
    if std is None and len(means) == 1:
        stds = stds[:1]
    if len(means) != len(stds) or len(means) not in (1, 3):
        message = (
            f"Expected --mean and --std to be one number each for gray images or three for RGB, but got {len(means)} "
            f"and {len(stds)}"
        )
        raise UserValueError(message)
    if min(stds) <= 0:
        message = f"Expected --std to be numbers > 0, but got {', '.join(map(str, stds))}"
        raise UserValueError(message)
    return means, stds
