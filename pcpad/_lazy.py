"""Packages whose names are imported when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from pcpad._renamed import MODULES

__all__ = ["attach"]


def attach(
    package: str, names: Mapping[str, str], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make what a package's `__init__` needs so that importing it imports nothing else.

    `import package` then costs nothing, and `package.name`, `from package import name`, `from package import *`,
    `dir(package)`, pickling and class paths in configs work as if everything had been imported. Type checkers do not
    see the names; tell them by importing each as itself under `TYPE_CHECKING`:

        if TYPE_CHECKING:
            from pcpad.metrics.border import BorderIoU as BorderIoU

            __all__: list[str]
        else:
            __getattr__, __dir__, __all__ = attach(__name__, {"BorderIoU": "pcpad.metrics.border"})

    Args:
        package: The package's `__name__`.
        names: Public name to the module that defines it. Modules named here that lie in the package are its attributes
            too. A name may be the same as its module's: it means what the module defines, as it would after
            `from package.name import name`.
        modules: Other modules of the package, available as attributes.

    Returns:
        The package's `__getattr__`, `__dir__` and `__all__`. The last holds the names, without modules.

    Example:
        >>> import pcpad.metrics
        >>> "BorderIoU" in dir(pcpad.metrics), pcpad.metrics.BorderIoU.__module__
        (True, 'pcpad.metrics.border')
    """
    parts = {module.rpartition(".")[2] for module in names.values() if module.rpartition(".")[0] == package}
    parts |= set(modules)
    owner = sys.modules[package]
    both = parts & set(names)

    def get(name: str) -> Any:
        if name in names:
            value = getattr(import_module(names[name]), name)
        elif name in parts or f"{package}.{name}" in MODULES:  # the second are paths of earlier versions
            value = import_module(f"{package}.{name}")
        else:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=owner)
        if name not in both:
            setattr(owner, name, value)  # so that this function is asked once
        return value

    def names_and_modules() -> list[str]:
        return sorted({*vars(owner), *names, *parts})

    if both:
        owner.__class__ = _public(both, get)
    return get, names_and_modules, sorted(names)


def _public(names: Iterable[str], get: Callable[[str], Any]) -> type[ModuleType]:
    """A class of packages in which some public names are those of the modules that define them.

    Importing such a module binds it in its package, where it would hide what is public under its name; a property
    cannot be hidden.
    """

    def value_of(name: str) -> property:
        return property(lambda _: get(name), lambda _, module: None)

    return type("Package", (ModuleType,), {name: value_of(name) for name in names})
