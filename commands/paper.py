"""`pcpad paper`: the papers' tables and figures from runs, ours beside the published values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pcpad.commands.papers.drawing import draw, made_by
from pcpad.commands.papers.lines import LEVEL
from pcpad.commands.papers.making import alone, beside, missing_runs, read_stand_ins
from pcpad.commands.papers.measured import KINDS
from pcpad.commands.papers.published import find, published_figures, published_tables
from pcpad.commands.papers.trained import Found, read_folders
from pcpad.commands.papers.writing import FORMATS
from pcpad.commands.parser import Parser, path_name, verb_parser
from pcpad.errors import UserValueError
from pcpad.files import refuse_dear, refuse_no_folder, refuse_replacing, write_text
from pcpad.tables import Table
from pcpad.terminal import for_terminal, say

_DESCRIPTION = """\
Print the papers' tables with your runs in them: the paper's rows and columns, ours below each published row. Networks
that a paper does not have get rows of their own. A figure is drawn from the checkpoints of the runs.
"""
_EXAMPLES = """\
examples:
  pcpad paper list
  pcpad paper 2018:T2 2018:T3 --runs runs/compare/cls_rn50
  pcpad paper 2018:T2 --runs runs/compare/small --as resnet50=resnet18
                                       what another network achieved in the rows of the paper's
  pcpad paper 2018:T1 --runs vgg.json resnet.json      files of `pcpad bench --json`
  pcpad paper all --runs runs --format latex --output tables.tex
  pcpad paper 2018:F6 --runs runs/compare/seg_wn38 --output F6.png -- --size 1024
                                       what follows -- are options of the `pcpad figure` that draws it
"""


def main(args: list[str]) -> None:
    """List, print or draw.

    Args:
        args: See `pcpad paper --help`.

    Raises:
        SystemExit: 1 where a file of a run is damaged, after all that there is has been printed.
        ValueError: The papers have no such table or figure; it cannot be made of these runs.
        FileNotFoundError: There is no such folder, or no run in it.
    """
    own, further = _at_dashes(args)
    given = parser().parse_args(own)
    if given.name == ["list"]:
        _list()
        return
    everything = [name.casefold() for name in given.name] == ["all"]
    names = [*published_tables()] if everything else list(dict.fromkeys(map(find, given.name)))
    figures = [name for name in names if name not in published_tables() or (given.draw and name in published_figures())]
    if further and not figures:
        message = f"What follows -- are options of a figure, but {', '.join(names)} is none: {' '.join(further)}"
        raise UserValueError(message)
    if given.all_rows and (figures or not given.runs):
        message = f"--all-rows has no effect {'on figures' if figures else 'without --runs: then all rows are printed'}"
        raise UserValueError(message)
    _check_output(given, figures, names)
    found = read_folders(given.runs) if given.runs else None
    if given.output is not None:
        refuse_replacing([given.output], _read_from(given.runs or []), "--output FILE")
    stand_ins = read_stand_ins(given.stand_in, found or Found())
    if figures:
        draw(published_figures()[figures[0]], found, given.output, further)
    else:
        _tables(given, names, found, stand_ins, everything)
    if found is not None and found.damaged:
        for line in found.damaged:
            say(f"pcpad: {line}", file=sys.stderr)
        raise SystemExit(1)


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser("paper", _DESCRIPTION, _EXAMPLES)
    add = made.add_argument
    add("name", nargs="+", metavar="NAME", help="2018:T2, 2022:F9, …; `list` names them, `all` is every table")
    add(
        "--runs", nargs="+", type=path_name, metavar="DIR",
        help="folders of `pcpad compare`, of `pcpad fit` and `pcpad test`, or of many of these; for tables of times "
        "files of `pcpad bench --json`. Without it a table is printed as the paper has it",
    )  # fmt: skip
    add("--all-rows", action="store_true",
        help="keep the rows of the paper's networks that no run is of (default: one line names these)")  # fmt: skip
    add("--as", dest="stand_in", action="append", default=[], metavar="PAPER=OURS",
        help="the network OURS stands in the rows of the paper's network PAPER")  # fmt: skip
    add("--format", choices=FORMATS, default="text", help="of tables; LaTeX for booktabs (default: text)")
    add("--output", type=path_name, metavar="FILE", help="write tables there, or the figure (default: NAME.png)")
    add("--reach", type=_level, default=LEVEL, metavar="LEVEL",
        help=f"the accuracy that 2018:F3 counts epochs to (default: {LEVEL})")  # fmt: skip
    add("--draw", action="store_true", help="draw 2018:F3's curves instead of counting its epochs")
    return made


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = -1.0
    if not 0 < level <= 1:
        message = f"expected a fraction of 1 such as {LEVEL}, but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return level


def _at_dashes(args: Sequence[str]) -> tuple[list[str], list[str]]:
    place = args.index("--") if "--" in args else len(args)
    return list(args[:place]), list(args[place + 1 :])


def _check_output(given: argparse.Namespace, figures: Sequence[str], names: Sequence[str]) -> None:
    if figures and len(names) > 1:
        message = f"Figures are drawn one at a time, and tables apart from them, but got {', '.join(names)}"
        raise UserValueError(message)
    if given.output is None:
        return
    refuse_no_folder(given.output)
    if given.output.is_dir():
        message = f"Expected --output to be a file, but {given.output} is a folder."
        raise UserValueError(message)
    refuse_dear(given.output)


def _read_from(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        for pattern in ("grid.json", "results.json", "metrics.csv", "config.yaml", "*.ckpt"):
            yield from path.rglob(pattern)


def _list() -> None:
    rows = []
    for name in dict.fromkeys([*published_tables(), *published_figures()]):
        table, figure = published_tables().get(name), published_figures().get(name)
        if table is not None:
            title, made = table.title, f"yes, from {KINDS[table.kind].source}"
        if figure is not None:
            made = made_by(figure) if table is None else f"{made}; drawn with --draw"
            title = figure.title
        rows.append((_order(name), [name, title, made]))
    found = Table("", ["", "what it shows", "made here"], [row for _, row in sorted(rows)], texts=3, frame=False)
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False)
    console.print(found.rich())


def _order(name: str) -> tuple[str, bool, int]:
    paper, _, which = name.partition(":")
    return paper, which[0] == "F", int(which[1:])


def _tables(
    given: argparse.Namespace, names: Sequence[str], found: Found | None, stand_ins: dict[str, str], everything: bool
) -> None:
    tables = [published_tables()[name] for name in names]
    skipped = {}
    if found is not None and everything:
        skipped = {table.name: missing_runs(table, found) for table in tables}
    kept = [table for table in tables if skipped.get(table.name) is None]
    made = [
        alone(table) if found is None else beside(table, found, stand_ins, given.reach, all_rows=given.all_rows)
        for table in kept
    ]
    if not made:
        message = "None of the papers' tables can be made of these runs:\n" + "\n".join(map(str, skipped.values()))
        raise UserValueError(message)
    width = Console().width if sys.stdout.isatty() and given.output is None else None
    text = FORMATS[given.format](made, width)
    if given.output is None:
        print(for_terminal(text), end="")
    else:
        write_text(given.output, text)
        say(f"Written to {given.output}")
    for line in filter(None, skipped.values()):
        say(f"Not made: {line}", file=sys.stderr)
    for one in made if given.format == "csv" else ():  # which has no lines below its rows
        if one.left_out:
            say(f"{one.table.name}: {one.left_out}", file=sys.stderr)
