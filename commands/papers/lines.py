"""A table's rows, the paper's and those of our own, and the trained networks that each is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pcpad.commands.comparison.metrics import Metric
from pcpad.commands.papers.published import PublishedTable
from pcpad.commands.papers.timings import Timing
from pcpad.commands.papers.trained import Trained

__all__ = ["LEVEL", "PADDING_WORDS", "Groups", "Line", "padding_word", "plan"]

LEVEL = 0.749
"""The accuracy that the 2018 paper counts epochs to."""

# The papers' words at the end of a row's name, and ours.
PADDING_WORDS = {"zero": "zeros", "ref": "reflect", "rep": "replicate", "explicit": "explicit", "partial": "partial"}
_ROW = re.compile(r"(?P<network>.*)_(?P<padding>zero|ref|rep|explicit|partial)(?: \((?P<call>.*)\))?")


@dataclass(frozen=True)
class Line:
    """A row.

    Args:
        names: What stands in front of it.
        network: Of the trained networks it is of, as results call it.
        padding: What they were trained with.
        published: The paper's cells; empty for a row that the paper does not have.
        tested: The padding they were tested with, where that is not the same.
        part: What else the row's name says: `1st`, `SSIM`, `diff`.
    """

    names: tuple[str, ...]
    network: str
    padding: str
    published: tuple[str, ...] = ()
    tested: str | None = None
    part: str = ""


def padding_word(padding: str) -> str:
    """The papers' word for a padding; other paddings keep their names."""
    return next((word for word, name in PADDING_WORDS.items() if name == padding), padding)


