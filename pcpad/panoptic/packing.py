"""A plan's tensors in one piece of memory, in which they go from process to process and from device to device.

Private to the package. A plan with its tables has some fifteen tensors. Each would be a file descriptor between two
processes, of which there are 1024, and a separate copy to a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcpad.panoptic.rows import Places, Table

__all__ = ["Packed", "pack"]

_ALIGNED = 16  # bytes, at which each tensor begins


class _Leaf(NamedTuple):
    """Where a tensor is in the memory."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Packed(NamedTuple):
    """Attributes with their tensors taken out."""

    memory: Tensor  # (bytes,) uint8
    attributes: dict[str, Any]

    def unpack(self) -> dict[str, Any]:
        """The attributes, their tensors being views of the memory."""

        def view(leaf: _Leaf) -> Tensor:
            size = prod(leaf.shape) * leaf.dtype.itemsize
            return self.memory[leaf.start : leaf.start + size].view(leaf.dtype).view(leaf.shape)

        found: dict[str, Any] = _mapped(self.attributes, _Leaf, cache(view))
        return found


def pack(attributes: dict[str, Any]) -> Packed:
    """Copy all tensors within attributes to one piece of memory, each once.

    Args:
        attributes: Of any values; tensors are looked for in dicts, `Places` and `Table`s, all on one device.
    """
    leaves: dict[int, _Leaf] = {}
    tensors: list[Tensor] = []
    end = 0

    def leaf(tensor: Tensor) -> _Leaf:
        nonlocal end
        if id(tensor) not in leaves:
            leaves[id(tensor)] = _Leaf(end, tensor.dtype, tuple(tensor.shape))
            tensors.append(tensor)
            end += -(-tensor.numel() * tensor.element_size() // _ALIGNED) * _ALIGNED
        return leaves[id(tensor)]

    taken = _mapped(attributes, Tensor, leaf)
    with torch.inference_mode(False), torch.no_grad():
        memory = torch.empty(end, dtype=torch.uint8, device=tensors[0].device if tensors else None)
        for where, tensor in zip(leaves.values(), tensors, strict=True):
            size = tensor.numel() * tensor.element_size()
            memory[where.start : where.start + size].view(tensor.dtype).view(where.shape).copy_(tensor)
    return Packed(memory, taken)


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A value of the same structure, with all parts of one class replaced."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(one, kind, change) for key, one in value.items()}
    if isinstance(value, Places | Table):
        return type(value)(*(_mapped(one, kind, change) for one in value))
    return value
