"""Timing things side by side in one process: alternating, with an interval for the ratio, and their peak memory."""

from __future__ import annotations

import itertools
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import pcpad
from pcpad._renamed import moved
from pcpad.errors import UserValueError

_KINDS = ("cpu", "cuda", "mps", "xpu")


def default_device() -> torch.device:
    """The default device: CUDA if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_named(name: str) -> torch.device:
    """The device of a name that was typed.

    Args:
        name: As torch has it: `cpu`, `cuda`, `cuda:1`, `mps`.

    Returns:
        The device, which can be used.

    Raises:
        UserValueError: It cannot.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        message = f"--device {name} cannot be used here: {_why(name, error)}; there is {', '.join(_devices())}"
        raise UserValueError(message) from None


def _why(name: str, error: Exception) -> str:
    """Why a device cannot be used: torch's first sentence, unless it lists its backends or how torch is built."""
    if name.partition(":")[0] not in _KINDS:
        return f"expected {', '.join(_KINDS)} or one of them with a number (cuda:0)"
    text = str(error).splitlines()[0].partition(". ")[0].removesuffix(".")
    return "this machine or this torch has none" if "Could not run" in text or "PyTorch is not" in text else text


def _devices() -> list[str]:
    """The names of the devices that there are."""
    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else [])]


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all work; a CPU always has.

    Args:
        device: Where the work was sent.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    calls: dict[str, Callable[[], object]],
    rounds: int,
    warmup: int = 2,
    seed: int = 0,
    *,
    device: torch.device | None = None,
    on_round: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time calls alternately, in a new random order per round, each until its device is done.

    Args:
        calls: What to time, by name.
        rounds: How often each is timed.
        warmup: How often each is called before.
        seed: Of the order.
        device: Where the calls work; `default_device()` if None.
        on_round: Called between rounds, outside of what is timed: shows progress.
        clock: Seconds from anywhere; `time.process_time` counts this process alone.

    Returns:
        Seconds of each call in each round, by name.
    """
    device = default_device() if device is None else device
    order, draw = list(calls), random.Random(seed)
    for _ in range(warmup):
        for name in order:
            calls[name]()
    synchronize(device)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            start = clock()
            calls[name]()
            synchronize(device)
            seconds[name].append(clock() - start)
        if on_round is not None:
            on_round()
    return seconds


def ratio(of: list[float], to: list[float], resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Compare two calls that were timed in the same rounds.

    Args:
        of: Seconds of one.
        to: Seconds of the other.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Median of the rounds' ratios, and the ends of its 95 % interval by bootstrap.
    """
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(resamples))
    return statistics.median(ratios), medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def machine(device: torch.device | None = None) -> dict[str, str | int | bool]:
    """Describe the machine and the versions that numbers are measured with.

    Args:
        device: Where; `default_device()` if None.

    Returns:
        The device's name, how many CPU threads, and versions; for a GPU also whether float32 is TF32 in it.
    """
    device = default_device() if device is None else device
    found: dict[str, str | int | bool] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pcpad": pcpad.__version__,
    }
    if device.type == "cuda":
        found |= {
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "tf32 convolutions": torch.backends.cudnn.allow_tf32,
        }
    return found


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def peak_memory(call: Callable[[], object], device: torch.device) -> float:
    """Count the memory of the tensors alive at a call's peak, beyond those alive before it.

    On a CPU they are counted from the records of torch's own allocator: a process's resident memory varies by 3 % from
    run to run. What libraries such as oneDNN take for themselves is in neither count.

    Args:
        call: What to run, once.
        device: Where it works.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with _no_log(), torch.profiler.profile(profile_memory=True, activities=activities) as profile:
        call()
    assert profile.profiler is not None
    records = profile.profiler.kineto_results
    assert records is not None
    events = [event for event in records.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(sizes), default=0)


@contextmanager
def _no_log() -> Iterator[None]:
    """Keep the profiler's own lines from the terminal: its log level is read when torch is imported, too early."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
