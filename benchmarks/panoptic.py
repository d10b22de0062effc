"""What panoptic partial convolution costs compared with a convolution: ``python -m benchmarks.panoptic [section …]``.

The layer with its plan, against an ordinary convolution with the same weights, an identical twin of that as the
control, and the common implementation by unfold and a product; and the whole SPADE generator. Timed in alternation in
one process; the ratio's median with its 95 % interval. ``--json FILE`` keeps it.
"""

from __future__ import annotations

import copy
import itertools
import pickle
import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.common import alternate, ratio, run_sections
from pcpad import PanopticPartialConv2d, PanopticPlan
from pcpad.models import patch_discriminator, spade_generator
from pcpad.models.spade import plans_of_strides

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def street(height: int, width: int, mixed: float) -> torch.Tensor:
    """Ids (1, 1, H, W) of overlapping rectangles, enough to give this share of 3x3 windows that mix ids."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.zeros(1, 1, height, width, dtype=torch.int32)
    for instance in range(1, 10_000):
        top, left = (int(torch.randint(size, (), generator=draw)) for size in (height, width))
        tall, wide = (int(torch.randint(4, 64, (), generator=draw)) for _ in range(2))
        ids[..., top : top + tall, left : left + wide] = 26_000 + instance
        if PanopticPlan.build(ids, 3, padding=1).mixed_fraction >= mixed:
            break
    return ids.to(DEVICE)


def unfolded(layer: nn.Conv2d, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The common implementation: every window's taps unfolded, those with another id multiplied by zero."""
    taps = F.unfold(F.pad(ids.double(), (1, 1, 1, 1), value=-1), 3)
    mask = (taps == taps[:, 4:5]).to(x.dtype)
    columns = F.unfold(x, 3, padding=1).unflatten(1, (-1, 9)).mul_(mask.unsqueeze(1)).flatten(1, 2)
    y = layer.weight.flatten(1) @ columns * (9 / mask.sum(1, keepdim=True)) + layer.bias[:, None]
    return y.view(len(x), -1, *x.shape[2:])


def cells(what: str, seconds: dict[str, list], base: str) -> dict[str, object]:
    """The table's row: milliseconds of the ordinary one, and the ratios to it."""
    row: dict[str, object] = {"what": what, f"{base}, ms": f"{1e3 * statistics.median(seconds[base]):.1f}"}
    for name in (name for name in seconds if name != base):
        middle, low, high = ratio(seconds[name], seconds[base])
        row[name] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    print(*row.values(), file=sys.stderr, flush=True)
    return row


LAYERS = ((64, 64, 128, 256, 0.23), (64, 64, 256, 512, 0.07), (512, 512, 32, 64, 0.35), (1024, 1024, 8, 16, 0.6))


