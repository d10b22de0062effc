"""What a checkpoint may import, build and touch. All rules are here; other modules only ask.

A checkpoint is a file from someone. It names classes: its task, its data module, their optimizers and schedules. To
build a class is to import its module, and that runs code. So of what a checkpoint names

- the suite's own classes and PyTorch's optimizers and schedules are taken, if they are networks, tasks, data modules,
  optimizers or schedules *and* are defined there (`pcpad.files.os.system` is not pcpad's),
- anything is taken that the user named, as a whole value: typed, or in a config,
- anything defined in a module is taken that the user had loaded, by `--import` or `imports`.

All else is refused. Checking a checkpoint's text beforehand is not enough: a class can be named by a string, by JSON
within a string, by a short name, by old keys. So `Trust.watch` checks every name at the moment when jsonargparse
resolves it. There it also keeps strings of a checkpoint from being opened as configuration files.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from pcpad._checkpoint_content import check_layout, plain_settings, refuse_many, state_of_run
from pcpad._named_values import named_in, named_values
from pcpad._renamed import present_path
from pcpad.bounded_yaml import TooManyValuesError, bound_jsonargparse, read_yaml
from pcpad.errors import UserRuntimeError, UserValueError

__all__ = [
    "Trust",
    "check_layout",
    "imported",
    "loaded_modules",
    "loading",
    "named_in",
    "named_values",
    "plain_settings",
    "state_of_run",
    "trusting",
]

_OWN = (
    "pcpad.tasks.",
    "pcpad.datamodules.",
    "pcpad.models.",
    "pcpad.losses.",
    "pcpad.metrics.",
    "torch.optim.",
    "lightning.pytorch.cli.",  # its ReduceLROnPlateau
    "lightning.pytorch.demos.boring_classes.",
)
# What may be built unasked: by name, so that Lightning need not be imported.
_HARMLESS = {
    "torch.nn.modules.module.Module",
    "torch.optim.optimizer.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "lightning.pytorch.core.datamodule.LightningDataModule",
}
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

loaded_modules: set[str] = set()
"""The modules that the user had loaded by name."""
_named_by_program: set[str] = set()
_watched: ContextVar[Trust | None] = ContextVar("_watched", default=None)


@contextmanager
def trusting(*names: str) -> Iterator[None]:
    """Let checkpoints that are loaded from Python name further classes.

    Args:
        names: Import paths: `"timm.optim.Lion"`.

    Yields:
        Nothing.

    Example:
        >>> with trusting("timm.optim.Lion"):
        ...     pass  # ClassificationTask.load_from_checkpoint("best.ckpt")
    """
    added = set(names) - _named_by_program
    _named_by_program.update(added)
    try:
        yield
    finally:
        _named_by_program.difference_update(added)


@contextmanager
def loading(checkpoint: Any, kind: type) -> Iterator[None]:
    """Watch over a class's `load_from_checkpoint`, unless that is done already.

    Args:
        checkpoint: The file, for errors.
        kind: The class. Whoever calls it trusts the module it is defined in.

    Yields:
        Nothing.

    Raises:
        UserValueError: The checkpoint asks for a class from elsewhere.
    """
    if _watched.get() is not None:
        yield
        return
    homes = {base.__module__ for base in inspect.getmro(kind)}
    ours = (*_OWN, "torch.", "lightning.", "builtins.")
    trust = Trust(checkpoint, modules={home for home in homes if not f"{home}.".startswith(ours)})
    with trust.watch():
        yield


class Trust:
    """The names that one checkpoint may use.

    Args:
        source: The checkpoint, for errors.
        named: What the user named, exactly: see `named_values`.
        modules: Modules whose own classes are trusted, besides those that the user had loaded.
    """

    def __init__(self, source: str | Path, named: Iterable[str] = (), modules: Iterable[str] = ()) -> None:
        self.source = source
        self.named = set(named)
        self.modules = set(modules)
        self.refused: list[str] = []
        self._approved: list[Any] = []

    # Rules

    def may_import(self, path: Any) -> bool:
        """Whether the module of an import path may be imported; imports nothing."""
        if type(path) is not str or not _NAME.fullmatch(path):
            return False
        present = present_path(path)
        own = present.startswith(_OWN)
        return own or self._is_named(path) or self._in_loaded(path) or self._is_approved(path)

    def may_use(self, path: str, found: Any) -> bool:
        """Whether what an import path led to may be called."""
        if self._is_named(path) or any(found is known for known in self._approved):
            return True
        kinds = inspect.getmro(found) if inspect.isclass(found) else ()
        harmless = any(f"{kind.__module__}.{kind.__qualname__}" in _HARMLESS for kind in kinds)
        home = f"{getattr(found, '__module__', '')}."
        if present_path(path).startswith(_OWN):
            return harmless and home.startswith(_OWN)
        if not self._in_loaded(path):
            return False
        if inspect.isclass(found) or inspect.isroutine(found):
            return harmless or self._in_loaded(home)
        # An object defined in that module itself, not in one that it imports: `mine.logging.root`.
        return not inspect.ismodule(found) and _owner(path) is not None

    def _is_named(self, path: str) -> bool:
        return path in self.named or path in _named_by_program

    def _in_loaded(self, path: str) -> bool:
        return any(path.startswith(f"{name}.") for name in loaded_modules | self.modules)

    def _is_approved(self, path: str) -> bool:
        owner = _owner(path)
        found = vars(owner).get(path.rpartition(".")[2]) if owner is not None else None
        return found is not None and any(found is known for known in self._approved)

    def refusal(self, path: Any) -> str:
        """Say what is refused, and what to do; it is also kept in `refused`."""
        message = (
            f"{self.source} asks for the class {path!r}, which is not pcpad's. Importing it runs its code: if you "
            "trust it, name it yourself: with --import, --model or --data, in a --config, or from Python with "
            "pcpad.trust.trusting"
        )
        self.refused.append(message)
        return message

    # Asking

    def check(self, settings: Any) -> None:
        """Refuse class paths that are found in settings, before any work.

        Args:
            settings: Plain values, see `plain_settings`.

        Raises:
            UserValueError: A class path that may not be imported.
        """
        stack, seen = [settings], 0
        while stack:
            value, seen = stack.pop(), seen + 1
            refuse_many(seen, self.source)
            if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                try:
                    value = read_yaml(value, f"{self.source}: a value")
                except TooManyValuesError:
                    raise
                except UserValueError:
                    continue  # words in brackets
            if isinstance(value, Mapping):
                for key in ("class_path", "_class_path"):
                    path = value.get(key)
                    # A name without dots must be loaded already; `watch` checks it.
                    if path is None or (type(path) is str and "." not in path):
                        continue
                    if not self.may_import(path):
                        raise UserValueError(self.refusal(path))
                stack += value.values()
            elif isinstance(value, (list, tuple)):
                stack += value

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Check every name that jsonargparse resolves in this block, wherever it came from.

        Yields:
            Nothing.

        Raises:
            UserValueError: In place of an error or exit that is due to a refusal.
            UserRuntimeError: This version of jsonargparse resolves names in other ways than the known ones.
        """
        with ExitStack() as stack:
            stack.callback(_watched.reset, _watched.set(self))
            for module, name, replacement in self._replacements():
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, replacement)
            bound_jsonargparse()
            try:
                yield
            except (Exception, SystemExit) as error:
                # What argparse prints before it exits says no more than which argument it was.
                due = [text for text in self.refused if isinstance(error, SystemExit) or text in str(error)]
                if due and not isinstance(error, UserValueError):
                    raise UserValueError(due[0]) from error
                raise

    def _replacements(self) -> list[tuple[Any, str, Any]]:
        import jsonargparse

        __import__("jsonargparse._typehints")
        home = sys.modules["jsonargparse._util"]
        hints = sys.modules["jsonargparse._typehints"]
        modules = [module for name, module in sys.modules.items() if name.startswith("jsonargparse.")]
        found: list[tuple[Any, str, Any]] = []
        for owner, name, wrap in (
            (home, "import_object", self._importing),
            (hints, "resolve_class_path_by_name", self._resolving),
            (hints, "adapt_typehints", self._adapting),
            (home, "parse_value_or_config", self._reading),
        ):
            plain: Any = getattr(owner, name, None)
            places = [module for module in modules if plain is not None and vars(module).get(name) is plain]
            if hints not in places:
                message = (
                    f"jsonargparse {jsonargparse.__version__} is newer than this pcpad, which cannot tell what it "
                    "would import for a checkpoint: pip install 'jsonargparse==4.53.0'"
                )
                raise UserRuntimeError(message)
            replacement = wrap(plain)
            found += [(module, name, replacement) for module in places]
        if hasattr(hints, "check_import_path"):  # for arguments that are modules
            found.append((hints, "check_import_path", self._naming(hints.check_import_path)))
        return found

    def _importing(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def import_object(name: Any, *args: Any, **options: Any) -> Any:
            if options.get("check_path") is False:  # a name in code
                return plain(name, *args, **options)
            if type(name) is not str or not _NAME.fullmatch(name):
                message = f"Expected an import path such as mine.MyTask, but got {name!r}"
                raise ValueError(message)
            if not self.may_import(name):
                raise ImportError(self.refusal(name))
            found = plain(name, *args, **options)
            if not self.may_use(name, found):
                raise ImportError(self.refusal(name))
            self._approved.append(found)
            return found

        return import_object

    def _resolving(self, plain: Callable[..., str]) -> Callable[..., str]:
        def resolve_class_path_by_name(cls: Any, name: Any) -> str:
            path = plain(cls, name)
            if path != name and name in self.named:
                self.named.add(path)
            return path

        return resolve_class_path_by_name

    def _adapting(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def adapt_typehints(val: Any, *args: Any, **options: Any) -> Any:
            if options.get("enable_path") and isinstance(val, str) and val not in self.named:
                options["enable_path"] = False
            return plain(val, *args, **options)

        return adapt_typehints

    def _reading(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def parse_value_or_config(value: Any, enable_path: bool = True, **options: Any) -> Any:
            text = getattr(value, "val", value)
            return plain(value, enable_path=enable_path and isinstance(text, str) and text in self.named, **options)

        return parse_value_or_config

    def _naming(self, plain: Callable[[str], None]) -> Callable[[str], None]:
        def check_import_path(path: str) -> None:
            plain(path)
            if not (self._is_named(path) or self._in_loaded(f"{path}.")):
                raise ImportError(self.refusal(path))

        return check_import_path


def _owner(path: str) -> Any:
    """The module of an import path, if it is loaded already."""
    return sys.modules.get(path.rpartition(".")[0])


def imported(path: str) -> Any:
    """Import what an import path names, if allowed: anything, except while a checkpoint's settings are used.

    Args:
        path: Such as `albumentations.HorizontalFlip`.

    Returns:
        The object.

    Raises:
        UserValueError: A checkpoint asks for it, and the user did not name it.
        ImportError: There is no such module.
        AttributeError: It has no such name.
    """
    trust = _watched.get()
    if trust is not None and not trust.may_import(path):
        raise UserValueError(trust.refusal(path))
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    if trust is not None and not trust.may_use(path, found):
        raise UserValueError(trust.refusal(path))
    return found
