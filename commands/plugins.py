"""Classes and functions from elsewhere: modules of the user's folder, plugins, and the suite's own by short name."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.trust import loaded_modules as _loaded

__all__ = ["allow_modules_of", "import_named", "load_plugins", "load_user_modules", "take_imports"]

_GROUP = "pcpad.plugins"
# The packages whose classes go by their short names on the command line.
_HOMES = (
    "pcpad.tasks",
    "pcpad.tasks.callbacks",
    "pcpad.tasks.evaluation",
    "pcpad.tasks.schedules",
    "pcpad.datamodules",
)


class _FolderFinder:
    """Finds modules in the current folder: those that the user typed, and what these import from beside them.

    It stands last in `sys.meta_path`, so an installed module of the same name always wins, and `sys.path` stays as it
    is: nothing else that happens to lie in the folder can be imported, least of all because a checkpoint names it.
    """

    def __init__(self) -> None:
        self.typed: set[str] = set()
        self.found: dict[str, str] = {}

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        """Python's interface for finders; modules inside of packages are found without this one."""
        if path is not None or not (name in self.typed or self._asked_by_found()):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, [str(Path.cwd())])
        if spec is None or spec.origin is None:
            return None
        self.found[name] = spec.origin
        return spec

    def _asked_by_found(self) -> bool:
        """Whether the import statement stands in a module that was itself found here."""
        frame = sys._getframe(2)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back  # type: ignore[assignment]
        name = frame.f_globals.get("__name__", "") if frame is not None else ""
        return str(name).partition(".")[0] in self.found


_finder = _FolderFinder()


def allow_modules_of(named: Iterable[str]) -> None:
    """Allow the import, from the current folder, of modules of what the user named.

    Args:
        named: Values, each whole, see `pcpad.trust.named_values`; `mine.MyTask` allows `mine`.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    _finder.typed |= {name.partition(".")[0] for name in named if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", name)}


def load_user_modules(names: Sequence[str]) -> None:
    """Import the modules that `--import` or a config's `imports` name, so that what they register is there.

    Args:
        names: Such as `mine` or `my.paddings`: installed, or a file of the current folder.

    Raises:
        UserModuleNotFoundError: There is no such module.
        UserValueError: It is no module's name.
    """
    allow_modules_of(())
    for name in names:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            message = f"Expected --import to be a module such as mine (for mine.py) or my.paddings, but got {name!r}"
            raise UserValueError(message)
        _finder.typed.add(name.partition(".")[0])
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # a module that it imports in turn
            message = f"--import {name}: {_missing(name)}"
            raise UserModuleNotFoundError(message, name=name) from error
        _loaded.add(name)


def _missing(name: str) -> str:
    """Why there is no module of that name; of a file's name, what it is called instead."""
    module = name.removesuffix(".py")
    if module != name:
        place = "" if Path(f"{module.replace('.', '/')}.py").is_file() else f", which {Path.cwd()} does not have"
        return f"a module is named without its ending: --import {module} loads {module.replace('.', '/')}.py{place}"
    return f"no such module, neither installed nor as {name.replace('.', '/')}.py in {Path.cwd()}"


def take_imports(args: Sequence[str]) -> list[str]:
    """Load what `--import MODULE` names on a command line.

    Args:
        args: The arguments; the option may be repeated, and be written `--import=MODULE`.

    Returns:
        The arguments without it.
    """
    names, rest = split_imports(args)
    load_plugins()
    load_user_modules(names)
    return rest


def split_imports(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The modules that `--import` names, or `--imports` as a config's list would, and the other arguments.

    Raises:
        UserValueError: One of them is the last word.
    """
    names, rest = [], []
    left = iter(args)
    for arg in left:
        option, equals, value = arg.partition("=")
        if option not in ("--import", "--imports", "--imports+"):
            rest.append(arg)
            continue
        value = value if equals else next(left, "")
        if not value:
            message = f"{option} needs a module: --import mine"
            raise UserValueError(message)
        names += [word for word in re.split(r"[\s,\[\]\"']+", value) if word]
    return names, rest


def load_plugins() -> None:
    """Import the entry points `pcpad.plugins` of installed packages; warn of one that fails."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=_GROUP):
        try:
            entry.load()
        except Exception as error:
            warnings.warn(f"The plugin {entry.name} ({entry.value}) cannot be loaded: {error!r}", stacklevel=2)


def import_named(named: Iterable[str], options: Iterable[str] = ()) -> None:
    """Import the suite's classes that are named, which is what makes their short names known to LightningCLI.

    Importing all of them would take as long again as the rest of the start.

    Args:
        named: Values, each whole: see `pcpad.trust.named_values`. Where none of ours is among them, nor a class from
            elsewhere, all are imported, for messages.
        options: The command line; where it asks for help all are imported, too.
    """
    names = {value for value in named if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", value)}
    short = {name.rpartition(".")[2] for name in names}
    homes = [importlib.import_module(home) for home in _HOMES]
    ours = [(home, name) for home in homes for name in home.__all__]
    wanted = [(home, name) for home, name in ours if name in short]
    elsewhere = any("." in name and name.rpartition(".")[2][:1].isupper() for name in names)
    words = [option.partition("=")[0] for option in options]
    asks_help = any(word in ("-h", "--help") or word.endswith(".help") for word in words)
    for home, name in ours if asks_help or not (wanted or elsewhere) else wanted:
        getattr(home, name)
