"""Modules of a user's own that the command line names: `--import my.paddings`."""

from __future__ import annotations

from importlib import import_module

from pcpad.errors import UserValueError

__all__ = ["take_imports"]


def take_imports(args: list[str]) -> list[str]:
    """Load the modules that a command line names.

    Args:
        args: The arguments after the verb.

    Returns:
        The same without `--import MODULE` and `--import=MODULE`.

    Raises:
        ValueError: A name is missing.
    """
    rest: list[str] = []
    arguments = iter(args)
    for argument in arguments:
        option, equals, name = argument.partition("=")
        if option != "--import":
            rest.append(argument)
            continue
        name = name if equals else next(arguments, "")
        if not name:
            message = "--import needs the name of a module"
            raise UserValueError(message)
        import_module(name)
    return rest
