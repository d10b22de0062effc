"""What partial-convolution padding costs compared with zero padding: ``python -m benchmarks.padding [section …]``.

A training step, single layers of several sizes, and the start of the command; whole networks in evaluation are in
`benchmarks.network_times`. The same weights under both paddings, and an identical twin of the zero-padded network as
the control, timed in alternation in one process; the ratio's median with its 95 % interval. ``--json FILE`` keeps it.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision.models import get_model

from benchmarks.common import alternate, peak_memory, ratio, run_sections
from pcpad import PartialConv2d, convert_padding

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trio(build: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """A zero-padded network, its twin, and the same weights under partial padding."""
    torch.manual_seed(0)
    zero = build().to(DEVICE)
    return {"zero": zero, "control": copy.deepcopy(zero), "partial": convert_padding(copy.deepcopy(zero), "partial")}


def row(what: str, seconds: dict[str, list]) -> dict[str, object]:
    """The table's row: milliseconds of zero padding, and the ratios to it."""
    cells: dict[str, object] = {"what": what, "zero, ms": f"{1e3 * statistics.median(seconds['zero']):.2f}"}
    for name in ("control", "partial"):
        middle, low, high = ratio(seconds[name], seconds["zero"])
        cells[f"{name} / zero"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    print(*cells.values(), file=sys.stderr, flush=True)  # while the rest is measured
    return cells


def training_step(net: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> None:
    """Forward, backward and one SGD step."""
    net.zero_grad()
    nn.functional.cross_entropy(net(x), labels).backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 1e-3 * parameter.grad


def training(rounds: int) -> list[dict[str, object]]:
    """A ResNet-50 training step, batch 4 at 224²: time, and peak memory in separate processes."""
    x, labels = torch.randn(4, 3, 224, 224, device=DEVICE), torch.randint(0, 1000, (4,), device=DEVICE)
    calls = {
        key: partial(training_step, net.train(), x, labels) for key, net in trio(lambda: get_model("resnet50")).items()
    }
    rows = [row("resnet50 training step", alternate(calls, max(rounds // 3, 5)))]
    peaks = {
        key: peak_memory(partial(training_step, net.train(), x, labels), DEVICE) / 2**20
        for key, net in trio(lambda: get_model("resnet50")).items()
    }
    cells: dict[str, object] = {"what": rows[0]["what"] + ", peak memory", "zero, ms": f"{peaks['zero']:.1f} MiB"}
    cells |= {f"{key} / zero": f"{peaks[key] / peaks['zero']:.4f}" for key in ("control", "partial")}
    return [*rows, cells]


@torch.inference_mode()
def sizes(rounds: int) -> list[dict[str, object]]:
    """One 3×3 convolution 64→64 over growing maps: the cost belongs to the border, so its share falls."""
    rows = []
    for size in (7, 14, 28, 56, 112, 224, 448):
        layers = trio(lambda: nn.Conv2d(64, 64, 3, padding=1))
        assert type(layers["partial"]) is PartialConv2d
        x = torch.randn(1, 64, size, size, device=DEVICE)
        repeats = max(1, (112 // size) ** 2)

        def many(layer: nn.Module, x: torch.Tensor = x, repeats: int = repeats) -> None:
            for _ in range(repeats):
                layer(x)

        cells = row(
            f"conv 3×3 64→64 at {size}² (×{repeats})",
            alternate({k: partial(many, v) for k, v in layers.items()}, rounds),
        )
        rows.append(cells | {"border's share of the map": f"{100 * (1 - ((size - 2) / size) ** 2):.1f} %"})
    return rows


def start_up(rounds: int) -> list[dict[str, object]]:
    """``pcpad --help`` against ``import lightning`` (under "zero") and the same again (under "control")."""

    def call(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    lightning = call(sys.executable, "-c", "import lightning")
    help_page = call(sys.executable, "-c", "from pcpad.cli import main; main(['--help'])")
    calls = {"zero": lightning, "control": lightning, "partial": help_page}
    return [row("pcpad --help / import lightning", alternate(calls, max(rounds // 4, 5), warmup=1))]


SECTIONS = {function.__name__: function for function in (training, sizes, start_up)}


if __name__ == "__main__":
    run_sections(__doc__, SECTIONS, rounds=60)
