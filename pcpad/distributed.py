"""Communication between the processes of a run."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

__all__ = ["averaged", "gathered", "in_turns", "raise_failures", "rank", "world_size"]

T = TypeVar("T")


def rank() -> int:
    """Which of the run's processes this one is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(part: T) -> list[T]:
    """Gather a part from every process; all processes must call it.

    Args:
        part: This process's part, anything that can be pickled.

    Returns:
        All processes' parts, by rank; this one's alone without other processes.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [part]
    parts: list[T] = [part] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def in_turns(parts: Iterable[Iterable[T]]) -> list[T]:
    """Merge the processes' parts of data that a sampler dealt out in turns.

    Args:
        parts: All processes', by rank, each in order.

    Returns:
        All of it in the data's order.

    Example:
        >>> in_turns([[0, 2, 4], [1, 3]])
        [0, 1, 2, 3, 4]
    """
    nothing = object()
    return [one for turn in zip_longest(*parts, fillvalue=nothing) for one in turn if one is not nothing]  # type: ignore[misc]


def averaged(values: Tensor) -> Tensor:
    """The mean over processes; all processes must call it.

    It keeps no GPU waiting, unlike Lightning's `sync_dist`, which holds all processes up before it sums.

    Args:
        values: This process's, of any shape, floats.

    Returns:
        The mean of all processes', detached; these values alone without other processes.
    """
    values = values.detach()
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def raise_failures(failures: list[str], what: str, error: type[Exception]) -> None:
    """Raise one error for what failed in any process, and clear it; all processes must call it.

    Args:
        failures: This process's, one line each; empty afterwards.
        what: What happened to them: "pictures could not be used".
        error: What to raise.

    Raises:
        error: Something failed; names each.
        SystemExit: Likewise, in all processes but the first, which is the one that raises the error.
    """
    found = sorted(failure for part in gathered(failures) for failure in part)
    failures.clear()
    if not found:
        return
    if rank():
        raise SystemExit(0)
    raise error(f"{len(found)} {what}; all others are done:\n  " + "\n  ".join(found))
