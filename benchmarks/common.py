"""What the benchmarks share: `pcpad bench`'s timing, and Markdown and JSON of what came out."""

from __future__ import annotations

import json
from pathlib import Path

from pcpad.commands.benching.timing import alternate, machine, peak_memory, ratio

__all__ = ["alternate", "machine", "peak_memory", "ratio", "save", "show"]


def show(rows: list[dict[str, object]]) -> None:
    """Print rows as a Markdown table."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join("---" for _ in columns) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |", flush=True)


def save(rows: list[dict[str, object]], path: str | None) -> None:
    """Write rows and the machine as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