def layer(rounds: int) -> list[dict[str, object]]:
    """One 3×3 layer, batch 1; the plan is rebuilt in each call."""
    rows = []
    for ins, outs, height, width, mixed in LAYERS:
        torch.manual_seed(0)
        ids = street(height, width, mixed)
        ours = PanopticPartialConv2d(ins, outs, 3, padding=1).to(DEVICE)
        plain = nn.Conv2d(ins, outs, 3, padding=1).to(DEVICE)
        plain.load_state_dict(ours.state_dict())
        twin = copy.deepcopy(plain)
        x = torch.randn(1, ins, height, width, device=DEVICE, requires_grad=True)
        torch.testing.assert_close(ours(x, ids), unfolded(ours, x, ids), rtol=1e-4, atol=1e-4)
        ways = {
            "convolution": lambda x=x, plain=plain: plain(x),
            "control": lambda x=x, twin=twin: twin(x),
            "panoptic": lambda x=x, ours=ours, ids=ids: ours(x, ids),
            "unfold": lambda x=x, ours=ours, ids=ids: unfolded(ours, x, ids),
        }
        share = PanopticPlan.build(ids, 3, padding=1).mixed_fraction
        what = f"{ins}→{outs}, {height}×{width}, {100 * share:.0f} % mixed"
        rows.append(
            cells(
                f"{what}, forward", alternate({k: partial(quietly, f) for k, f in ways.items()}, rounds), "convolution"
            )
        )
        both = {k: partial(backwards, f) for k, f in ways.items()}
        rows.append(cells(f"{what}, forward + backward", alternate(both, max(rounds // 2, 5)), "convolution"))
    return rows


@torch.no_grad()
def quietly(call: Callable[[], torch.Tensor]) -> None:
    """Forward alone."""
    call()


def backwards(call: Callable[[], torch.Tensor]) -> None:
    """Forward, and backward to input and parameters."""
    call().sum().backward()


def memory(_rounds: int) -> list[dict[str, object]]:
    """Peak memory of one layer, forward + backward, beyond its input and parameters."""
    rows = []
    for ins, outs, height, width, mixed in LAYERS[:2]:
        ids, ours = street(height, width, mixed), PanopticPartialConv2d(ins, outs, 3, padding=1).to(DEVICE)
        x = torch.randn(1, ins, height, width, device=DEVICE, requires_grad=True)
        ways = {
            "convolution": lambda x=x, ours=ours: F.conv2d(x, ours.weight, ours.bias, padding=1),
            "panoptic": lambda x=x, ours=ours, ids=ids: ours(x, ids),
            "unfold": lambda x=x, ours=ours, ids=ids: unfolded(ours, x, ids),
        }
        peaks = {name: peak(partial(backwards, call)) for name, call in ways.items()}
        row: dict[str, object] = {"what": f"{ins}→{outs}, {height}×{width}, {100 * mixed:.0f} % mixed"}
        row |= {name: f"{value:.1f} MiB" for name, value in peaks.items()}
        rows.append(row | {"panoptic / unfold": f"{peaks['panoptic'] / peaks['unfold']:.3f}"})
    return rows


def peak(call: Callable[[], object]) -> float:
    """MiB of tensors alive at the peak of a call, beyond those alive before it."""
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(sizes)) / 2**20


def generators() -> tuple[dict[str, nn.Module], torch.Tensor, torch.Tensor, str]:
    """Three published SPADE generators of equal weights, their inputs, and the mixed windows of each resolution."""
    ids = street(256, 512, 0.07)
    labels = F.one_hot((ids[:, 0] % 35).long(), 35).permute(0, 3, 1, 2).float()
    semantics = torch.cat([labels, torch.zeros_like(labels[:, :1])], 1)
    torch.manual_seed(0)
    ours = spade_generator().to(DEVICE)
    plain = spade_generator(partial=False).to(DEVICE)
    plain.load_state_dict(ours.state_dict())
    shares = ", ".join(
        f"{256 // s}×{512 // s}: {100 * PanopticPlan.build(ids[..., ::s, ::s], 3, padding=1).mixed_fraction:.0f} %"
        for s in (64, 32, 16, 8, 4, 2, 1)
    )
    return {"convolution": plain, "control": copy.deepcopy(plain), "panoptic": ours}, semantics, ids, shares


def generator(rounds: int) -> list[dict[str, object]]:
    """The published SPADE generator's forward pass, 256×512, batch 1."""
    networks, semantics, ids, shares = generators()
    calls = {name: partial(quietly, partial(network.eval(), semantics, ids)) for name, network in networks.items()}
    seconds = alternate(calls, max(rounds // 6, 3), warmup=1)
    return [cells("generator, forward", seconds, "convolution") | {"mixed windows": shares}]


def training(rounds: int) -> list[dict[str, object]]:
    """A training step of that generator against its discriminator, 256×512, batch 1."""
    networks, semantics, ids, shares = generators()
    judge = patch_discriminator().to(DEVICE).requires_grad_(False)

    def step(network: nn.Module) -> None:
        network.zero_grad()
        verdicts = judge(torch.cat([semantics, network(semantics, ids)], 1))
        (-sum(scale[-1].mean() for scale in verdicts)).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 1e-4 * parameter.grad

    calls = {name: partial(step, network) for name, network in networks.items()}
    seconds = alternate(calls, max(rounds // 10, 3), warmup=1)
    return [cells("generator, training step", seconds, "convolution") | {"mixed windows": shares}]


def _batch(ids: torch.Tensor, plans: bool) -> dict[str, object]:
    return {"ids": ids, "plans": plans_of_strides(ids)} if plans else {"ids": ids}


def workers(rounds: int) -> list[dict[str, object]]:
    """Processor time of the training process for a batch's plans, 256×512, batch 4: made there, or by a worker."""
    ids = torch.cat([street(256, 512, 0.07).roll(shift, 3) for shift in (0, 50, 100, 150)])

    def received(plans: bool) -> float:
        options: dict[str, Any] = {"batch_size": 1, "num_workers": 1}  # each is one batch of four
        batches = iter(DataLoader(range(rounds + 1), collate_fn=lambda _: _batch(ids, plans), **options))  # type: ignore[arg-type]
        next(batches)  # starts the worker
        start = time.process_time()
        for _ in batches:
            pass
        return 1000 * (time.process_time() - start) / rounds

    start = time.process_time()
    for _ in range(rounds):
        plans = plans_of_strides(ids)
    made = 1000 * (time.process_time() - start) / rounds
    moved = sum(len(pickle.dumps(plan)) for plan in plans.values()) / 2**20
    row = {"made there, ms": made, "received, ms": received(True), "received without plans, ms": received(False)}
    return [{name: round(value, 1) for name, value in (row | {"MiB": moved}).items()}]


SECTIONS = {function.__name__: function for function in (layer, memory, generator, training, workers)}


if __name__ == "__main__":
    run_sections(__doc__, SECTIONS, rounds=30)
