"""What the processes of a run tell each other, beside tensors."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

__all__ = ["gathered", "raise_failures", "rank"]

T = TypeVar("T")


def rank() -> int:
    """Which of the run's processes this one is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


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


def raise_failures(failures: list[str], what: str, error: type[Exception]) -> None:
    """Raise what failed, in this process or another, and forget it; every process has to ask.

    Args:
        failures: This process's, a line each; empty afterwards.
        what: What happened to them: "pictures could not be used".
        error: What to raise.

    Raises:
        error: Something failed; names each.
        SystemExit: Likewise, in all processes but the first, which is the one to say it; they have done their part.
    """
    found = sorted(failure for part in gathered(failures) for failure in part)
    failures.clear()
    if not found:
        return
    if rank():
        raise SystemExit(0)
    raise error(f"{len(found)} {what}; all others are done:\n  " + "\n  ".join(found))
