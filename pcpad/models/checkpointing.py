"""Gradient checkpointing of residual stages, and the memory that a network keeps for its backward pass."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stage", "activation_bytes", "set_checkpointing"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Stage(nn.Sequential):
    """A sequence of residual blocks; with `checkpointing`, a block keeps only its input for the backward pass.

    Each block then runs a second time during the backward pass, without updating batch norm's running statistics again,
    so that training gives the same network with and without it. Names in the state dict are those of `nn.Sequential`.

    Example:
        >>> stage = Stage(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
        >>> stage.checkpointing = True
        >>> stage(torch.zeros(1, 3, 4, 4)).shape
        torch.Size([1, 3, 4, 4])
    """

    checkpointing: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """Run the blocks in order."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # torch has no types there
            return output
        for block in self:
            input = _checkpointed(block, input)
        return input


def set_checkpointing(model: nn.Module, enabled: bool = True) -> int:
    """Switch gradient checkpointing in every `Stage` of a network.

    Args:
        model: Any network; of this package, `wide_resnet38`, `deeplabv3plus` and smp networks on a WideResNet38 have
            stages.
        enabled: Whether to use it.

    Returns:
        The number of stages.
    """
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    for stage in stages:
        stage.checkpointing = enabled
    return len(stages)


def _checkpointed(block: nn.Module, input: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        # The compiler does not support these contexts, and does not need them: it applies each buffer update once.
        output: Tensor = checkpoint(block, input, use_reentrant=False)
        return output
    output = checkpoint(block, input, use_reentrant=False, context_fn=lambda: (nullcontext(), _StatisticsAside(block)))
    return output


class _StatisticsAside:
    """Lets batch norm update copies of its running statistics, which the forward pass has already updated.

    A class, not a generator, since a retained graph can be run backward, and so recomputed, twice. Copies, not None,
    since a recomputation must save as many tensors as the forward pass did.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.kept: list[tuple[nn.Module, dict[str, Any]]] = []

    def __enter__(self) -> None:
        for module in self.block.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.training:
                own = {name: module._buffers[name] for name in _STATISTICS if module._buffers.get(name) is not None}
                self.kept.append((module, own))
                module._buffers.update({name: value.clone() for name, value in own.items() if value is not None})

    def __exit__(self, *_: object) -> None:
        for module, own in self.kept:
            module._buffers.update(own)
        self.kept = []


def activation_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Count the bytes that autograd keeps for the backward pass, without the model's parameters and buffers.

    On the `meta` device nothing is allocated or computed.

    Args:
        model: The network.
        forward: Runs the network up to the loss or the logits.

    Returns:
        Bytes of the distinct storages that are kept after the forward pass. What a checkpointed block recomputes in the
        backward pass is additional, one block at a time.

    Example:
        >>> with torch.device("meta"):
        ...     network, image = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), torch.empty(2, 3, 10, 10)
        >>> activation_bytes(network, lambda: network(image)) // 4  # the image and ReLU's output, 600 + 1600 numbers
        2200
    """
    own = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # holding them prevents reuse of their addresses

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return value

    with saved_tensors_hooks(pack, lambda value: value):
        output = forward()
    total = sum(storage.nbytes() for storage in kept.values())
    del output
    return total
