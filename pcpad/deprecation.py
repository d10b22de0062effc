"""Deprecation warnings: what to use instead, since which version, and until which version.

    @deprecated(since="0.2.0", removed="0.4.0", use="pcpad.convert_padding")
    def convert(model): ...

    @renamed_keywords(removed="0.4.0", colours="colors")
    def paint(label, colors): ...

Modules and names that have moved are handled by `pcpad._renamed`. A test fails as soon as the package's version is one
in which something of either kind was to be removed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from pcpad.errors import UserTypeError

__all__ = ["deprecated", "renamed_attributes", "renamed_keywords", "warn_renamed"]

T = TypeVar("T", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)


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


def renamed_keywords(*, removed: str, **present: str) -> Callable[[T], T]:
    """Let a function, a method or a class's constructor take keywords by their old names too, with a `FutureWarning`.

    A class stays the same class; dataclasses and named tuples are classes like any other, decorated from outside.

    Args:
        removed: The first version without the old keywords.
        present: Old keyword to the present one.

    Returns:
        The decorator. What it decorates raises TypeError where a call gives both.

    Example:
        >>> @renamed_keywords(removed="0.4.0", colours="colors")
        ... def count(colors: list[str]) -> int:
        ...     return len(colors)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     count(colours=["red"])
        1
        >>> str(caught[0].message)
        '`colours` of count is called `colors` now; the old name will be removed in pcpad 0.4.0.'
    """

    def _decorate(it: T) -> T:
        if not isinstance(it, type):
            return cast(T, _taking_old(it, it.__qualname__, present, removed))
        constructor = "__new__" if "__new__" in vars(it) else "__init__"  # a named tuple's is `__new__`
        setattr(it, constructor, _taking_old(getattr(it, constructor), it.__qualname__, present, removed))
        return it

    return _decorate


def _taking_old(function: Any, name: str, present: dict[str, str], removed: str) -> Any:
    @wraps(function)
    def with_present_names(*args: Any, **given: Any) -> Any:
        for old in present.keys() & given.keys() if given else ():
            new = present[old]
            if new in given:
                message = f"{name} got both `{new}` and `{old}`, its old name: pass `{new}` alone"
                raise UserTypeError(message)
            warn_renamed(f"`{old}` of {name}", f"`{new}`", removed=removed, stacklevel=2)
            given[new] = given.pop(old)
        return function(*args, **given)

    return with_present_names


class _RenamedAttribute:
    """The old name of an attribute: it still reads and writes the new one, and warns."""

    def __init__(self, old: str, new: str, removed: str) -> None:
        self.old, self.new, self.removed = old, new, removed

    def _warn(self, owner: type) -> None:
        warn_renamed(f"{owner.__name__}.{self.old}", self.new, removed=self.removed, stacklevel=3)

    def __get__(self, instance: Any, owner: type) -> Any:
        self._warn(owner)
        return getattr(owner if instance is None else instance, self.new)

    def __set__(self, instance: Any, value: Any) -> None:
        self._warn(type(instance))
        setattr(instance, self.new, value)


def renamed_attributes(*, removed: str, **present: str) -> Callable[[ClassT], ClassT]:
    """Keep a class's attributes and methods under their old names too, which warn with a `FutureWarning`.

    Args:
        removed: The first version without the old names.
        present: Old name to the present one.

    Returns:
        The decorator of the class.

    Example:
        >>> @renamed_attributes(removed="0.4.0", grey="gray")
        ... class File:
        ...     def gray(self) -> int:
        ...         return 7
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     File().grey()
        7
        >>> str(caught[0].message)
        'File.grey is called gray now; the old name will be removed in pcpad 0.4.0.'
    """

    def _decorate(kind: ClassT) -> ClassT:
        for old, new in present.items():
            setattr(kind, old, _RenamedAttribute(old, new, removed))
        return kind

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
