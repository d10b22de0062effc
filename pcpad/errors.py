"""Errors whose message is for the user, under one base class, and the hint that many of them end with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "UserError",
    "UserFileExistsError",
    "UserFileNotFoundError",
    "UserModuleNotFoundError",
    "UserRuntimeError",
    "UserTypeError",
    "UserValueError",
    "did_you_mean",
]


class UserError(Exception):
    """An error that the user can fix; the message says what was given, what was expected and what to do.

    The `pcpad` command prints the message alone, without a traceback. Every other exception is a bug, and keeps its
    traceback. Each subclass is one of Python's own kinds of error too, so that `except ValueError` catches it. Raise
    them, or subclasses of your own, in tasks, data modules and evaluators of your own.
    """


class UserValueError(UserError, ValueError):
    """An invalid value."""


class UserTypeError(UserError, TypeError):
    """An object of an invalid type."""


class UserFileNotFoundError(UserError, FileNotFoundError):
    """A file or folder that does not exist."""


class UserFileExistsError(UserError, FileExistsError):
    """A file or folder that exists already."""


class UserModuleNotFoundError(UserError, ModuleNotFoundError):
    """An optional package that is not installed."""


class UserRuntimeError(UserError, RuntimeError):
    """Something that cannot be done in the current state."""


def did_you_mean(
    name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.4, form: str = "{}", between: str = " or "
) -> str:
    """The hint at the end of an error about an unknown name.

    Args:
        name: The unknown name.
        known: The known names.
        most: How many near names to give.
        cutoff: How near a name must be, in [0, 1]; 1 is equal.
        form: How a name is written: `"--model.{}"`, `"'{}'"`.
        between: The text between two names.

    Returns:
        ` Did you mean X?` or ` Did you mean X or Y?`, with a space in front; nothing where no name is near.

    Example:
        >>> did_you_mean("partal", ["zeros", "partial"])
        ' Did you mean partial?'
    """
    near = difflib.get_close_matches(str(name), list(known), n=most, cutoff=cutoff)
    return f" Did you mean {between.join(map(form.format, near))}?" if near else ""
