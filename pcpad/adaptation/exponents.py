"""Set, anneal, learn and read the exponents of a network's partial convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pcpad._exponent import checked
from pcpad._other_layers import pads
from pcpad.errors import UserValueError
from pcpad.layers import _PartialConv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["annealed", "exponents_of", "learned_exponents", "partial_layers", "set_exponents"]


def partial_layers(network: nn.Module) -> dict[str, _PartialConv]:
    """The partial convolutions that pad, by name, without duplicates.

    Args:
        network: Any module.
    """
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, _PartialConv) and pads(layer)}


def set_exponents(network: nn.Module, exponent: float | Mapping[str, float | Sequence[float] | Tensor]) -> None:
    """Make the partial convolutions of a network compute `W·x · r^exponent + b`.

    Args:
        network: Changed in place; its state dict stays as it is.
        exponent: 1 is the papers' partial convolution, 0 zero padding. A mapping sets some layers by name, to one
            number or one per output channel; tensors are kept as they are, to be learned.

    Raises:
        UserValueError: A name is not that of a partial convolution with padding, or a value does not fit the layer.

    Example:
        >>> from pcpad import PartialConv2d
        >>> network = nn.Sequential(PartialConv2d(1, 1, 3, padding=1, bias=False))
        >>> _ = nn.init.ones_(network[0].weight)
        >>> set_exponents(network, 0)
        >>> network(torch.ones(1, 1, 3, 3))[0, 0, 0].tolist()
        [4.0, 6.0, 4.0]
    """
    found = partial_layers(network)
    wanted = exponent if not isinstance(exponent, int | float) else dict.fromkeys(found, exponent)
    unknown = [name for name in wanted if name not in found]
    if unknown:
        message = (
            f"{len(unknown)} of {len(wanted)} exponents do not name a partial convolution with padding in this network "
            f"({', '.join(unknown[:3])}): convert the network first, `pcpad.convert_padding(network, 'partial')`."
        )
        raise UserValueError(message)
    for name, value in wanted.items():
        # Written to the instance's dict: as a parameter or buffer it would become part of the state dict.
        vars(found[name])["exponent"] = checked(value, found[name].out_channels)


def exponents_of(network: nn.Module) -> dict[str, float | list[float]]:
    """The exponents that are not 1, as plain numbers by layer.

    Args:
        network: Any module.
    """
    kept: dict[str, float | list[float]] = {}
    for name, layer in partial_layers(network).items():
        value = layer.exponent
        if value is not None:
            kept[name] = value.detach().tolist() if isinstance(value, Tensor) else float(value)
    return kept


def learned_exponents(network: nn.Module, start: float = 0.0, *, channels: bool = True) -> nn.ParameterList:
    """Turn the exponents of a network into parameters.

    Args:
        network: Changed in place.
        start: Their initial value.
        channels: One per output channel; otherwise one per layer.

    Returns:
        The parameters, which are not among `network.parameters()`: pass them to an optimizer.
    """
    made = nn.ParameterList()
    for layer in partial_layers(network).values():
        shape = (layer.out_channels,) if channels else ()
        made.append(nn.Parameter(torch.full(shape, float(start), device=layer.weight.device)))
        vars(layer)["exponent"] = made[-1]
    return made


def annealed(progress: float, share: float = 0.6) -> float:
    """The exponent during annealing from zero padding (0) to partial convolution (1).

    Args:
        progress: The completed share of the run, in [0, 1].
        share: The share of the run after which the exponent is 1.

    Example:
        >>> [annealed(step / 10) for step in (0, 3, 6, 10)]
        [0.0, 0.5, 1.0, 1.0]
    """
    return min(1.0, progress / share) if share > 0 else 1.0
