"""Zeros that a convolution's input comes with, padded by another module or by `F.pad`: who pads, and how much.

The analysis uses a copy without values (on the device "meta", in evaluation mode), so the network does not change and
nothing is computed. `torch.fx` covers every size; where it cannot trace, forward passes at several sizes are used.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pcpad._observed import CONVOLUTIONS, Observed, zeros_by_module
from pcpad._other_convolutions import own_class, rule_of
from pcpad._own_padding import calls_pad, takes_borders
from pcpad._passes import bare_copy, guessed, run
from pcpad._tracing import traced

__all__ = ["look", "takes_borders_within"]


def look(model: nn.Module, example: Any = None) -> Observed:
    """Find the zeros that convolutions' inputs come with.

    Args:
        model: The network; it stays as it is.
        example: What it takes: a tensor, a tuple of arguments, or a dict of named ones. None uses `torch.fx` and, where
            that fails, each module that pads by itself.

    Returns:
        What was seen; empty where nothing pads.
    """
    borders = takes_borders_within(model)
    holders = [name for name, module in model.named_modules() if _pads_outside(module, borders)]
    ran = run(model, example) if example is not None else None
    observed = ran or Observed()
    observed.returned.clear()  # no convolution follows
    if not holders:
        alone = Observed(seen=observed.seen, called=observed.called, multiply_adds=observed.multiply_adds)
        alone.complete(observed)
        return alone
    bare = bare_copy(model)
    whole = None if bare is None else traced(bare)
    if whole is not None:
        whole.returned.clear()
        if ran is not None:
            whole.complete(ran)
            whole.multiply_adds = ran.multiply_adds
        observed = whole
    if bare is not None:  # what is called in training alone, or by other methods, is looked at by itself
        _look_at_parts(bare, holders, observed)
    return observed


def takes_borders_within(model: nn.Module) -> bool:
    """Whether a network has a convolution that takes borders off, and whose class does not pad by itself.

    Args:
        model: The network.
    """
    for module in model.modules():
        if takes_borders(module):
            rule = rule_of(own_class(type(module)))
            if rule is None or not rule.pads(module):
                return True
    return False


def _pads_outside(module: nn.Module, borders: bool) -> bool:
    if any(zeros_by_module(child) for child in module.children()):
        return True
    return calls_pad(module) and (borders or any(takes_borders(below) for below in module.modules()))


def _look_at_parts(model: nn.Module, holders: list[str], observed: Observed) -> None:
    """Add what is seen of holders that were not called, each in the smallest part that shows where its zeros end."""
    whole = observed.any_called("")
    for holder in holders:
        if observed.any_called(holder):
            continue
        found, name = None, holder
        while not (whole and observed.any_called(name)):
            module = model.get_submodule(name)
            part = traced(module) or guessed(module)
            if part is not None and part.any_called(holder[len(name) :].lstrip(".")):
                found = name, part
            if not name or not _goes_on(module, part):
                break
            name = name.rpartition(".")[0]
        if found is not None:
            observed.add(found[1], f"{found[0]}." if found[0] else "")


def _goes_on(module: nn.Module, part: Observed | None) -> bool:
    """Whether what is around a part may show more: where its zeros go, or what it takes."""
    if part is not None:
        return bool(part.returned)
    return not any(isinstance(below, CONVOLUTIONS) for below in module.modules())
