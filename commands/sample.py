"""`pcpad sample`: small data sets in the true on-disk formats."""

from __future__ import annotations

from pathlib import Path

from pcpad.commands.parser import Parser
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
    names = ", ".join(sorted(SAMPLES))
    parser = Parser(prog="pcpad sample", description=f"Write a small data set. There are: {names}.")
    parser.add_argument("name", metavar="NAME", help="which one")
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to write it; made if missing")
    given = parser.parse_args(args)
    if given.name not in SAMPLES:
        message = f"No sample {given.name!r}.{did_you_mean(given.name, SAMPLES)} There are: {names}."
        raise UserValueError(message)
    say(SAMPLES[given.name](given.folder))
