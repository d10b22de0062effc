"""Options that follow from what varies: `--set model.weights='pre/{padding}_{seed}.ckpt'`, and `{after}` in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pcpad.commands.comparison.axes import names_of, read_option, refuse_typed
from pcpad.commands.comparison.grid import SEED, Cell, Grid, short_name
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.errors import UserFileNotFoundError, UserValueError, did_you_mean

# What `{after}` stands for: which checkpoint of the earlier comparison's run.
AFTER = {"after": "best", "after_last": "last"}
_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_WEIGHTS = (".ckpt", ".pt", ".pth", ".safetensors")


def read_templates(
    typed: Sequence[str], after: str | None, axes: Sequence[str], typed_options: Sequence[str]
) -> dict[str, str]:
    """Read `--set`.

    Args:
        typed: `OPTION=TEXT` each.
        after: The folder of an earlier comparison, where one is given.
        axes: The options that vary.
        typed_options: Those of all runs.

    Returns:
        Option to text.

    Raises:
        UserValueError: A text names what does not vary, or an option is said twice.
    """
    found: dict[str, str] = {}
    for each in typed:
        option, text = read_option("--set", each, "OPTION=TEXT such as model.weights='pre/{padding}.ckpt'")
        if option in found or option in axes:
            message = f"--set {option}: it is set or varies already"
            raise UserValueError(message)
        words = dict.fromkeys(_words(text))
        known = [*names_of(axes), *(AFTER if after is not None else ())]
        for word in words:
            if word not in known:
                shown = ", ".join(f"{{{name}}}" for name in dict.fromkeys([*map(short_name, axes), *known]))
                message = f"--set {each}: {{{word}}} is none of {shown}; {{{{ and }}}} are braces."
                if word in AFTER:
                    message += f" {{{word}}} needs --after DIR, the folder of an earlier comparison."
                raise UserValueError(message + did_you_mean(word, known, form="'{{{}}}'"))
        found[option] = text
    refuse_typed(found, typed_options)
    if after is not None and not any(word in AFTER for text in found.values() for word in _words(text)):
        message = "--after has no effect without --set OPTION={after}: which option takes its checkpoints?"
        raise UserValueError(message)
    return found


def _words(text: str) -> Iterator[str]:
    for part in _PARTS.finditer(text):
        if part[2]:
            message = f"--set: a single {part[2]!r} in {text!r}: write {part[2] * 2} for a brace of the text's own"
            raise UserValueError(message)
        if part[1] is not None:
            yield part[1]


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PARTS.sub(lambda part: part[0][0] if part[1] is None else values[part[1]], text)


def filled(grid: Grid, cell: Cell) -> list[str]:
    """What a grid's templates are for a cell, as options.

    Runs that tune have a seed of their own, for which nothing was trained before: in templates it is the grid's first.
    """
    if not grid.templates:
        return []
    cell = _as_compared(grid, cell)
    values = {name: cell.values[option] for name, option in names_of(grid.axes).items()}
    if grid.after is not None:
        folder = Path(grid.after, predecessor(grid, cell).name, "checkpoints")
        values |= {word: str(folder / f"{which}.ckpt") for word, which in AFTER.items()}
    return [f"--{option}={_fill(text, values)}" for option, text in grid.templates.items()]


def _as_compared(grid: Grid, cell: Cell) -> Cell:
    seed = grid.values(SEED)[0] if cell.under else cell.seed
    return Cell({option: seed if option == SEED else cell.values[option] for option in grid.axes})


def predecessor(grid: Grid, cell: Cell) -> Cell:
    """The run of the earlier comparison that a cell starts from: that with the same values.

    Args:
        grid: The grid, with the earlier comparison's folder in `after`.
        cell: One of its cells.

    Returns:
        The run. An earlier comparison of one seed has it for all seeds.

    Raises:
        UserValueError: There is none, or there are several.
        UserFileNotFoundError: The folder is no comparison's.
    """
    assert grid.after is not None
    cell = _as_compared(grid, cell)
    earlier = read_grid(Path(grid.after))
    wanted = {}
    for option in earlier.axes:
        there = earlier.values(option)
        if option in grid.axes and not (option == SEED and len(there) == 1):
            wanted[option] = cell.values[option]
        elif len(there) > 1:
            message = (
                f"The runs in {grid.after} vary in {short_name(option)} ({', '.join(there)}), those asked for do not: "
                "which of them does each start from? Give --after a folder of one, or let both vary"
            )
            raise UserValueError(message)
    found = [each for each in earlier.cells if all(each.values[option] == value for option, value in wanted.items())]
    if not found:
        words = ", ".join(f"{short_name(option)}={value}" for option, value in wanted.items())
        message = f"{cell.name} starts from a run in {grid.after} with {words}, and there is none: run it there first"
        raise UserValueError(message)
    return found[0]


def check_templates(grid: Grid) -> None:
    """Raise an error where a cell would start from a file that is not there, or from no run of an earlier comparison.

    Runs of that comparison may still be under way: see `pcpad.commands.comparison.cells.waits_for`.
    """
    missing: dict[str, str] = {}
    for cell in [*grid.cells, *grid.tune_cells]:
        for option, text in zip(filled(grid, cell), grid.templates.values(), strict=True):
            path = option.partition("=")[2]
            earlier = any(word in AFTER for word in _words(text))
            if not earlier and path.endswith(_WEIGHTS) and "://" not in path and not Path(path).is_file():
                missing.setdefault(path, cell.name)
    if missing:
        shown = "; ".join(f"{path} (of {name})" for path, name in list(missing.items())[:5])
        more = f"; and {len(missing) - 5} more" if len(missing) > 5 else ""
        message = f"--set names files that are not there: {shown}{more}"
        raise UserFileNotFoundError(message)
