"""Finding recipes: a file here, or one packaged with pcpad."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from pcpad.bounded_yaml import read_config
from pcpad.errors import UserFileNotFoundError, UserValueError, did_you_mean
from pcpad.files import at_home, read_text, refuse_irregular

_OF_COLORS = ("ignore", "classes")
_COLOR = re.compile(r"(^|[\s,:\[{])(#[0-9a-fA-F]{6})(?=$|[\s,\]}])")


def packaged_recipes() -> dict[str, Path]:
    """The recipes that come with pcpad.

    Returns:
        File name to path, sorted by name.
    """
    folder = Path(str(files("pcpad.configs")))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def description(recipe: Path) -> str:
    """The first line of a recipe, which describes it.

    Args:
        recipe: A YAML file.

    Returns:
        Its first line if that is a comment, without the `#`; else nothing.
    """
    first = read_text(recipe).partition("\n")[0]
    return first.lstrip("#").strip() if first.startswith("#") else ""


def find_recipe(name: str) -> str:
    """Resolve what was given as `--config`.

    Args:
        name: A file, a packaged recipe's name with or without `.yaml`, or a configuration written out as JSON.

    Returns:
        The path, or the JSON as it came.

    Raises:
        FileNotFoundError: It is none of these; the message suggests the nearest names.
    """
    if name.lstrip().startswith("{") or at_home(name).is_file():
        return name
    recipes = packaged_recipes()
    for candidate in (name, f"{name}.yaml"):
        if candidate in recipes:
            return str(recipes[candidate])
    refuse_irregular(name)
    hint = did_you_mean(Path(name).name, recipes, most=3, cutoff=0.5)
    message = (
        f"No config {name!r}: no such file from {Path.cwd()}, and no packaged recipe of that name.{hint} "
        "`pcpad configs` lists the packaged ones."
    )
    raise UserFileNotFoundError(message)


def resolve_configs(args: list[str]) -> list[str]:
    """Replace the names of packaged recipes on a command line by their paths.

    Args:
        args: The arguments after the verb.

    Returns:
        The same with every `--config`, in whichever of its spellings, written as `--config PATH`, and colors such as
        `--data.ignore #000000` in quotation marks: in YAML, as which values are read, they would be comments.
    """
    resolved: list[str] = []
    args = _with_colors(args)
    for option, value in _options(args):
        resolved += [option] if value is None else [option, find_recipe(value)]
    return resolved


def _with_colors(args: list[str]) -> list[str]:
    found, of_colors = [], False
    for arg in args:
        name, equals, value = arg.partition("=")
        is_option = arg.startswith("--")
        if is_option:
            of_colors = name.rstrip("+").rpartition(".")[2] in _OF_COLORS
        if of_colors and equals and is_option:
            arg = f"{name}={_marked(value)}"
        elif of_colors and not is_option:
            arg, of_colors = _marked(arg), False
        found.append(arg)
    return found


def _marked(value: str) -> str:
    marked = _COLOR.sub(r'\1"\2"', value)
    # A text's own marks would be part of it, where an option may be a text too; a list's are not.
    return f"[{marked}]" if _COLOR.fullmatch(value.strip()) else marked


def config_files(args: list[str]) -> list[Path]:
    """The configuration files on a command line.

    Args:
        args: What `resolve_configs` returned.

    Returns:
        Their paths, in order.
    """
    values = [value for _, value in _options(args) if value is not None]
    return [Path(value) for value in values if not value.lstrip().startswith("{")]


def configured_imports(configs: list[Path]) -> list[str]:
    """The modules that configuration files ask for under `imports`.

    Args:
        configs: Their paths.

    Returns:
        The modules' names, in order.

    Raises:
        UserValueError: Something else than a list of names; a key that a file says twice.
    """
    names: list[str] = []
    for config in configs:
        content = read_config(config)
        if not isinstance(content, dict):
            what = "it is empty" if content is None else f"got a {type(content).__name__}"
            message = f"Expected {config} to be a configuration, options and their values, but {what}"
            raise UserValueError(message)
        found = content.get("imports")
        if found is not None and not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
            message = f"Expected `imports` in {config} to be a list of modules, but got {found!r}"
            raise UserValueError(message)
        names += found or []
    return names


def _options(args: list[str]) -> Iterator[tuple[str, str | None]]:
    """Pairs of `--config` and its value; every other argument with None."""
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        if name in ("--config", "-c") and equals:
            yield "--config", value
        elif name in ("--config", "-c"):
            value = next(rest, "")
            yield ("--config", value) if value else (arg, None)
        else:
            yield arg, None
