"""What the masks cost the inpainting U-Net: ``python -m benchmarks.inpainting [section …]``.

The network with partial convolutions against the same with ordinary ones, with the same weights, and an identical twin
of the latter as the control, timed in alternation in one process at 256² with brush strokes over about 30 % of the
image; the ratio's median with its 95 % interval. ``--json FILE`` keeps it.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import sys
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks.common import alternate, ratio, run_sections
from pcpad.models import inpainting_unet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE, DEPTH = 256, 7


def trio() -> dict[str, nn.Module]:
    """Ordinary convolutions, their twin, and the same weights in partial ones."""
    torch.manual_seed(0)
    ordinary = inpainting_unet(DEPTH, partial=False).to(DEVICE)
    nets = {"ordinary": ordinary}
    for name in ("control", "partial"):
        nets[name] = inpainting_unet(DEPTH, partial=name == "partial").to(DEVICE)
        nets[name].load_state_dict(ordinary.state_dict())
    return nets


def strokes(share: float = 0.3, seed: int = 0) -> Tensor:
    """A mask (1, 1, 256, 256), 1 valid: thick lines with bends, drawn until this share of the image is a hole."""
    draw = random.Random(seed)
    mask = torch.ones(SIZE, SIZE)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    while float((mask == 0).float().mean()) < share:
        y, x, angle, width = draw.uniform(0, SIZE), draw.uniform(0, SIZE), draw.uniform(0, 6.3), draw.uniform(5, 22)
        for _ in range(draw.randint(20, 80)):
            mask[(rows - y) ** 2 + (columns - x) ** 2 < width**2] = 0
            angle += draw.uniform(-0.4, 0.4)
            y, x = y + 4 * math.sin(angle), x + 4 * math.cos(angle)
    return mask[None, None].to(DEVICE)


def row(what: str, seconds: dict[str, list]) -> dict[str, object]:
    """The table's row: milliseconds of ordinary convolutions, and the ratios to them."""
    cells: dict[str, object] = {"what": what, "ordinary": f"{1e3 * statistics.median(seconds['ordinary']):.1f} ms"}
    for name in ("control", "partial"):
        middle, low, high = ratio(seconds[name], seconds["ordinary"])
        cells[f"{name} / ordinary"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    print(*cells.values(), file=sys.stderr, flush=True)  # while the rest is measured
    return cells


@torch.inference_mode()
def inference(rounds: int) -> list[dict[str, object]]:
    """One image in evaluation mode: with holes, without any, and with a small hole, which soon closes."""
    nets = {name: net.eval() for name, net in trio().items()}
    image, small = torch.randn(1, 3, SIZE, SIZE, device=DEVICE), torch.ones(1, 1, SIZE, SIZE, device=DEVICE)
    small[..., 100:120, 100:120] = 0
    masks = {"30 % holes": strokes(), "no hole": torch.ones_like(small), "a hole of 20x20": small}
    return [
        row(f"inference, {what}", alternate({name: partial(net, image, mask) for name, net in nets.items()}, rounds))
        for what, mask in masks.items()
    ]


def training_step(net: nn.Module, image: Tensor, mask: Tensor) -> None:
    """Forward, backward of a mean L1 loss, and one step of plain gradient descent."""
    net.zero_grad()
    (net(image, mask) - image).abs().mean().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 1e-4 * parameter.grad  # type: ignore[operator]


def _training_inputs() -> tuple[Tensor, Tensor]:
    masks = torch.cat([strokes(seed=seed) for seed in range(4)])
    return torch.randn(4, 3, SIZE, SIZE, device=DEVICE), masks


def training(rounds: int) -> list[dict[str, object]]:
    """A training step, batch 4."""
    inputs = _training_inputs()
    calls: dict[str, Callable[[], object]] = {
        name: partial(training_step, net.train(), *inputs) for name, net in trio().items()
    }
    return [row("training step, 30 % holes", alternate(calls, max(rounds // 3, 5), warmup=1))]


def memory(rounds: int) -> list[dict[str, object]]:
    """Peak memory of a training step, batch 4: bytes of tensors beyond the weights, which are deterministic."""
    inputs = _training_inputs()
    peaks = {name: peak_memory(net.train(), inputs) for name, net in trio().items()}
    cells: dict[str, object] = {"what": "peak memory of a training step", "ordinary": f"{peaks['ordinary']:.1f} MiB"}
    cells |= {f"{name} / ordinary": f"{peaks[name] / peaks['ordinary']:.4f}" for name in ("control", "partial")}
    return [cells]


def peak_memory(net: nn.Module, inputs: tuple[Tensor, Tensor]) -> float:
    """MiB of tensors alive at the peak of a training step, beyond those alive before it."""
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        training_step(net, *inputs)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Counted from the allocator's own records: a process's resident memory varies by 3 % from run to run.
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        training_step(net, *inputs)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(sizes)) / 2**20


SECTIONS = {function.__name__: function for function in (inference, training, memory)}


if __name__ == "__main__":
    run_sections(__doc__, SECTIONS, rounds=30)
