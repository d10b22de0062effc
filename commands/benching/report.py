"""What `pcpad bench` prints, and what it writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from pcpad.commands.benching.calls import Setting
from pcpad.commands.benching.measure import Row
from pcpad.commands.benching.network_counts import CountRow, counts_table
from pcpad.commands.papers.published import number, published_tables
from pcpad.files import write_text
from pcpad.tables import Table
from pcpad.terminal import for_terminal

# How the papers' Table 1 calls the networks, and what it calls a call of partial padding.
_NETWORKS = {"vgg16_bn": ("vgg16BN", "VGG16BN"), "resnet50": ("resnet50", "RN50")}
_ROWS = {
    "reflect": "ref",
    "replicate": "rep",
    "explicit": "explicit",
    "partial, first call": "partial (1st)",
    "partial, later calls": "partial (2nd - nth)",
}
Known = dict[str, dict[str, float]]
_MIB = 2**20


def published(network: str, setting: Setting, size: tuple[int, int]) -> Known:
    """Look up the papers' own figures.

    Args:
        network: By name.
        setting: The setting.
        size: Height and width.

    Returns:
        By paper (`2022`, `2018`) and row, time relative to zero padding; empty unless their Table 1 has this network
        and setting.
    """
    if setting != Setting(batch=1) or size != (224, 224):
        return {}
    found: Known = {}
    for paper, word in zip(("2018", "2022"), _NETWORKS.get(network, ()), strict=False):
        printed = {line.names[0]: number(line.cells[1]) for line in published_tables()[f"{paper}:T1"].lines}
        times = {row: printed.get(f"{word}_{name}") for row, name in _ROWS.items()}
        found[paper] = {row: round(percent / 100, 4) for row, percent in times.items() if percent is not None}
    return dict(reversed(found.items()))


def show(console: Console, title: str, rows: list[Row], known: Known) -> None:
    """Print one setting's table, and below it what could not be measured.

    Args:
        console: Where to.
        title: Above the table.
        rows: What was measured.
        known: See `published`.
    """
    measured = [row for row in rows if row.note is None]
    console.print(for_terminal(f"\n{title}"), style="bold", highlight=False, markup=False, soft_wrap=True)
    if measured:
        console.print(_table(measured, known).rich(), soft_wrap=True)
    for row in rows:
        if row.note is not None:
            line = f"{row.padding}: not measured: {row.note}"
            console.print(for_terminal(line), highlight=False, markup=False, soft_wrap=True)


def _table(rows: list[Row], known: Known) -> Table:
    compiled = any(row.compile_seconds is not None for row in rows)
    columns = ["padding", "ms", "time ×", "95 %", "MiB", "memory ×"]
    columns += ["compile, s"] * compiled + [f"{paper} ×" for paper in known]
    base = _memory(rows[0])
    lines = []
    for row in rows:
        assert row.relative is not None
        middle, low, high = row.relative
        cells = [_title(row.padding), f"{row.milliseconds:.2f}", f"{middle:.3f}", f"{low:.3f} – {high:.3f}"]
        cells += [f"{_memory(row) / _MIB:.1f}", f"{_memory(row) / base:.3f}"]
        if compiled:
            cells.append("" if row.compile_seconds is None else f"{row.compile_seconds:.1f}")
        cells += [f"{times[row.padding]:.2f}" if row.padding in times else "" for times in known.values()]
        lines.append(cells)
    return Table("", columns, lines, frame=False)


def _title(padding: str) -> str:
    # Short, for a terminal of 80 columns.
    return "zeros again" if padding == "control" else padding.removesuffix(" call").removesuffix(" calls")


def _memory(row: Row) -> float:
    return (row.own_bytes or 0) + (row.peak_bytes or 0)


def show_both_papers(console: Console, found: dict[str, tuple[list[Row], Known]]) -> None:
    """Print the papers' Table 1 with the measured values next to the published ones.

    Args:
        console: Where to.
        found: By network what was measured, and the published figures.
    """
    paddings = list(
        dict.fromkeys(row.padding for rows, _ in found.values() for row in rows if row.padding != "control")
    )
    columns = ["time ×"]
    for network, (_, known) in found.items():
        columns += [network, *known]
    lines = []
    for padding in paddings:
        cells = [_title(padding)]
        for rows, known in found.values():
            mine = next((row.relative for row in rows if row.padding == padding), None)
            cells.append("" if mine is None else f"{mine[0]:.3f}")
            cells += [f"{times[padding]:.2f}" if padding in times else "" for times in known.values()]
        lines.append(cells)
    console.print("\nTable 1 of both papers", style="bold", highlight=False, markup=False)
    console.print(Table("", columns, lines, frame=False).rich(), soft_wrap=True)


def show_counts(console: Console, title: str, rows: list[CountRow]) -> None:
    """Print the counts of one setting, and below them what could not be counted.

    Args:
        console: Where to.
        title: Above the table.
        rows: What was counted.
    """
    console.print(for_terminal(f"\n{title}"), style="bold", highlight=False, markup=False, soft_wrap=True)
    counted = [row for row in rows if row.note is None]
    if counted:
        console.print(counts_table(counted).rich(), soft_wrap=True)
    for row in rows:
        if row.note is not None:
            line = f"{row.padding}: not counted: {row.note}"
            console.print(for_terminal(line), highlight=False, markup=False, soft_wrap=True)


def save(path: Path, about: dict[str, Any], tables: list[tuple[str, Setting, list[Row], Known]]) -> None:
    """Write everything as JSON, each round's seconds included.

    Args:
        path: The file.
        about: The machine and what was asked for.
        tables: Of each network and setting its rows and the published figures.
    """
    rows = [
        {
            "network": network,
            **dataclasses.asdict(setting),
            **dataclasses.asdict(row),
            "published": known.get("2022", {}).get(row.padding),
            "published_2018": known.get("2018", {}).get(row.padding),
        }
        for network, setting, found, known in tables
        for row in found
    ]
    write_text(path, json.dumps({**about, "rows": rows}, indent=1) + "\n")
