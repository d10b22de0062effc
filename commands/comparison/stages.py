"""Several comparisons in one file, of which later ones start from earlier ones: `--stages FILE`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcpad.commands.parser import Parser
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import at_home, read_text, refuse_irregular


@dataclass(frozen=True)
class Stage:
    """A comparison of several.

    Args:
        arguments: What would follow `pcpad compare`.
        where: The file and the line that it begins in; empty for the one that was typed.
    """

    arguments: list[str]
    where: str = ""


def stages_of(args: Sequence[str]) -> list[Stage]:
    """The comparisons that a command line asks for: those of its `--stages FILE`, else itself.

    Args:
        args: What follows `pcpad compare`. Beside `--stages` it may hold options for all of them.

    Returns:
        The comparisons, in order.

    Raises:
        UserFileNotFoundError: There is no such file.
        UserValueError: It holds no comparison, or something that is none.
    """
    place = list(args).index("--test") if "--test" in args else len(args)
    reader = Parser(prog="pcpad compare", add_help=False, allow_abbrev=False)
    reader.add_argument("--stages")
    given, typed = reader.parse_known_args(list(args[:place]))
    if given.stages is None:
        return [Stage(list(args))]
    if "-h" in typed or "--help" in typed:
        return [Stage(["--help"])]
    if place < len(args):
        message = "--test is said of one comparison: write it into its line of the file of --stages"
        raise UserValueError(message)
    return [Stage([*typed, *line.arguments], line.where) for line in read_stages(at_home(given.stages))]


def read_stages(path: Path) -> list[Stage]:
    """Read a file of comparisons.

    Args:
        path: One in each line, as typed, with or without `pcpad compare`. A line that ends in a backslash goes on in
            the next; what follows # is a comment.

    Returns:
        The comparisons, in order.

    Raises:
        UserFileNotFoundError: There is no such file.
        UserValueError: It holds no comparison, or something that is none.
    """
    refuse_irregular(path)
    if not path.is_file():
        message = f"No such file: {path}. --stages expects one `pcpad compare` in each of its lines"
        raise UserFileNotFoundError(message)
    found: list[Stage] = []
    whole, begun = "", 0
    for number, line in enumerate([*read_text(path).splitlines(), ""], 1):
        begun = begun if whole else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            whole += line[:-1] + " "
            continue
        where, text, whole = f"{path}, line {begun}", whole + line, ""
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            message = f"{where}: {error}"
            raise UserValueError(message) from None
        if not words:
            continue
        if words[:2] == ["pcpad", "compare"]:
            words = words[2:]
        if not words or not words[0].startswith("-") or "--stages" in words:
            message = f"{where}: expected the options of one `pcpad compare`, but got {text.strip()!r:.80}"
            raise UserValueError(message)
        found.append(Stage(words, where))
    if not found:
        message = f"{path} holds no comparison: --stages expects one `pcpad compare` in each of its lines"
        raise UserValueError(message)
    return found
