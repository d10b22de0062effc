"""What the processes of a run tell each other, beside tensors."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

__all__ = ["gathered"]

T = TypeVar("T")


def gathered(part: T) -> list[T]:
    """Tell all processes what each has; every process has to ask.

    Args:
        part: This process's, anything that can be pickled.

    Returns:
        All processes' parts, by rank; this one's alone where there is no other.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [part]
    parts: list[T] = [part] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts
