"""Times of whole networks under partial padding against zeros: `python -m benchmarks.network_times [network …]`.

    python -m benchmarks.network_times --json times.json --threads 1

For each network four calls are timed in one process, in an order drawn in each round: with zero padding, the same
by an identical copy (the control), with partial padding, and with partial padding without anything cached by an
earlier call (the first call at a size). Rounds continue until the interval of control / zeros lies within 1 ±
`--within`, or for `--minutes`; a network whose control stays wider is marked. A network that is in `--json` is not
timed again, so an interrupted run resumes.

With one thread, times are processor times, so that other processes only matter through shared caches; with more
threads they are wall-clock times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import alternate, machine, ratio, show
from pcpad import _border
from pcpad.commands.benching.networks import contestants
from pcpad.files import write_text

NETWORKS = {  # by name of `pcpad bench`: input size, and the goal of partial / zeros
    "resnet50": ((3, 224, 224), 1.01),
    "vgg16_bn": ((3, 224, 224), 1.01),
    "resnet3d50": ((3, 16, 112, 112), 1.01),
    "mobilenet_v3_large": ((3, 224, 224), 1.02),
    "efficientnet_b0": ((3, 224, 224), 1.02),
    "convnext_tiny": ((3, 224, 224), 1.02),
    "deeplabv3plus/resnet50": ((3, 512, 1024), 1.01),
}
PAIRS = (("control", "zeros"), ("partial", "zeros"), ("partial", "control"), ("partial, first call", "zeros"))
FIRST_CALL = 1.05
AT_LEAST = 20


def main() -> None:
    """Time what is missing, and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)}; default: all")
    parser.add_argument("--within", type=float, default=0.005, help="of the control's interval; default %(default)s")
    parser.add_argument("--minutes", type=float, default=20, help="at most, per network; default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for finished networks")
    given = parser.parse_args()
    unknown = sorted(set(given.networks) - set(NETWORKS))
    if unknown:
        parser.error(f"unknown network {', '.join(unknown)}: expected some of {', '.join(NETWORKS)}")
    torch.set_num_threads(given.threads)
    kept = json.loads(given.json.read_text()) if given.json and given.json.is_file() else {}
    for name in given.networks or NETWORKS:
        if name not in kept:
            kept[name] = timed(name, given.within, given.minutes) | {"machine": machine(torch.device("cpu"))}
            if given.json:
                write_text(given.json, json.dumps(kept, indent=1) + "\n")
        print(*row(name, kept[name], given.within).values(), file=sys.stderr, flush=True)
    show([row(name, found, given.within) for name, found in kept.items()])


def calls(name: str, size: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """One network's four calls in evaluation mode, on one picture or clip of noise."""
    networks = {padding: network.eval() for padding, network in contestants(name, ["partial"]).networks.items()}
    x = torch.randn(1, *size, generator=torch.Generator().manual_seed(0))

    def call(network: nn.Module, forget: bool = False) -> Callable[[], object]:
        def run() -> object:
            if forget:
                _border.forget()
            with torch.inference_mode():
                return network(x)

        return run

    found = {padding: call(network) for padding, network in networks.items()}
    return found | {"partial, first call": call(networks["partial"], forget=True)}


def timed(name: str, within: float, minutes: float) -> dict[str, Any]:
    """Seconds of each call in each round, until the control's interval is narrow enough."""
    todo, seconds = calls(name, NETWORKS[name][0]), dict[str, list[float]]()
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    end, chunk = time.monotonic() + 60 * minutes, 0
    while True:
        more = alternate(todo, 5, warmup=2 if not chunk else 0, seed=chunk, device=torch.device("cpu"), clock=clock)
        seconds = {key: [*seconds.get(key, []), *values] for key, values in more.items()}
        chunk += 1
        _, low, high = ratio(seconds["control"], seconds["zeros"])
        there = _off(low, high) <= within and len(seconds["zeros"]) >= AT_LEAST
        if there or time.monotonic() > end:
            return {"clock": clock.__name__, "seconds": seconds}


def _off(low: float, high: float) -> float:
    """How far from 1 an interval reaches."""
    return max(1 - low, high - 1)


def row(name: str, found: dict[str, Any], within: float) -> dict[str, object]:
    """The table's row of one network."""
    seconds, (size, goal) = found["seconds"], NETWORKS[name]
    zeros = seconds["zeros"]
    cells: dict[str, object] = {
        "network": f"{name}, {'×'.join(map(str, size[1:]))}", "rounds": len(zeros),
        "zeros, ms": f"{1e3 * statistics.median(zeros):.1f}",
    }  # fmt: skip
    ends = {}
    for key, of in (
        ("control", "zeros"),
        ("partial", "zeros"),
        ("partial", "control"),
        ("partial, first call", "zeros"),
    ):
        middle, low, high = ratio(seconds[key], seconds[of])
        cells[f"{key} / {of}"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
        ends[key, of] = (middle, low, high)
    off = _off(*ends["control", "zeros"][1:])
    cells["control within"] = "yes" if off <= within else f"no (± {off:.3f})"
    cells["goal"] = f"{goal}: {judged(ends['partial', 'control'], goal)}"
    cells[f"goal {FIRST_CALL}"] = judged(ends["partial, first call", "zeros"], FIRST_CALL)
    return cells


def judged(interval: tuple[float, float, float], goal: float) -> str:
    """Whether an interval lies below a goal, above it, or on both sides."""
    _, low, high = interval
    return "met" if high <= goal else "missed" if low > goal else "open"


if __name__ == "__main__":
    main()
