"""Zeros that a convolution's input comes with, padded by another module or by `F.pad`: who pads, and how much.

The analysis uses a copy without values (on the device "meta", in evaluation mode), so the network does not change and
nothing is computed. `torch.fx` covers every size; where it cannot trace, forward passes at several sizes are used.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pcpad._observed import Observed, zeros_by_module
from pcpad._own_padding import calls_pad, takes_borders
from pcpad._passes import bare_copy, guessed, run
from pcpad._tracing import traced

__all__ = ["look"]


def look(model: nn.Module, example: Any = None) -> Observed:
    """Find the zeros that convolutions' inputs come with.

    Args:
        model: The network; it stays as it is.
        example: What it takes: a tensor, a tuple of arguments, or a dict of named ones. None uses `torch.fx` and, where
            that fails, each module that pads by itself.

    Returns:
        What was seen; empty where nothing pads.
    """
    holders = [name for name, module in model.named_modules() if _pads_outside(module)]
    observed = Observed()
    if not holders and example is None:
        return observed
    ran = run(model, example) if example is not None else None
    if holders:
        bare = bare_copy(model)
        whole = None if bare is None else traced(bare)
        if whole is not None:
            observed = whole
        elif ran is not None:
            observed = ran
        if bare is not None:  # what is called in training alone, or by other methods, is looked at by itself
            _look_at_parts(bare, [name for name in holders if not _any_called(name, observed)], observed)
    if ran is not None:
        observed.multiply_adds = ran.multiply_adds
    return observed


def _pads_outside(module: nn.Module) -> bool:
    if any(zeros_by_module(child) for child in module.children()):
        return True
    return calls_pad(module) and any(takes_borders(below) for below in module.modules())


def _any_called(name: str, observed: Observed) -> bool:
    """Whether a module or a part of it was called."""
    return any(called == name or not name or called.startswith(f"{name}.") for called in observed.called)


def _look_at_parts(model: nn.Module, holders: list[str], observed: Observed) -> None:
    """By the smallest part that shows where each holder's zeros end; by a guess at the holder's input otherwise."""
    done: set[str] = set()
    for holder in holders:
        if any(holder == name or holder.startswith(f"{name}.") for name in done):
            continue
        name, part = holder, None
        while True:
            part = traced(model.get_submodule(name))
            if part is None or not part.elsewhere or not name:
                break
            name = name.rpartition(".")[0]
        if part is None:
            name, part = holder, guessed(model.get_submodule(holder))
        if part is not None:
            done.add(name)
            observed.add(part, f"{name}." if name else "")
