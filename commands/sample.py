"""`pcpad sample`: small data sets in the true on-disk formats."""

from __future__ import annotations

from pcpad.commands.parser import Parser, path_name
from pcpad.datamodules.samples import SAMPLES
from pcpad.errors import UserValueError, did_you_mean
from pcpad.terminal import say


def main(args: list[str]) -> None:
    """Write one of the sample data sets.

    Args:
        args: `NAME DIR`.

    Raises:
        FileExistsError: DIR holds something else.
        ValueError: There is no sample of that name.
    """
    given = parser().parse_args(args)
    names = ", ".join(sorted(SAMPLES))
    if given.name not in SAMPLES:
        message = f"No sample {given.name!r}.{did_you_mean(given.name, SAMPLES)} There are: {names}."
        raise UserValueError(message)
    say(SAMPLES[given.name](given.folder))


def parser() -> Parser:
    """Of the command line."""
    names = ", ".join(sorted(SAMPLES))
    made = Parser(prog="pcpad sample", description=f"Write a small data set. There are: {names}.")
    made.add_argument("name", metavar="NAME", help="which one")
    made.add_argument("folder", metavar="DIR", type=path_name, help="where to write it; made if missing")
    return made
