"""Deprecation warnings: what to use instead, since which version, and until which version.

    @deprecated(since="0.2.0", removed="0.4.0", use="pcpad.convert_padding")
    def convert(model): ...

Modules and names that have moved are handled by `pcpad._renamed`. A test fails as soon as the package's version is one
in which something of either kind was to be removed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["deprecated", "warn_renamed"]

T = TypeVar("T", bound=Callable[..., Any])


def deprecated(*, since: str, removed: str, use: str) -> Callable[[T], T]:
    """Let a function, method or class warn when it is called: a `FutureWarning`, once for each place that calls it.

    Python shows these warnings to everybody, unlike `DeprecationWarning`s. A class warns where it is instantiated and
    where a subclass of it is defined, and stays the same class. Editors see `__deprecated__`.

    Args:
        since: The version that deprecates it, `0.2.0`.
        removed: The first version without it.
        use: What takes its place, as one would import or call it.

    Returns:
        The decorator.

    Example:
        >>> @deprecated(since="0.2.0", removed="0.4.0", use="new_name")
        ... def old_name() -> int:
        ...     return 1
        >>> old_name.__deprecated__.partition("old_name")[2]
        ' is deprecated since pcpad 0.2.0 and will be removed in 0.4.0: use new_name.'
    """
    from typing_extensions import deprecated as marked  # in `warnings` from Python 3.13 on

    def _decorate(it: T) -> T:
        name = f"{it.__module__}.{it.__qualname__}"
        message = f"{name} is deprecated since pcpad {since} and will be removed in {removed}: use {use}."
        return marked(message, category=FutureWarning)(it)

    return _decorate


def warn_renamed(old: str, new: str, *, removed: str, stacklevel: int = 1) -> None:
    """Warn of the old name of an attribute, an option or a key, where there is no function to decorate.

    Of the processes that a launcher starts on a machine, only the first warns.

    Args:
        old: What was used.
        new: What it is called now.
        removed: The first version without the old name.
        stacklevel: Whose line is shown: 1 the caller's, 2 its caller's, and so on.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    message = f"{old} is called {new} now; the old name will be removed in pcpad {removed}."
    warnings.warn(message, FutureWarning, stacklevel=stacklevel + 1)
