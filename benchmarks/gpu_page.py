"""The files that `benchmarks.gpu` keeps, and the section of RESULTS.md that is made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_cells import all_cells
from benchmarks.paired import markdown
from pcpad.commands.benching.calls import Setting
from pcpad.commands.benching.report import published

__all__ = ["FOLDER", "file_of", "kept", "section"]

FOLDER = Path(__file__).parent / "results" / "gpu"
_HEAD = """\
## On a GPU

`python -m benchmarks.gpu` measures and writes this section, `--all` the cells beyond the twelve of its core.
"""
_TABLE_1 = (
    "Run times of the paddings, one picture at a time, in float32; in the last columns the papers' Table 1 (V100):\n"
)
_NETWORKS = """\
Networks under our padding, relative to the zero-padded one, with 95 % intervals; "first call" is with nothing
remembered of the size. Inference in bfloat16 casts the weights, training runs under autocast; both are channels_last.
Memory is what torch had allocated at the peak. A masked network takes its mask, a panoptic one makes its plans in each
call:
"""


def file_of(folder: Path, device: str, cell: str) -> Path:
    """Where a cell is kept: each device has a folder."""
    return folder / re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") / f"{cell}.json"


def kept(folder: Path) -> list[dict[str, Any]]:
    """All cells of all devices, in the order in which they are measured; unreadable files are skipped."""
    order = {cell.name: place for place, cell in enumerate(all_cells())}
    found = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            continue  # cut off by an interruption; measured again by the next call
    return sorted(found, key=lambda content: order.get(content["cell"], len(order)))


def section(cells: Sequence[dict[str, Any]]) -> str:
    """The section in Markdown.

    Args:
        cells: What `kept` returned.

    Returns:
        Tables for each machine and its versions.
    """
    if not cells:
        return f"{_HEAD}\nNothing has been measured yet.\n"
    machines: dict[str, list[dict[str, Any]]] = {}
    for content in cells:
        about = {name: value for name, value in content["machine"].items() if name != "device"}
        versions = ", ".join(f"{name} {value}" for name, value in about.items())
        small = " In small form, to see that it works; no result." if content["small"] else ""
        title = f"### {content['machine']['device']}\n\n{versions}; {content['rounds']} rounds.{small}\n"
        machines.setdefault(title, []).append(content)
    parts = [_HEAD]
    for title, found in machines.items():
        parts.append(title)
        table_1 = [row for content in found if content["table_1"] for row in _paddings(content)]
        networks = [_network(content) for content in found if not content["table_1"] and _measured(content)]
        parts += [
            part
            for rows, head in ((table_1, _TABLE_1), (networks, _NETWORKS))
            if rows
            for part in (head, markdown(rows))
        ]
        failed = [f"- {content['cell']}: {reason}" for content in found for reason in content["failed"]]
        if failed:
            parts.append("Not measured:\n\n" + "\n".join(failed) + "\n")
    return "\n".join(parts)


def _measured(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its rows that have times, by padding."""
    return {row["padding"]: row for row in content["rows"] if row["relative"] is not None}


def _paddings(content: dict[str, Any]) -> list[dict[str, object]]:
    """A row for each padding."""
    setting = Setting(*(content[name] for name in ("batch", "mode", "backend", "layout", "dtype")))
    known = {} if content["small"] else published(content["network"], setting, tuple(content["size"]))
    rows = _measured(content)
    return [
        {
            "network": content["network"],
            "padding": padding,
            "ms": f"{row['milliseconds']:.2f}",
            "time ×": _interval(row),
            "memory ×": f"{_memory(row) / _memory(rows['zeros']):.3f}",
        }
        | {f"{paper} ×": _published(known, paper, padding) for paper in ("2022", "2018")}
        for padding, row in rows.items()
    ]


def _published(known: dict[str, dict[str, float]], paper: str, padding: str) -> str:
    value = known.get(paper, {}).get(padding)
    return "" if value is None else f"{value:.2f}"


def _network(content: dict[str, Any]) -> dict[str, object]:
    """One row: what our padding costs."""
    rows = _measured(content)
    first = rows.pop("partial, first call", None)
    names = [name for name in rows if name not in ("zeros", "control")]
    ours = rows[names[0]] if names else None
    size = "×".join(map(str, content["size"]))
    compiled = [row["compile_seconds"] for row in (rows["zeros"], ours) if row and row["compile_seconds"] is not None]
    return {
        "network": content["network"],
        "padding": names[0].removesuffix(", later calls") if names else "",
        "what": f"{content['mode']}, {content['batch']} of {size}, {content['backend']}, {content['dtype']}",
        "zeros, ms": f"{rows['zeros']['milliseconds']:.2f}",
        "control ×": _interval(rows["control"]) if "control" in rows else "",
        "ours ×": _interval(ours) if ours else "",
        "first call ×": _interval(first) if first else "",
        "memory ×": f"{_memory(ours) / _memory(rows['zeros']):.3f}" if ours else "",
        "compile, s": " → ".join(f"{seconds:.1f}" for seconds in compiled),
    }


def _interval(row: dict[str, Any]) -> str:
    middle, low, high = row["relative"]
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def _memory(row: dict[str, Any]) -> float:
    return (row["own_bytes"] or 0) + (row["peak_bytes"] or 0)
