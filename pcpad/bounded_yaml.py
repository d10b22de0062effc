"""YAML from users and files: one reader, with errors of one sentence, which stops before a text expands.

An alias (`*name`) repeats what an anchor (`&name`) marks. Ten lines of ten aliases each stand for ten billion values:
cheap to hold, as they are one object, but every later pass over them takes hours. So the values that a text stands for
are counted before any are made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pcpad.errors import UserValueError
from pcpad.files import read_text

__all__ = [
    "LETTERS",
    "MOST_VALUES",
    "TooManyValuesError",
    "bound_jsonargparse",
    "config_text",
    "read_config",
    "read_yaml",
    "reading_once",
]

MOST_VALUES = 100_000
"""How many values a text with aliases may stand for. Without aliases there are no more than are written in it."""


LETTERS = 100
"""How many letters of a text count as a value."""
_kept: ContextVar[_Kept | None] = ContextVar("_kept", default=None)


class TooManyValuesError(UserValueError):
    """A text that stands for too many values, or for endlessly many."""


@dataclass
class _Kept:
    """The configuration files that were read, by path."""

    texts: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Any] = field(default_factory=dict)


@contextmanager
def reading_once() -> Iterator[None]:
    """Read each configuration file once in this block, also for jsonargparse, and reuse that content.

    A file that is checked first and read again later could have changed in between.

    Yields:
        Nothing.
    """
    token = _kept.set(_Kept())
    try:
        yield
    finally:
        _kept.reset(token)


def config_text(path: Path) -> str:
    """The text of a configuration file; see `reading_once` and `pcpad.files.read_text`."""
    kept = _kept.get()
    if kept is None:
        return read_text(path)
    key = os.path.abspath(path)  # noqa: PTH100  # as jsonargparse has it; links are followed when it is opened
    if key not in kept.texts:
        kept.texts[key] = read_text(path)
    return kept.texts[key]


def read_config(path: Path) -> Any:
    """Read a configuration file; see `reading_once`.

    Args:
        path: The file.

    Returns:
        Its value, not to be changed.

    Raises:
        UserValueError: It is not valid YAML, or repeats a key.
    """
    kept = _kept.get() or _Kept()
    key = os.path.abspath(path)  # noqa: PTH100
    if key not in kept.contents:
        kept.contents[key] = read_yaml(config_text(path), str(path), _EachKeyOnce)
    return kept.contents[key]


class _EachKeyOnce(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML's readers silently keep the last of repeated keys; this one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a dict of a mapping's node.

        Args:
            node: The mapping's node.
            deep: Whether to make what lies within it at once.

        Returns:
            Keys and values.

        Raises:
            UserValueError: It repeats a key; the message names both lines.
        """
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    message = (
                        f"{key.start_mark.name} repeats the key `{key.value}`, in lines {seen[key.value]} and {line}: "
                        "the second would replace the first. Remove one of them."
                    )
                    raise UserValueError(message)
                seen[key.value] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(text: str, source: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Read YAML, or JSON, which makes nothing but plain values.

    Args:
        text: Of a file, or typed.
        source: What it is, for the error.
        loader: Its reader, `yaml.SafeLoader` or a subclass.

    Returns:
        The value.

    Raises:
        UserValueError: It is not valid YAML, asks for Python objects, or (`TooManyValuesError`) stands for too many
            values.

    Example:
        >>> read_yaml("{a: &x [1, 2], b: *x}", "an example")
        {'a': [1, 2], 'b': [1, 2]}
    """
    try:
        reader = loader(text)
        reader.name = source
        node = _single_node(reader.get_single_node, source)
        return None if node is None else _constructed(reader.construct_document, node, source)
    except UserValueError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2001-99-99 is no date
        raise UserValueError(_unreadable(source, error)) from None


def bound_jsonargparse() -> None:
    """Apply these limits in jsonargparse, which reads every argument and config as YAML; calling it twice is harmless.

    It also reads only regular files then: it would open a pipe and wait for a writer.
    """
    from jsonargparse import _loaders_dumpers as loading
    from jsonargparse import _paths as paths

    loader: Any = loading.get_yaml_default_loader()  # type: ignore[no-untyped-call]  # private, without types
    if "get_single_node" in vars(loader):
        return
    plain, construct = loader.get_single_node, loader.construct_document

    def construct_document(self: Any, node: yaml.Node) -> Any:
        return _constructed(lambda node: construct(self, node), node, "a value")

    loader.construct_document = construct_document

    def get_single_node(self: Any) -> Any:
        return _single_node(lambda: plain(self), "a value")

    loader.get_single_node = get_single_node
    plain_text = paths.Path.read_text

    def text_of_file(self: Any) -> str:
        if self._std_io or self.is_url or self.is_fsspec:
            return plain_text(self)
        return config_text(Path(self.absolute))

    paths.Path.read_text = text_of_file  # type: ignore[method-assign]


def _single_node(compose: Callable[[], Any], source: str) -> Any:
    try:
        node = compose()
        found = _Size()
        values = 0 if node is None else found.of(node)
    except RecursionError:
        raise TooManyValuesError(_too_deep(source)) from None
    if found.loops:
        message = f"{source} contains itself by a YAML alias (*name): write out what is meant."
        raise TooManyValuesError(message)
    if found.aliases and values > MOST_VALUES:
        message = (
            f"{source} stands for more than {MOST_VALUES:,} values through YAML aliases (*name): write the values out, "
            "without aliases of aliases."
        )
        raise TooManyValuesError(message)
    return node


def _constructed(construct: Callable[[yaml.Node], Any], node: yaml.Node, source: str) -> Any:
    """Construct a node's value; PyYAML evaluates `!!int ""`, `!!bool maybe` and the like without checking them."""
    try:
        return construct(node)
    except RecursionError:
        raise TooManyValuesError(_too_deep(source)) from None
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        message = "a value is not what its tag (!!int, !!bool, !!timestamp, …) says"
        raise yaml.constructor.ConstructorError(problem=message) from error


def _too_deep(source: str) -> str:
    return f"{source} is nested too deeply to be read as YAML: write out what is meant with fewer brackets."


class _Size:
    """How many values a node stands for, each node visited once."""

    def __init__(self) -> None:
        self.aliases = self.loops = False
        self._known: dict[int, int] = {}

    def of(self, node: yaml.Node) -> int:
        """The number; a node in itself counts as none, and is noted."""
        if id(node) in self._known:
            self.aliases = True
            self.loops |= self._known[id(node)] == 0
            return self._known[id(node)]
        self._known[id(node)] = 0
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        own = 1 + (len(node.value) // LETTERS if isinstance(node, yaml.ScalarNode) else 0)
        self._known[id(node)] = own + sum(map(self.of, inside))
        return self._known[id(node)]


def _unreadable(source: str, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    problem = next(iter(str(getattr(error, "problem", None) or error).splitlines()), type(error).__name__)
    tag = re.search(r"for the tag '(?:tag:yaml\.org,2002:|!)?([^']*)'", problem)
    if tag is not None:
        tag_name = tag[1]
        return (
            f"{source}{place}: a tag (!{tag_name}) asks for something to be made of a value. Only plain values are "
            "read: write it without the tag; classes are named by `class_path`."
        )
    return f"{source}{place}: not valid YAML: {problem}"