class Groups:
    """Trained networks by network and padding, in the order of their seeds.

    Args:
        trained: All that a table can be made of.
        stand_ins: What the table's networks are called to what stands in for them.
        timings: Of `pcpad bench`.
        level: The accuracy that epochs are counted to.
    """

    def __init__(
        self,
        trained: Iterable[Trained],
        stand_ins: Mapping[str, str],
        timings: Sequence[Timing] = (),
        level: float = LEVEL,
    ) -> None:
        self.trained = list(trained)
        self.timings = list(timings)
        self.level = level
        self.stand_ins = {name.casefold(): other.casefold() for name, other in stand_ins.items()}
        self.remarks: dict[str, None] = {}

    @property
    def networks(self) -> list[str]:
        """The networks with any results."""
        trained = [one.network for one in self.trained]
        return list(dict.fromkeys([*trained, *(one.network for one in self.timings)]))

    def _measured_as(self, network: str) -> str:
        """A network's name among the results: of a table's network its stand-in's."""
        return self.stand_ins.get(network.casefold(), network.casefold())

    def has(self, network: str) -> bool:
        """Whether there are results of a network, or of one that differs in what else a grid varies.

        Of a table's network, results of its stand-in.
        """
        name = self._measured_as(network)
        return any(f"{other.casefold()},".startswith(f"{name},") for other in self.networks)

    def timing(self, network: str) -> Timing | None:
        """The times of a network, in the papers' setting if there are several; of a table's its stand-in's."""
        name = self._measured_as(network)
        found = [one for one in self.timings if one.network.casefold() == name]
        return max(found, key=lambda one: one.comparable, default=None)

    def of(self, network: str, padding: str) -> list[Trained]:
        """The runs of one network and padding, by seed; of a table's network those of its stand-in, if it has one."""
        name = self._measured_as(network)
        found = [one for one in self.trained if one.network.casefold() == name and one.padding == padding]
        return sorted(found, key=_by_seed)

    def values(self, runs: Sequence[Trained], name: str, when: str, mode: str | None = None) -> dict[str, float]:
        """Seed to number, as logged; see `pcpad.commands.comparison.runs.Run.value`."""
        found = {one.seed: one.run.value(Metric(name, mode), when) for one in runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def crossed(self, runs: Sequence[Trained], name: str, tested: str) -> dict[str, float]:
        """Seed to number, tested under another padding."""
        found = {one.seed: one.run.value(Metric(name, None), "test", tested) for one in runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def remark(self, text: str) -> None:
        """Add a remark below the table, once."""
        self.remarks[text] = None


def _by_seed(one: Trained) -> tuple[int, str]:
    return (int(one.seed), "") if one.seed.isdecimal() else (2**31, one.seed)


def plan(table: PublishedTable, groups: Groups) -> list[Line]:
    """The paper's rows, then one for each network and padding that the paper does not have.

    Args:
        table: The table.
        groups: What ours is made of.
    """
    makers = {"cross_runs": _cross_runs, "cross": _cross, "inpainting": _by_method, "synthesis": _by_method}
    lines = makers.get(table.kind, _usual)(table)
    stand_in_for = {other: name for name, other in groups.stand_ins.items()}
    papers = {line.network.casefold(): line.network for line in lines}
    shown = {(line.network.casefold(), line.padding) for line in lines}
    for network, padding in _measured(groups):
        name = stand_in_for.get(network.casefold(), network.casefold())
        # One that another stands in for is shown under its own name.
        taken = name in papers and groups.stand_ins.get(name, name) == network.casefold()
        if taken and (name, padding) in shown:
            continue
        lines += _of_our_own(table, lines, groups, papers[name] if taken else network, padding)
    return lines


def _measured(groups: Groups) -> list[tuple[str, str]]:
    """Every network and padding with any results."""
    timed = [(one.network, padding) for one in groups.timings for padding in one.relative]
    trained = [(one.network, one.padding) for one in groups.trained]
    kept = [(network, padding.partition(",")[0]) for network, padding in (*trained, *timed) if padding != "control"]
    return sorted(set(kept))


def _usual(table: PublishedTable) -> list[Line]:
    lines: list[Line] = []
    for line in table.lines:
        found = _ROW.fullmatch(line.names[0])
        if found is None:  # the difference of the two rows above
            lines.append(Line(line.names, lines[-1].network, lines[-1].padding, line.cells, part=line.names[0]))
            continue
        network, padding = table.networks[found["network"]], PADDING_WORDS[found["padding"]]
        lines.append(Line(line.names, network, padding, line.cells, part=found["call"] or ""))
    return lines


def _cross_runs(table: PublishedTable) -> list[Line]:
    lines = []
    for line in table.lines:
        (network, trained), (_, tested) = (name.split("_") for name in line.names)
        paddings = PADDING_WORDS[trained], PADDING_WORDS[tested]
        lines.append(Line(line.names, table.networks[network], paddings[0], line.cells, tested=paddings[1]))
    return lines


def _cross(table: PublishedTable) -> list[Line]:
    (network,) = table.networks.values()
    return [Line(line.names, network, PADDING_WORDS[line.names[0]], line.cells) for line in table.lines]


def _by_method(table: PublishedTable) -> list[Line]:
    (network,) = table.networks.values()
    lines: list[Line] = []
    for line in table.lines:
        padding = "partial" if "partial" in line.names[0].casefold() else "zeros"
        lines.append(Line(line.names, network, padding, line.cells, part=line.names[0].partition("(")[0].strip()))
    return lines


def _of_our_own(table: PublishedTable, lines: Sequence[Line], groups: Groups, network: str, padding: str) -> list[Line]:
    word = padding_word(padding)
    paper = next((name for name, ours in table.networks.items() if ours == network), network)
    if table.kind == "cross_runs":
        runs = groups.of(network, padding)
        tested = dict.fromkeys(name for one in runs for name in one.run.tests if name)
        names = [(f"{paper}_{word}", f"{paper}_{padding_word(name)}", name) for name in sorted(tested)]
        return [Line((trained, other), network, padding, tested=name) for trained, other, name in names]
    if table.kind in ("inpainting", "synthesis"):
        method = "PartialConv" if padding == "partial" else f"Conv, {padding}"
        parts = dict.fromkeys(line.part for line in lines if line.published)
        if table.kind == "synthesis":
            return [Line((f"{network} ({method})",), network, padding)]
        return [Line((f"{part} ({method}), {network}",), network, padding, part=part) for part in parts if part != "IS"]
    name = f"{paper}_{word}" if paper else word
    if table.kind == "time" and padding == "partial":
        return [Line((f"{name} ({part})",), network, padding, part=part) for part in ("1st", "2nd - nth")]
    return [Line((name,), network, padding)]
