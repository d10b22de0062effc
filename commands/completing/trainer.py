"""The options of `pcpad fit` and the like, read from the parser that reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from pcpad.commands.suite_cli import SuiteCLI

__all__ = ["parsed_options", "verb_parser"]


class _MadeError(Exception):
    """Carries the parser out of where it is made."""

    def __init__(self, parser: LightningArgumentParser) -> None:
        super().__init__()
        self.parser = parser


class _ParserAlone(SuiteCLI):
    """Ends where arguments would be parsed."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        raise _MadeError(self._subcommand_parsers[self.verb])


def verb_parser(verb: str) -> LightningArgumentParser:
    """The parser of `fit`, `validate`, `test` or `predict`.

    Args:
        verb: Which of them.
    """
    try:
        _ParserAlone(verb, [], name=None, remembered={})
    except _MadeError as made:
        return made.parser
    message = f"{verb} made no parser"
    raise AssertionError(message)


def parsed_options(verb: str) -> Iterator[tuple[list[str], str, list[str] | None]]:
    """All options of a verb.

    Args:
        verb: See `verb_parser`.

    Yields:
        The names of an option, the first sentence about it, and what it may be; None where that is no short list.
    """
    for action in verb_parser(verb)._actions:
        names = [name for name in action.option_strings if not name.endswith("+")]
        if not names or "-h" in names or action.help == argparse.SUPPRESS:
            continue
        said = " ".join(str(action.help or "").split()).partition(". ")[0]
        metavar = str(action.metavar)
        yield names, said, metavar.strip("{}").split(",") if metavar.startswith("{") else None
