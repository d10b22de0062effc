"""Processor, memory, shared memory, and the devices that torch finds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pcpad.commands.doctoring.sections import Section

__all__ = ["look_at_machine", "size"]

_SHARED = Path("/dev/shm")  # the system's, not a temporary file of ours
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
_LEAST_SHARED = 1 << 30
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def look_at_machine(torch: dict[str, Any] | None) -> Section:
    """What the machine has.

    Args:
        torch: What torch found of it, see `pcpad.commands.doctoring.probe.devices`; None where it does not work.
    """
    section = Section("Machine")
    _look_at_threads(section, torch)
    _look_at_shared_memory(section)
    if torch is None:
        section.add("devices", "not known: torch cannot be imported")
        return section
    _look_at_devices(section, torch)
    return section


def _look_at_threads(section: Section, torch: dict[str, Any] | None) -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = f"{usable} of {os.cpu_count()} usable"
    quota = _quota()
    if quota is not None:
        said += f", of which a quota allows {quota:g}"
    section.add("cores", said)
    given = ", ".join(f"{name}={os.environ[name]}" for name in _THREADS if os.environ.get(name))
    threads = torch["threads"] if torch is not None else None
    section.add("threads", ", ".join(filter(None, [f"{threads} of torch" if threads else "", given])) or "not set")
    least = min(usable, quota or usable)
    if threads is not None and threads > max(1, least) * 1.5:
        section.warn(
            f"torch runs {threads} threads on {least:g} cores, which slows each other down",
            f"export OMP_NUM_THREADS={max(1, int(least))}",
        )


def _quota() -> float | None:
    """The cores that a container may use, in version 2 of Linux' control groups."""
    try:
        most, period = _QUOTA.read_text(encoding="ascii").split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _look_at_shared_memory(section: Section) -> None:
    if not _SHARED.is_dir():
        return  # as on macOS and Windows, where loaders' processes pass data on in other ways
    space = shutil.disk_usage(_SHARED)
    section.add("/dev/shm", f"{size(space.free)} free of {size(space.total)}")
    if space.total < _LEAST_SHARED:
        section.warn(
            f"/dev/shm, through which processes that read data pass it on, holds {size(space.total)} at most",
            "docker run --shm-size=8g (or --ipc=host), or --data.num_workers 0",
        )
    elif space.free < _LEAST_SHARED // 4:
        section.warn(f"/dev/shm has {size(space.free)} left", "close other programs, or remove what they left there")
    if not os.access(_SHARED, os.W_OK):
        section.warn("/dev/shm cannot be written to", "--data.num_workers 0, or change who may write to it")


def _look_at_devices(section: Section, torch: dict[str, Any]) -> None:
    cards = torch["cards"]
    built = f"CUDA {torch['cuda']}" if torch["cuda"] else f"ROCm {torch['hip']}" if torch["hip"] else ""
    for index, card in enumerate(cards):
        capability = ".".join(map(str, card["capability"]))
        bf16 = "bf16" if torch["bf16"] else "no bf16"
        section.add(f"cuda:{index}", f"{card['name']}, {size(card['bytes'])}, capability {capability}, {bf16}, {built}")
        if torch["cuda"] and not _runs_on(card["capability"], torch["architectures"]):
            section.warn(
                f"this torch has no kernels for {card['name']} (capability {capability}; it has "
                f"{', '.join(torch['architectures'])})",
                "install a torch for this card (https://pytorch.org/get-started/locally)",
            )
    if torch["mps"]:
        section.add("mps", "Apple's graphics processor")
    section.add("cpu", "always" + ("" if cards or torch["mps"] else f"; torch is built for {built or 'it alone'}"))
    if not cards and any(path.exists() for path in _NVIDIA):
        if built:
            text = f"an NVIDIA driver is here, and torch (for {built}) finds no card"
            section.warn(text, "look at nvidia-smi and CUDA_VISIBLE_DEVICES; the driver may be too old for this torch")
        else:
            text = "an NVIDIA driver is here, and torch is built for the CPU alone"
            section.warn(text, "install a torch for CUDA (https://pytorch.org/get-started/locally)")


def _runs_on(capability: list[int], architectures: list[str]) -> bool:
    """Whether kernels for some architectures run on a GPU: those of its generation and no newer, or PTX."""
    major, minor = capability
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = "".join(filter(str.isdigit, number))
        if len(digits) < 2:
            return True  # a name of a kind that is not known here
        built = int(digits[:-1]), int(digits[-1])
        if (kind == "sm" and built[0] == major and built[1] <= minor) or (
            kind == "compute" and built <= (major, minor)
        ):
            return True
    return not architectures


def size(count: float) -> str:
    """A number of bytes in words.

    Example:
        >>> size(3.2e6), size(64 * 2**20), size(5)
        ('3.05 MiB', '64 MiB', '5 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
