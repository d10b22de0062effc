"""The argument parser of verbs that are not the trainer's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from pcpad.errors import UserValueError, did_you_mean
from pcpad.files import at_home
from pcpad.terminal import for_terminal

__all__ = [
    "Parser",
    "add_import_option",
    "count",
    "file_name",
    "numbers",
    "path_name",
    "some_of",
    "verb_parser",
    "words",
]


def file_name(text: str) -> str:
    """The type of an argument that names a file or a folder, in words; see `pcpad.files.FileName`."""
    path = str(path_name(text))
    return path if text.startswith("~") else text


def path_name(text: str) -> Path:
    """The type of an argument that names a file or a folder."""
    try:
        return at_home(text)
    except UserValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def words(text: str) -> list[str]:
    """The type of an argument of several names, each once: `zeros,partial`."""
    found = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        message = f"expected names with commas between them, but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return found


def some_of(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an argument of several names out of those that there are."""

    def read(text: str) -> list[str]:
        found = words(text)
        for word in found:
            if word not in allowed:
                message = f"expected some of {','.join(allowed)}, but got {word!r}"
                raise argparse.ArgumentTypeError(message)
        return found

    return read


def count(text: str) -> int:
    """The type of an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        message = f"expected a whole number of at least 1, but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def numbers(text: str) -> tuple[float, ...]:
    """The type of an argument of several numbers: `0.1,0.2`."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        message = f"expected numbers with commas between them, but got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors show typed text without its control characters.

    Its arguments are those of `argparse.ArgumentParser`.

    Attributes:
        meant: By a part of an unknown option's name, what is meant by it where no name is near.
    """

    meant: Mapping[str, str] = MappingProxyType({})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, with the option that was perhaps meant, and end with exit code 2."""
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        if message.startswith("unrecognized arguments") and unknown:
            known = [option for part, option in self.meant.items() if part in unknown[0]]
            message += did_you_mean(unknown[0], self._option_string_actions, cutoff=0.6) if not known else ""
            message += "".join(f" Did you mean {option}?" for option in known[:1])
        super().error(for_terminal(message))


def verb_parser(
    verb: str, description: str, epilog: str, *, usage: str | None = None, allow_abbrev: bool = False
) -> Parser:
    """The parser of a verb whose help is printed as it is written, line by line.

    Args:
        verb: `compare`, say.
        description: Above the options.
        epilog: Below them.
        usage: Instead of the one that follows from the options.
        allow_abbrev: Whether the beginning of an option stands for it.
    """
    return Parser(
        prog=f"pcpad {verb}",
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=allow_abbrev,
    )


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Add `--import` to a verb's help; `pcpad.commands.plugins.take_imports` reads it before the parser does.

    Args:
        parser: The verb's.
    """
    text = "load a module first, installed or a file of this folder: `mine` for mine.py; may be repeated"
    parser.add_argument("--import", dest="imports", action="append", metavar="MODULE", help=text)
