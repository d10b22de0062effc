"""Observations of a network that pads outside of its convolutions, and how paddings add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "ASKING",
    "BY_SIZE",
    "CHANGED",
    "CONVOLUTIONS",
    "ELSEWHERE",
    "PADS",
    "Observed",
    "Pairs",
    "Zeros",
    "added",
    "arguments_of_pad",
    "as_pairs",
    "weights_of",
    "zeros_by_module",
]

Pairs = tuple[tuple[int, int], ...]
Zeros = Pairs | str | None  # known ones; why they are not known; none

PADS = (F.pad, torch.constant_pad_nd, torch._C._nn.pad)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BY_SIZE = "its input comes with zeros around it, by an amount that depends on the size"
CHANGED = "its input comes with zeros around it, and is then changed in place"
ELSEWHERE = "it also pads the input of layers that are no convolutions"


# Functions that read a tensor's shape but not its values.
ASKING = {"__get__", "size", "dim", "ndimension", "__len__", "__hash__", "stride", "is_contiguous", "storage_offset"}


@dataclass
class Observed:
    """What was seen of a network, by the names of its modules.

    Args:
        zeros: For each convolution, the zeros around each call's input.
        reached: For each module that pads, the convolutions that its zeros reach.
        elsewhere: Modules that also pad something else, or with other values than zeros, and why that matters.
        handed: Modules that pad, and whose padded output goes to other modules that are no convolutions.
        returned: Modules whose zeros are around what the network returns.
        seen: Modules whose own code was followed.
        called: Modules that were called, those whose code was not followed included.
        multiply_adds: By module, for one example.
    """

    zeros: dict[str, list[Zeros]] = field(default_factory=dict)
    reached: dict[str, set[str]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    handed: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    multiply_adds: dict[str, int] = field(default_factory=dict)

    def add(self, other: Observed, prefix: str = "") -> None:
        """Add what was seen of a part.

        Args:
            other: What was seen of the part.
            prefix: The part's name, with a trailing dot.
        """

        def full(name: str) -> str:
            return f"{prefix}{name}".rstrip(".")

        for name, zeros in other.zeros.items():
            self.zeros.setdefault(full(name), []).extend(zeros)
        for name, reached in other.reached.items():
            self.reached.setdefault(full(name), set()).update(map(full, reached))
        self.elsewhere |= {full(name): why for name, why in other.elsewhere.items()}
        for mine, more in zip(self._sets(), other._sets(), strict=True):
            mine |= set(map(full, more))

    def _sets(self) -> tuple[set[str], ...]:
        return self.handed, self.returned, self.seen, self.called

    def complete(self, other: Observed) -> None:
        """Add the zeros that were seen in forward passes alone, below code that could not be followed.

        Args:
            other: What was seen in forward passes.
        """
        for name, calls in other.zeros.items():
            unknown = all(zeros is None for zeros in self.zeros.get(name, []))
            # What is padded with other values is a layer's row; the convolution's own padding is converted.
            if unknown and any(isinstance(zeros, tuple) or zeros in (BY_SIZE, CHANGED) for zeros in calls):
                self.zeros[name] = calls
                for origin in (origin for origin, reached in other.reached.items() if name in reached):
                    self.reached.setdefault(origin, set()).add(name)
                    self.elsewhere |= {key: why for key, why in other.elsewhere.items() if key == origin}
                    self.called.add(origin)

    def any_called(self, name: str) -> bool:
        """Whether a module or a part of it was called.

        Args:
            name: The module's name; "" for the network.
        """
        return any(called == name or not name or called.startswith(f"{name}.") for called in self.called)

    def before(self, name: str) -> Zeros:
        """The zeros that a convolution's input always comes with.

        Args:
            name: The convolution's name.

        Returns:
            Pairs (before, after) per axis; or why they cannot be replaced; or None if there are none.
        """
        calls = list(dict.fromkeys(self.zeros.get(name, [])))
        if len(calls) > 1:
            return next((call for call in calls if isinstance(call, str)), "only some of its calls come with zeros")
        return calls[0] if calls else None


def zeros_by_module(module: nn.Module) -> bool:
    """Whether a module pads with zeros, and does nothing else."""
    return isinstance(module, nn.modules.padding._ConstantPadNd) and module.value == 0


def arguments_of_pad(args: Any, kwargs: Mapping[str, Any], function: Any) -> tuple[Any, str, Any]:
    """Amounts, mode and value of a call of one of `PADS`, from what follows its input."""
    names = ("pad", "value") if function is torch.constant_pad_nd else ("pad", "mode", "value")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    return given["pad"], given.get("mode", "constant"), given.get("value") or 0


def as_pairs(amounts: Any, mode: str, value: Any, dims: int) -> Zeros:
    """The zeros that a call of `F.pad` puts around the spatial axes.

    Args:
        amounts: In the order of `F.pad`; numbers that are not known yet are no ints.
        mode: As in `F.pad`.
        value: As in `F.pad`; 0 for None.
        dims: How many spatial axes there are.

    Returns:
        Pairs (before, after), the first axis first; or why the padding cannot be replaced; or None for no padding.
    """
    if mode != "constant":
        return f"its input comes padded by {mode!r}"
    if not isinstance(value, int | float) or value != 0:
        return f"its input comes padded with {value}"
    if not isinstance(amounts, list | tuple) or not all(type(side) is int for side in amounts):
        return BY_SIZE
    if not any(amounts):
        return None
    if min(amounts) < 0 or any(amounts[2 * dims :]):
        return f"its input comes padded by {tuple(amounts)}, which crops or adds channels"
    sides = [*amounts, *[0] * (2 * dims)][: 2 * dims]
    return tuple((sides[at], sides[at + 1]) for at in range(2 * dims - 2, -1, -2))


def added(inner: Zeros, outer: Zeros) -> Zeros:
    """Zeros around zeros."""
    if inner is None or outer is None or isinstance(inner, str):
        return outer if inner is None else inner
    if isinstance(outer, str):
        return outer
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(inner, outer, strict=True))


def weights_of(module: Any) -> int:
    """How many numbers a convolution or linear layer multiplies with; 0 for other modules.

    Args:
        module: Any.
    """
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    if not all(hasattr(module, name) for name in ("kernel_size", "in_channels", "out_channels", "groups")):
        return 0
    # Not `weight.numel()`: to read a parametrized weight may change it.
    kernel = module.kernel_size if isinstance(module.kernel_size, tuple | list) else [module.kernel_size]
    weights: int = module.in_channels * module.out_channels // module.groups * prod(kernel)
    return weights
