"""How many kernels layers run and how many bytes these move: `python -m benchmarks.operations`.

Arithmetic kernels (without views and empty memory) and bytes read and written, for each layer and for the zero-padded
convolution, forward and backward separately, once everything is cached that is kept between calls. Counts are the same
on every machine; no device is needed. `--gpu` counts the code paths taken on a GPU. `--format` prints text, Markdown
or JSON. `--brief` prints one row per layer, size and dtype, forward + backward; `--before` adds the numbers of an
earlier version's JSON files.
"""

from __future__ import annotations

import argparse
import itertools
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pcpad.commands.benching.counted import DTYPES, LAYERS, SIZES, Case, measure
from pcpad.commands.benching.counting import as_on_a_gpu


def rows(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """The rows of each requested case."""
    cases = itertools.product(arguments.size, arguments.dtype, (True, False), (False, True), arguments.layer)
    with as_on_a_gpu() if arguments.gpu else nullcontext():
        return [
            measure(Case(layer, size, dtype, bias=bias, training=training))
            for size, dtype, bias, training, layer in cases
        ]


def brief(table: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A row for each layer, size and dtype: kernels forward + backward, and bytes over those of zero padding.

    Args:
        table: What `rows` returned.
        before: The same of an earlier version, or nothing.
    """
    names = ("layer", "size", "dtype", "mode", "bias")
    earlier = {tuple(row[name] for name in names): row for row in before}
    short: dict[tuple[str, ...], dict[str, object]] = {}
    for row in table:
        key = tuple(row[name] for name in names)
        line = short.setdefault(key[:3], dict(zip(names, key[:3], strict=False)))
        texts = [_in_brief(each) for each in (earlier.get(key), row) if each is not None]
        line[f"{row['mode']}, bias: {row['bias']}"] = " → ".join(texts)
    return list(short.values())


def _in_brief(row: dict[str, Any]) -> str:
    kernels, moved = str(row["forward"]), row["× zeros"]
    if row["mode"] == "training":
        return f"{kernels} + {row['backward']} (×{float(moved):.2f}, ×{float(row['× zeros ']):.2f})"
    return f"{kernels} (×{float(moved):.2f})"


def show(table: list[dict[str, object]], form: str) -> None:
    """Print the rows."""
    if form == "json":
        print(json.dumps(table, indent=1))
        return
    texts = [list(table[0])] + [[str(value) for value in row.values()] for row in table]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    bar = "| " if form == "markdown" else ""
    for index, line in enumerate(texts):
        print(
            bar + (" | " if bar else "  ").join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + bar[::-1]
        )
        if form == "markdown" and not index:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main() -> None:
    """Read the command line, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--gpu", action="store_true", help="count what runs on a GPU")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument("--brief", action="store_true", help="one row per layer, size and dtype")
    parser.add_argument("--before", nargs="+", type=Path, default=[], help="an earlier version's JSON; implies --brief")
    arguments = parser.parse_args()
    before = [row for path in arguments.before for row in json.loads(path.read_text(encoding="utf-8"))]
    table = rows(arguments)
    show(brief(table, before) if arguments.brief or before else table, arguments.format)


if __name__ == "__main__":
    main()
