"""How much memory a process holds, as Linux reports it. Imports nothing that would add to it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["status_bytes"]


def status_bytes(name: str) -> float:
    """A value of this process's `/proc/self/status`.

    Args:
        name: `VmRSS`, resident now, or `VmHWM`, the most that was resident since `/proc/self/clear_refs` was written.

    Returns:
        Bytes; NaN where the system does not report it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), float("nan"))
