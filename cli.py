"""The `pcpad` command."""


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    raise SystemExit("not built yet")
