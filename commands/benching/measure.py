"""Measure one setting: every padding beside zero padding, alternating."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from pcpad import _border
from pcpad.commands.benching.calls import CannotRunError, Ready, Setting, prepare
from pcpad.commands.benching.networks import Contestants, example, memory_format
from pcpad.commands.benching.timing import alternate, ratio

# Two rows: what is worked out at the first call of a size is remembered for later ones.
_FIRST, _LATER = "partial, first call", "partial, later calls"


@dataclass
class Row:
    """One padding in one setting. Either it was measured or the note says why not."""

    padding: str
    seconds: list[float] | None = None  # of each round
    milliseconds: float | None = None  # their median
    relative: tuple[float, float, float] | None = None  # to zero padding: median, and the ends of the 95 % interval
    own_bytes: int | None = None  # parameters and buffers
    peak_bytes: float | None = None  # tensors at the peak of a call, beyond these
    compile_seconds: float | None = None
    note: str | None = None


def measure(
    made: Contestants,
    setting: Setting,
    size: tuple[int, int],
    frames: int,
    device: torch.device,
    rounds: int,
    on_step: Callable[[str], object],
) -> list[Row]:
    """Time every padding of a network in one setting.

    Args:
        made: The network under its paddings.
        setting: The setting.
        size: Height and width of the input.
        frames: Of a clip.
        device: Where.
        rounds: How often each is timed.
        on_step: Called with what is being done: shows progress.

    Returns:
        A row each for zero padding, its twin `control`, and the paddings in order; partial padding has two in eager
        mode.
    """
    x = input_for(made, setting, size, frames, device)
    rows, ready = {name: Row(name) for name in (*made.networks, *made.notes)}, {}
    with ExitStack() as stack:
        if setting.backend == "compile":
            _compile_each_in_full(stack, copies=len(made.networks))
        for name, network in made.networks.items():
            on_step(f"{name}: {'compiling' if setting.backend == 'compile' else 'first call and memory'}")
            if "zeros" not in ready and name != "zeros":
                rows[name].note = "not run, because zero padding, the baseline, could not be"
                continue
            try:
                ready[name] = prepare(network, x, setting)
            except CannotRunError as reason:
                rows[name].note = str(reason)
        calls: dict[str, Callable[[], object]] = {name: each.call for name, each in ready.items()}
        if "partial" in calls and setting.backend == "eager":
            calls = _with_first_calls(calls, rows)
        counted = iter(range(1, rounds + 1))
        on_step(f"round 0 of {rounds}")
        seconds = (
            alternate(calls, rounds, device=device, on_round=lambda: on_step(f"round {next(counted)} of {rounds}"))
            if calls
            else {}
        )
    for name, note in made.notes.items():
        rows[name].note = note
    for name, taken in seconds.items():
        _fill(rows[name], taken, seconds["zeros"], ready["partial" if name in (_FIRST, _LATER) else name])
    return list(rows.values())


def input_for(
    made: Contestants, setting: Setting, size: tuple[int, int], frames: int, device: torch.device
) -> torch.Tensor:
    """The input of a network, its own or noise; the arguments are those of `measure`."""
    if made.input is None:
        return example(made.dims, setting.batch, size, frames, setting.layout, setting.input_dtype, device)
    layout = memory_format(made.dims, setting.layout)
    return made.input.to(device, setting.input_dtype).contiguous(memory_format=layout)


def _with_first_calls(calls: dict[str, Callable[[], object]], rows: dict[str, Row]) -> dict[str, Any]:
    """Partial padding twice: with cold and with warm caches."""
    later = calls["partial"]

    def first() -> None:
        _border.forget()
        later()

    kept = dict(rows)
    rows.clear()
    for name, row in kept.items():  # the two come where the one stood
        rows.update({_FIRST: Row(_FIRST), _LATER: Row(_LATER)} if name == "partial" else {name: row})
    swapped = {name: call for name, call in calls.items() if name != "partial"}
    return {**swapped, _FIRST: first, _LATER: later}


def _compile_each_in_full(stack: ExitStack, copies: int) -> None:
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.reset()
    # From a cache a second run of the command would compile in no time.
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
    stack.enter_context(torch._inductor.config.patch(force_disable_caches=True))
    # The networks share their code, and past a limit of versions of it the rest would run uncompiled, unseen.
    stack.enter_context(torch._dynamo.config.patch(recompile_limit=64 * copies, fail_on_recompile_limit_hit=True))


def _fill(row: Row, seconds: list[float], zeros: list[float], ready: Ready) -> None:
    row.seconds = seconds
    row.milliseconds = 1e3 * statistics.median(seconds)
    row.relative = ratio(seconds, zeros)
    row.own_bytes, row.peak_bytes = ready.own_bytes, ready.peak_bytes
    # The twin of the zero-padded network runs what was compiled for that.
    row.compile_seconds = None if row.padding == "control" else ready.compile_seconds
