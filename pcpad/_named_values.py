"""The names in a command line, configs or a checkpoint's settings: every word among their values, unsplit.

Others use these functions through `pcpad.trust`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pcpad._checkpoint_content import DEEPEST, refuse_many
from pcpad.bounded_yaml import TooManyValuesError, config_text, read_config, read_yaml
from pcpad.errors import UserValueError

__all__ = ["named_in", "named_values"]


def named_values(args: Iterable[str], configs: Iterable[Path] = ()) -> set[str]:
    """The names given by the user: the words among the values on a command line and in configs, unsplit.

    Args:
        args: The arguments.
        configs: Files among them; further ones are read where an option's value is the name of one.

    Returns:
        The values, without comments, options' names and parts of words.

    Raises:
        UserValueError: A value or a file is not valid YAML.
    """
    named = _Named()
    option = ""
    for arg in args:
        if arg.startswith("--"):
            option, equals, arg = arg.removeprefix("--").partition("=")
            if not equals:
                continue
        named.collect(arg, option.rstrip("+"), Path(), 0)
    for config in configs:
        named.collect(read_config(config), "", config.parent, 0)
    return named.found


def named_in(settings: Any) -> set[str]:
    """The words among a checkpoint's settings, unsplit; no file is opened whatever they say.

    Args:
        settings: See `plain_settings`.

    Returns:
        The words, those in texts of YAML or JSON included.
    """
    named = _Named(files=False)
    named.collect(settings, "", Path(), 0)
    return named.found


class _Named:
    """Collects words from values, from texts in them and from files that they name, and counts them.

    Args:
        files: Whether to read files that the values name.
    """

    def __init__(self, files: bool = True) -> None:
        self.found: set[str] = set()
        self._files = files
        self._count = 0
        self._within: set[Path] = set()

    def collect(self, value: Any, option: str, folder: Path, depth: int) -> None:
        self._count += 1
        refuse_many(self._count, "What the command names")
        if depth > DEEPEST:
            return
        if isinstance(value, Mapping):
            for key, item in value.items():
                name = option if key == "init_args" else f"{option}.{key}".lstrip(".")
                self.collect(item, name, folder, depth + 1)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.collect(item, option, folder, depth + 1)
        elif isinstance(value, str):
            self.found.add(value)
            if value.lstrip()[:1] in ("{", "[") or "\n" in value:
                self._collect_text(value, "a value", option, folder, depth)
            # A list of annotations is data, whatever it says; a part of the configuration is configuration.
            elif self._files and option and not option.startswith("data."):
                self._collect_file(folder / value, option, depth)

    def _collect_file(self, path: Path, option: str, depth: int) -> None:
        if path.suffix in (".yaml", ".yml", ".json") and path not in self._within and path.is_file():
            self._within.add(path)
            self._collect_text(config_text(path), str(path), option, path.parent, depth)
            self._within.remove(path)

    def _collect_text(self, text: str, source: str, option: str, folder: Path, depth: int) -> None:
        try:
            content = read_yaml(text, source)
        except TooManyValuesError:
            raise
        except UserValueError:
            return  # the value's user reports what is wrong with it, if anything
        if not isinstance(content, str):
            self.collect(content, option, folder, depth + 1)
