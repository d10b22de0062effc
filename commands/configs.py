"""`pcpad configs`: the packaged recipes."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from pcpad.commands.recipes import description, packaged_recipes


def main(args: list[str]) -> None:
    """List the packaged recipes with their descriptions.

    Args:
        args: The arguments after `configs`; there are none but `--help`.
    """
    parser = argparse.ArgumentParser(
        prog="pcpad configs",
        description="List the packaged recipes. `pcpad fit --config NAME --print_config` prints one in full.",
    )
    parser.parse_args(args)
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for name, path in packaged_recipes().items():
        table.add_row(name, description(path))
    Console().print(table)
