"""What the benchmarks share: the timing of `pcpad bench`, and results as Markdown and JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.paired import markdown
from pcpad.commands.benching.timing import alternate, machine, peak_memory, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["alternate", "machine", "peak_memory", "ratio", "run_sections", "save", "show"]


def show(rows: list[dict[str, object]]) -> None:
    """Print rows as a Markdown table."""
    print(markdown(rows), end="", flush=True)


def save(rows: list[dict[str, object]], path: str | None) -> None:
    """Write rows and the machine as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def run_sections(
    description: str | None, sections: dict[str, Callable[[int], list[dict[str, object]]]], rounds: int, note: str = ""
) -> None:
    """A benchmark's command line: run the sections asked for, all by default; show and save their rows.

    Args:
        description: The benchmark's docstring.
        sections: By name; each takes a number of rounds.
        rounds: How many; the default of `--rounds`.
        note: Added to the help of `--threads`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(sections)}; all by default")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, help=f"CPU threads; all by default{note}")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(sections)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}: expected some of {', '.join(sections)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(machine())
    rows: list[dict[str, object]] = []
    for name in arguments.sections or sections:
        print(f"\n{sections[name].__doc__}\n")
        part = sections[name](arguments.rounds)
        show(part)
        rows += part
    save(rows, arguments.json)
