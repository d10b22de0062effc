"""Feature maps of a network's layers: which there are, and their values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from pcpad.errors import UserValueError, did_you_mean

__all__ = ["last_map", "last_two_sizes", "maps_of", "spatial_layers"]

# Their output shows the pooling's grid, not the network's.
_NO_FEATURES = ("AdaptiveAvgPool", "AdaptiveMaxPool", "SelectAdaptivePool", "Dropout", "Identity", "Flatten")


def network_of(task: LightningModule) -> nn.Module:
    """The network in a task, whose layers' names are meant; the task itself if it keeps none."""
    return dict(task.named_children()).get("network", task)


@torch.no_grad()
def spatial_layers(task: LightningModule, image: Tensor) -> dict[str, tuple[int, ...]]:
    """The layers whose output is a map of more than one position.

    Args:
        task: In evaluation mode.
        image: A batch it takes; one image will do.

    Returns:
        Sizes of the maps, (H, W), by the layer's name, in the order in which the layers finish.

    Raises:
        ValueError: There is none.
    """
    network = network_of(task)
    found: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, module in network.named_modules():
        if name and not type(module).__name__.startswith(_NO_FEATURES):

            def record(_module: nn.Module, _inputs: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor) and output.dim() in (4, 5) and output[0, 0].numel() > 1:
                    found.pop(name, None)
                    found[name] = tuple(output.shape[-2:])

            handles.append(module.register_forward_hook(record))
    try:
        task(image)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        message = f"{type(network).__name__} has no layer whose output has more than one position at this image size."
        raise UserValueError(message)
    return found


def last_map(layers: dict[str, tuple[int, ...]]) -> str:
    """The layer whose output is the last feature map."""
    return list(layers)[-1]


def last_two_sizes(layers: dict[str, tuple[int, ...]]) -> list[str]:
    """The last layers at the two last sizes that maps have, in order."""
    last = {size: name for name, size in layers.items()}
    order = list(layers)
    return sorted(last.values(), key=order.index)[-2:]


def check_layers(asked: Sequence[str], layers: dict[str, tuple[int, ...]]) -> None:
    """Refuse layers that the network does not have.

    Args:
        asked: Their names.
        layers: What `spatial_layers` found.

    Raises:
        ValueError: One is not among them.
    """
    for name in asked:
        if name not in layers:
            hint = did_you_mean(name, layers, most=3, cutoff=0.3)
            there = ", ".join(list(layers)[-3:])
            message = f"No layer {name!r} that puts out feature maps; there are {there} and others.{hint}"
            raise UserValueError(message)


@torch.no_grad()
def maps_of(task: LightningModule, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
    """Run the task and return what layers put out.

    Args:
        task: In evaluation mode.
        image: A batch it takes.
        layers: Their names.

    Returns:
        (N, C, H, W) or (N, C, T, H, W) in float32, one per layer.
    """
    found: dict[str, Tensor] = {}
    parts = dict(network_of(task).named_modules())
    handles = []
    for name in layers:

        def keep(_module: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            found[name] = output.float().clone()  # the next layer may work in place

        handles.append(parts[name].register_forward_hook(keep))
    try:
        task(image)
    finally:
        for handle in handles:
            handle.remove()
    return [found[name] for name in layers]
