"""The networks that `pcpad bench` times: by name, with the same weights under each padding."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import pcpad.models
from pcpad import convert_padding
from pcpad.models import classifier
from pcpad.paddings import smallest_size

CLASSES = 1000


def own_networks() -> tuple[str, ...]:
    """The networks of `pcpad.models` that need no arguments.

    Returns:
        The names of their builders.
    """
    return tuple(name for name in pcpad.models.__all__ if _needs_nothing(getattr(pcpad.models, name)))


def _needs_nothing(builder: object) -> bool:
    return callable(builder) and "padding" in inspect.signature(builder).parameters and not required_arguments(builder)


def required_arguments(function: Callable[..., object]) -> list[str]:
    """The arguments without which a function cannot be called.

    Args:
        function: Any; a class is what makes it.

    Returns:
        Their names; none of a function without a signature, as some builtins are.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in several]


def build(network: str) -> nn.Module:
    """Build a zero-padded network with random weights.

    Args:
        network: A builder of `pcpad.models` (`wide_resnet38`; `deeplabv3plus/resnet50` for its first argument), a
            name of torchvision (`resnet50`, `r3d_18`, `fcn_resnet50`) or of timm.

    Returns:
        The network, on the CPU.

    Raises:
        ValueError: There is no such network.
    """
    head, _, first = network.partition("/")
    if head in own_networks():
        model: nn.Module = getattr(pcpad.models, head)(*([first] if first else []), padding="zeros")
        return model
    from torchvision import models

    classifiers = models.list_models(module=models)
    if network in models.list_models() and network not in classifiers:
        # Segmentation networks would fetch weights for their backbone.
        bare = {"weights_backbone": None} if network not in models.list_models(module=models.video) else {}
        model = models.get_model(network, weights=None, **bare)
        return model
    return classifier(network, CLASSES, padding="zeros")


@dataclass
class Contestants:
    """One network under several paddings."""

    networks: dict[str, nn.Module]  # "zeros" and "control", its twin, come first
    notes: dict[str, str] = field(default_factory=dict)  # of the paddings it cannot be given: why
    unconverted: tuple[str, ...] = ()  # what pads by itself and so kept its padding
    input: Tensor | None = None  # of networks that take no pictures (N, 3, H, W)

    @property
    def dims(self) -> int:
        """How many spatial axes the input has."""
        return 3 if any(isinstance(module, nn.Conv3d) for module in self.networks["zeros"].modules()) else 2


def contestants(network: str, paddings: Sequence[str], fallback: str | None = None) -> Contestants:
    """Build a network of that name, and `versions` of it.

    Args:
        network: See `build`.
        paddings: Their names. Zero padding and its twin are always among the copies.
        fallback: What paddings do that need larger maps than they get, such as `reflect`, see `pcpad.convert_padding`.

    Returns:
        The networks; and for what has no such version, why.

    Raises:
        ValueError: There is no such network.
    """
    torch.manual_seed(0)
    return versions(build(network), paddings, fallback)


def versions(zeros: nn.Module, paddings: Sequence[str], fallback: str | None = None) -> Contestants:
    """Copy a zero-padded network, with its weights, under other paddings.

    Args:
        zeros: The network.
        paddings: See `contestants`.
        fallback: See `contestants`.

    Returns:
        The networks; and for what has no such version, why.
    """
    made = Contestants({"zeros": zeros, "control": copy.deepcopy(zeros)})
    for padding in paddings:
        if padding == "zeros":
            continue
        takes_fallback = fallback if smallest_size(padding, (1, 1)) is not None else None
        try:
            made.networks[padding], report = convert_padding(
                copy.deepcopy(zeros), padding, fallback=takes_fallback, return_report=True
            )
        except ValueError as error:
            made.notes[padding] = str(error)
            continue
        # Pooling that counts padded zeros is left too, though no convolution.
        left = [row for row in report.left if row in report.kept or row.why.startswith("average pooling")]
        made.unconverted = tuple(f"{row.name} ({row.kind}: {row.why})" for row in left)
        if not report.converted:
            same = "nothing in this network pads, so every padding is the same"
            made.notes[padding] = f"{report.said()}, so every padding is the same" if report.kept else same
            del made.networks[padding]
    return made


def example(
    dims: int, batch: int, size: tuple[int, int], frames: int, layout: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """An input of noise.

    Args:
        dims: 2 for images (N, 3, H, W), 3 for clips (N, 3, T, H, W).
        batch: N.
        size: H and W.
        frames: T.
        layout: `nchw` or `channels_last`.
        dtype: Of the input.
        device: Where to.

    Returns:
        The input.
    """
    axes = size if dims == 2 else (frames, *size)
    x = torch.randn(batch, 3, *axes, generator=torch.Generator().manual_seed(0))
    return x.to(device, dtype).contiguous(memory_format=memory_format(dims, layout))


def memory_format(dims: int, layout: str) -> torch.memory_format:
    """Torch's name of a layout.

    Args:
        dims: How many spatial axes.
        layout: `nchw` or `channels_last`.

    Returns:
        The memory format.
    """
    if layout == "nchw":
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d
