"""A paper's table with ours in it: which runs it is made of, and what is to be said below."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pcpad.commands.papers.comparable import differences
from pcpad.commands.papers.lines import LEVEL, Groups, Line, plan
from pcpad.commands.papers.measured import KINDS, NOT_OURS, Kind
from pcpad.commands.papers.published import PublishedLine, PublishedTable, published_tables
from pcpad.commands.papers.trained import Found, Trained
from pcpad.commands.papers.writing import MISSING, Beside
from pcpad.errors import UserValueError, did_you_mean

__all__ = ["alone", "beside", "missing_runs", "read_stand_ins", "suitable"]

_TASKS = {kind.task for kind in KINDS.values()}
_MOST = 6


def suitable(table: PublishedTable, found: Found) -> list[Trained]:
    """The runs that a table can be made of: those of its task or of a user's task, with its metric logged."""
    kind = KINDS[table.kind]
    return [one for one in found.trained if _of_task(kind, one) and _logged(kind, one)]


def _of_task(kind: Kind, one: Trained) -> bool:
    return one.task == kind.task or one.task not in _TASKS


def _logged(kind: Kind, one: Trained) -> bool:
    return any(re.fullmatch(kind.metric, name) for name in one.metrics)


def missing_runs(table: PublishedTable, found: Found) -> str | None:
    """Why a table cannot be made of these runs, and how to make the missing ones; None if it can."""
    kind = KINDS[table.kind]
    how = f"Such are made by: {kind.takes}"
    if kind.task is None:
        return None if found.timings else f"{table.name} is made of files of `pcpad bench --json`. {how}"
    if suitable(table, found):
        return None
    needed = f"{table.name} is made of runs of {kind.task} that have logged {kind.metric}"
    right = [one for one in found.trained if _of_task(kind, one)]
    if right:
        logged = ", ".join(sorted({name for one in right for name in one.metrics})) or "nothing"
        return f"{needed}; those of {right[0].where} and others have {logged}. {how}"
    tasks = Counter(one.task or "an unknown task" for one in found.trained)
    there = ", ".join(f"{task} ({count})" for task, count in tasks.items())
    if found.unfinished and not tasks:
        there = f"no training that came to its end ({len(found.unfinished)} did not)"
    return f"{needed}, but --runs has {there or 'no such runs'}. {how}"


def read_stand_ins(texts: Iterable[str], found: Found) -> dict[str, str]:
    """Read `--as PAPER=OURS`.

    Args:
        texts: As typed.
        found: What there is.

    Returns:
        This suite's name of the paper's network to the network that stands in for it.

    Raises:
        UserValueError: The papers or the runs have no such network.
    """
    papers = {word: ours for table in published_tables().values() for word, ours in table.networks.items() if word}
    papers |= {ours: ours for table in published_tables().values() for ours in table.networks.values()}
    networks = [*(one.network for one in found.trained), *(one.network for one in found.timings)]
    there = {network.casefold(): network for network in networks}
    stand_ins = {}
    for text in texts:
        paper, equals, ours = text.partition("=")
        if not equals or paper not in papers:
            message = (
                f"Expected --as PAPER=OURS with a network of the papers, but got {text!r}."
                f"{did_you_mean(paper, papers)} There are: {', '.join(papers)}."
            )
            raise UserValueError(message)
        if ours.casefold() not in there:
            message = f"--as {text}: no run is of {ours!r}.{did_you_mean(ours, there.values())} There are: "
            message += f"{', '.join(there.values()) or 'none'}."
            raise UserValueError(message)
        stand_ins[papers[paper]] = there[ours.casefold()]
    return stand_ins


def alone(table: PublishedTable) -> Beside:
    """A table as the paper has it, without ours."""
    lines = [line for line in plan(table, Groups([], {})) if line.published]
    return Beside(table, lines, [], [*table.notes, "The paper's alone: --runs DIR puts ours beside it."])


def beside(
    table: PublishedTable, found: Found, stand_ins: Mapping[str, str], level: float = LEVEL, *, all_rows: bool = True
) -> Beside:
    """A table with ours beside the paper's.

    Args:
        table: The table.
        found: What there is.
        stand_ins: See `read_stand_ins`.
        level: The accuracy that epochs are counted to.
        all_rows: Whether the paper's networks that no run is of keep their rows.

    Raises:
        UserValueError: It cannot be made of what there is.
    """
    wrong = missing_runs(table, found)
    if wrong is not None:
        raise UserValueError(wrong)
    kind = KINDS[table.kind]
    runs = [] if kind.task is None else suitable(table, found)
    timings = found.timings if kind.task is None else []
    if table.kind == "reach" and level != LEVEL:
        blank = [PublishedLine(line.names, (NOT_OURS,) * len(line.cells)) for line in table.lines]
        title = f"{table.title.partition(' of 74.9')[0]} of {100 * level:g} %, on the mean curve of all runs"
        table = replace(table, lines=tuple(blank), title=title)
    networks = [*(one.network for one in runs), *(one.network for one in timings)]
    replaced = {paper: ours for paper, ours in stand_ins.items() if paper in table.networks.values()}
    groups = Groups(runs, replaced or _only(table, networks), timings, level)
    lines = plan(table, groups)
    left_out = "" if all_rows else _left_out(table, lines, groups)
    lines = [line for line in lines if not left_out or groups.has(line.network)]
    cells = [kind.cells(table, line, groups) for line in lines]
    told = differences(
        table, runs, timings, {name: groups.stand_ins[name.casefold()] for name in _shown(table, groups)}
    )
    missing = sum(cell is None for line in cells for cell in line)
    notes = [*told, *table.notes, *groups.remarks]
    if missing:
        notes.append(f"{missing} cells of ours are {MISSING}: no run here is for them.")
    unfinished = [str(one.where) for one in found.unfinished if kind.task and one.task in (kind.task, None)]
    if unfinished:
        notes.append(f"Left out, because training did not come to its end: {_some(unfinished)}.")
    return Beside(table, lines, cells, notes, left_out)


def _left_out(table: PublishedTable, lines: Sequence[Line], groups: Groups) -> str:
    """The line on the paper's networks that no run is of; empty where there are none."""
    papers = dict.fromkeys(line.network for line in lines if line.published)
    without = [network for network in papers if not groups.has(network)]
    if not without:
        return ""
    words = {ours: word or ours for word, ours in table.networks.items()}
    return (
        f"{len(without)} of the paper's {len(papers)} networks have no runs here, and their rows are left out "
        f"({_some([words.get(network, network) for network in without])}): --all-rows prints them, --as PAPER=OURS "
        "puts another network's results into them."
    )


def _shown(table: PublishedTable, groups: Groups) -> list[str]:
    return [name for name in table.networks.values() if name.casefold() in groups.stand_ins]


def _only(table: PublishedTable, ours: Sequence[str]) -> dict[str, str]:
    """Of a table of one network: the one that all runs are of stands in for it."""
    networks = {network.casefold(): network for network in ours}
    papers = {name.casefold(): name for name in table.networks.values()}
    if len(papers) != 1 or len(networks) != 1 or set(papers) & set(networks):
        return {}
    return {next(iter(papers.values())): next(iter(networks.values()))}


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")
