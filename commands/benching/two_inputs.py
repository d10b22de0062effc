"""The networks of two inputs that `pcpad bench` times: their own masked layers, compared with ordinary ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.commands.benching.networks import Contestants

__all__ = ["TWO_INPUTS", "alike", "two_inputs"]


class WithSecond(nn.Module):
    """A network of two inputs, the second of which is always the same."""

    second: Tensor

    def __init__(self, network: nn.Module, second: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("second", second)

    def forward(self, x: Tensor) -> object:
        """What the network makes of both."""
        return self.network(x, self.second)


def alike(ours: nn.Module, plain: nn.Module, name: str, second: Tensor, first: Tensor | None = None) -> Contestants:
    """The network, the ordinary one of the same weights, and its twin.

    Args:
        ours: The network.
        plain: The ordinary one; it gets the weights.
        name: What the network's row is called.
        second: Their second input.
        first: Their first; noise (N, 3, H, W) if None.
    """
    plain.load_state_dict(ours.state_dict())
    networks = {"zeros": plain, "control": copy.deepcopy(plain), name: ours}
    return Contestants({key: WithSecond(network, second) for key, network in networks.items()}, input=first)


def _inpainting(batch: int, size: tuple[int, int]) -> Contestants:
    """Partial convolutions under a mask with holes in a fifth of the picture, of its border too."""
    from pcpad.models import inpainting_unet

    height, width = size
    mask = torch.ones(1, 1, height, width)
    for row in (1, 4, 6):
        for column in (0, 3, 5):
            top, left = row * height // 8, column * width // 8
            mask[..., top : top + height // 7, left : left + width // 7] = 0
    torch.manual_seed(0)
    return alike(inpainting_unet(), inpainting_unet(partial=False), "masked", mask)


def _synthesis(batch: int, size: tuple[int, int]) -> Contestants:
    """Panoptic partial convolutions of 35 instances side by side, as many classes."""
    from pcpad.models import spade_generator

    height, width = size
    ids = (torch.arange(width, dtype=torch.int32) * 35 // width).expand(1, 1, height, width).contiguous()
    labels = F.one_hot(ids[:, 0].long(), 35).permute(0, 3, 1, 2).float()
    semantics = torch.cat([labels, torch.zeros_like(labels[:, :1])], 1).repeat(batch, 1, 1, 1)
    torch.manual_seed(0)
    return alike(spade_generator(), spade_generator(partial=False), "panoptic", ids, semantics)


TWO_INPUTS: dict[str, Callable[[int, tuple[int, int]], Contestants]] = {
    "inpainting_unet": _inpainting,
    "spade_generator": _synthesis,
}


def two_inputs(network: str, batch: int, size: tuple[int, int]) -> Contestants:
    """A network of two inputs and the ordinary one beside it.

    Args:
        network: A name in `TWO_INPUTS`.
        batch: N.
        size: Height and width.
    """
    return TWO_INPUTS[network](batch, size)
