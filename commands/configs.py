"""`pcpad configs`: the packaged recipes."""

from __future__ import annotations

from rich.console import Console

from pcpad.commands.parser import Parser
from pcpad.commands.recipes import description, packaged_recipes
from pcpad.tables import Table


def main(args: list[str]) -> None:
    """List the packaged recipes with their descriptions.

    Args:
        args: The arguments after `configs`; there are none but `--help`.
    """
    parser = Parser(
        prog="pcpad configs",
        description="List the packaged recipes. `pcpad fit --config NAME --print_config` prints one in full.",
    )
    parser.parse_args(args)
    rows = [(name, description(path)) for name, path in packaged_recipes().items()]
    Console().print(Table("", ["recipe", "what it is"], rows, texts=2, frame=False).rich())
