"""`pcpad figure`: the papers' pictures, from checkpoints, networks and images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pcpad.bounded_yaml import read_yaml
from pcpad.commands.figures import FIGURES
from pcpad.commands.outputs import refuse_figure
from pcpad.commands.parser import Parser, verb_parser
from pcpad.commands.plugins import take_imports
from pcpad.errors import UserValueError, did_you_mean


def main(args: list[str]) -> None:
    """Draw one of the figures.

    Args:
        args: `NAME`, and its options.

    Raises:
        ValueError: There is no figure of that name.
    """
    lines = "\n".join(f"  {name:<14} {text}" for name, (_, text) in FIGURES.items())
    parser = verb_parser(
        "figure",
        "Draw a figure.",
        f"figures:\n{lines}\n\n`pcpad figure NAME --help` shows a figure's options.",
        allow_abbrev=True,
    )
    parser.add_argument("name", metavar="NAME", help="which one")
    if not args or args[0].startswith("-"):
        parser.parse_args(args)
        return
    name, *args = take_imports(args)
    if name not in FIGURES:
        message = f"No figure {name!r}.{did_you_mean(name, FIGURES)} There are: {', '.join(FIGURES)}."
        raise UserValueError(message)
    module, own = _figure(name)
    rest, data = take_data_options(args)
    given = own.parse_args(rest)
    if data and not hasattr(given, "data_options"):
        own.error(f"this figure reads no data set: --data.{next(iter(data))} has no effect here")
    given.data_options = data
    refuse_figure(given)
    module.draw(given)


def parser(name: str) -> Parser:
    """Of a figure's command line."""
    return _figure(name)[1]


def _figure(name: str) -> tuple[Any, Parser]:
    module_name, text = FIGURES[name]
    module = import_module(f"pcpad.commands.figures.{module_name}")
    own = Parser(prog=f"pcpad figure {name}", description=f"Draw {text}.", epilog=module.__doc__, allow_abbrev=False)
    module.add_arguments(own)
    return module, own


def take_data_options(args: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into `--data.NAME VALUE` and the rest.

    Args:
        args: The arguments.

    Returns:
        What is left, and the values by name, read as YAML.

    Raises:
        ValueError: A value is missing.
    """
    rest: list[str] = []
    found: dict[str, Any] = {}
    arguments = iter(args)
    for argument in arguments:
        if not argument.startswith("--data."):
            rest.append(argument)
            continue
        name, equals, value = argument.removeprefix("--data.").partition("=")
        if not equals:
            value = next(arguments, "")
        if not name or not value:
            message = f"{argument} needs a value: --data.NAME VALUE"
            raise UserValueError(message)
        found[name] = read_yaml(value, f"--data.{name}")
    return rest, found
