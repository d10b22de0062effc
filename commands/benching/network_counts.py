"""Count what one call of a network does under each padding: `pcpad bench --count`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pcpad import kernels
from pcpad.commands.benching.calls import Setting, in_words
from pcpad.commands.benching.counting import Counts, count
from pcpad.commands.benching.networks import Contestants, memory_format
from pcpad.tables import Table

__all__ = ["CountRow", "count_networks", "counts_table"]

_MIB = 2**20


class CountRow(NamedTuple):
    """One padding in one setting. Either it was counted or the note says why not."""

    padding: str
    forward: Counts | None = None
    backward: Counts | None = None
    note: str | None = None


def count_networks(made: Contestants, setting: Setting, x: Tensor) -> list[CountRow]:
    """Count one call of a network under each padding, with warm caches.

    Args:
        made: The network under its paddings.
        setting: The setting; its backend is not asked, and what runs is torch's operations.
        x: The input, on the networks' device.

    Returns:
        A row each for zero padding and the paddings in order.
    """
    rows = []
    for name, network in made.networks.items():
        if name == "control":
            continue
        try:
            rows.append(CountRow(name, *_counts(network, setting, x)))
        except Exception as error:  # of whatever kind, as a network's own may be
            rows.append(CountRow(name, note=in_words(error)))
    return rows + [CountRow(name, note=note) for name, note in made.notes.items()]


def _counts(network: nn.Module, setting: Setting, x: Tensor) -> tuple[Counts, Counts | None]:
    training = setting.mode == "training"
    network.train(training).to(x.device, x.dtype).to(memory_format=memory_format(x.dim() - 2, setting.layout))
    outputs: list[Tensor] = []

    def forward() -> None:
        outputs[:] = [value for value in pytree.tree_leaves(network(x)) if isinstance(value, Tensor)]

    def backward() -> None:
        torch.autograd.backward(outputs, given)

    with torch.set_grad_enabled(training), kernels.using("torch"):
        forward()
        given = [torch.ones_like(output) for output in outputs]
        if not training:
            return count(forward), None
        backward()
        network.zero_grad(set_to_none=True)  # the second time round adds to no gradient either
        ahead = count(forward)
        back = count(backward)
        network.zero_grad(set_to_none=True)
    return ahead, back


def counts_table(rows: list[CountRow]) -> Table:
    """A table of kernels and bytes.

    Args:
        rows: Without notes, zero padding's first.
    """
    trains = any(row.backward is not None for row in rows)
    columns = ["padding", "kernels", "MiB", "MiB ×"] + ["backward", "MiB", "MiB ×"] * trains
    lines = []
    for row in rows:
        cells = [row.padding]
        for mine, zeros in ((row.forward, rows[0].forward), (row.backward, rows[0].backward)):
            if mine is not None and zeros is not None:
                cells += [str(mine.total), f"{mine.bytes / _MIB:.1f}", f"{mine.bytes / max(zeros.bytes, 1):.3f}"]
        lines.append(cells)
    return Table("", columns, lines, frame=False)
