"""Timing things side by side in one process: alternating, with a control, and an interval for the ratio."""

from __future__ import annotations

import json
import platform
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def alternate(calls: dict[str, Callable[[], object]], rounds: int, warmup: int = 2, seed: int = 0) -> dict[str, list]:
    """Seconds of each call in each round, in an order drawn anew each round."""
    order, draw = list(calls), random.Random(seed)
    for _ in range(warmup):
        for name in order:
            calls[name]()
    seconds: dict[str, list] = {name: [] for name in order}
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            start = time.perf_counter()
            calls[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(of: list[float], to: list[float], resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Median of the rounds' ratios, and its 95 % interval by bootstrap."""
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(resamples))
    return statistics.median(ratios), medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def machine() -> dict[str, str | int]:
    """What the numbers were taken on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return {"device": device, "threads": torch.get_num_threads(), "python": platform.python_version(),
            "torch": torch.__version__}  # fmt: skip


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def show(rows: list[dict[str, object]]) -> None:
    """Print rows as a Markdown table."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join("---" for _ in columns) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |", flush=True)


def save(rows: list[dict[str, object]], path: str | None) -> None:
    """Write rows and the machine as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
