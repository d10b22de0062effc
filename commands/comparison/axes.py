"""What varies in a grid, as it is typed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from pcpad.commands.comparison.grid import PADDING, SEED, Cell, short_name
from pcpad.errors import UserValueError, did_you_mean
from pcpad.paddings import check_padding

# What the grid itself says of each run; typed by the user it would be said twice.
RESERVED = {
    "--ckpt_path": "runs go on from their own checkpoints; to start from weights, --model.weights FILE",
    "--trainer.default_root_dir": "--output DIR says where the grid goes",
    "--checkpoint.dirpath": "--output DIR says where the grid goes",
    "--seed_everything": "--seeds says it",
    "--trainer.logger": "tables are made of the files that the usual loggers write",
    "--per_image": "use --per-image: each test then has a file of its own",
    "--print_config": "use `pcpad fit --print_config`",
}


def read_axes(given: argparse.Namespace, typed_options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What varies, in the order of tables: paddings, other axes, seeds.

    Args:
        given: With `paddings`, `axis` and `seeds`.
        typed_options: Those of all runs.

    Returns:
        Option to its values.

    Raises:
        UserValueError: Nothing varies, or it is said twice.
    """
    axes: dict[str, tuple[str, ...]] = {}
    typed = [*([f"{PADDING}={given.paddings}"] if given.paddings is not None else []), *given.axis]
    for text in typed:
        option, equals, values = text.removeprefix("--").partition("=")
        if option == "padding":
            option = PADDING
        if not equals or not option:
            message = f"Expected --axis OPTION=VALUE,VALUE such as data.split=cv0,cv2, but got {text!r}"
            raise UserValueError(message)
        if option in axes or option == "config":
            message = f"--axis {option}: it is an axis already, or cannot be one"
            raise UserValueError(message)
        refuse_reserved(f"--{option}")
        axes[option] = split_values(option, values)
    if not axes:
        message = "Nothing to compare: --paddings zeros,partial, or --axis OPTION=VALUE,VALUE"
        raise UserValueError(message)
    for padding in axes.get(PADDING, ()):
        check_padding(padding)
    axes = {**({PADDING: axes[PADDING]} if PADDING in axes else {}), **axes}
    refuse_typed(axes, typed_options)
    return {**axes, SEED: _seeds(given.seeds)}


def refuse_typed(options: Iterable[str], typed_options: Sequence[str]) -> None:
    """Raise an error if an option that varies is also typed for all runs."""
    for option in options:
        if any(part.partition("=")[0] == f"--{option}" for part in typed_options):
            message = f"--{option} is typed and varies too: leave one of them out"
            raise UserValueError(message)


def split_values(option: str, text: str) -> tuple[str, ...]:
    """Distinct values, split at the commas that are not inside brackets."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth:
            values.append("")
        else:
            values[-1] += letter
    found = [value.strip() for value in values]
    if not all(found) or len(set(found)) < len(found):
        message = f"Expected different values for {option}, separated by commas, but got {text!r}"
        raise UserValueError(message)
    return tuple(found)


def _seeds(text: str | None) -> tuple[str, ...]:
    words = (text or "").split(",")
    numbers = [int(word) for word in words if word.strip().isdecimal()]
    if len(words) == 1 and len(numbers) == 1 and numbers[0] >= 1:
        return tuple(str(seed) for seed in range(numbers[0]))
    left = [word for word in words if word.strip()]
    if len(words) > 1 and len(numbers) == len(left) > 0 and len(set(numbers)) == len(numbers):
        return tuple(str(seed) for seed in numbers)
    message = (
        "Expected --seeds N for the seeds 0 to N-1, or --seeds A,B,… for these (different, not negative), "
        f"but got {'nothing' if text is None else repr(text)}"
    )
    raise UserValueError(message)


def refuse_reserved(argument: str) -> None:
    """Raise an error if an option is given that the grid sets for each run."""
    name = argument.partition("=")[0]
    if name in RESERVED:
        message = f"{name} cannot be given to compare: {RESERVED[name]}"
        raise UserValueError(message)


def read_option(flag: str, typed: str, example: str) -> tuple[str, str]:
    """Read `OPTION=TEXT`.

    Args:
        flag: What it was typed after.
        typed: The text.
        example: For the error.

    Returns:
        The option, without dashes, and the text.

    Raises:
        UserValueError: It is none, or one that the grid itself says.
    """
    option, equals, text = typed.removeprefix("--").partition("=")
    if not option or not equals:
        message = f"Expected {flag} {example}, but got {typed!r}"
        raise UserValueError(message)
    refuse_reserved(f"--{option}")
    return option, text


def names_of(options: Iterable[str]) -> dict[str, str]:
    """What options may be called: `padding` and `seed`, in full, and by their last word where no other has it.

    Args:
        options: The grid's.

    Returns:
        Name to option.
    """
    options = list(options)
    last = [option.rpartition(".")[2] for option in options]
    found = {word: option for word, option in zip(last, options, strict=True) if last.count(word) == 1}
    return found | {option: option for option in options} | {short_name(option): option for option in options}


def exclude(cells: Sequence[Cell], excluded: Sequence[str]) -> tuple[Cell, ...]:
    """Cells without those that are not to be run.

    Args:
        cells: A whole grid's.
        excluded: `padding=partial,seed=3` each: a cell that has all of these values is left out.

    Returns:
        The others.

    Raises:
        UserValueError: One names what is not in the grid, or nothing is left.
    """
    left = list(cells)
    names = names_of(cells[0].values)
    for text in excluded:
        wanted: dict[str, str] = {}
        for part in split_values("--exclude", text):
            name, equals, value = part.partition("=")
            option = names.get(name.strip())
            if not equals or option is None:
                known = ", ".join(dict.fromkeys(map(short_name, cells[0].values)))
                message = f"Expected --exclude NAME=VALUE,NAME=VALUE with names of {known}, but got {text!r}"
                raise UserValueError(message)
            wanted[option] = value.strip()
            there = list(dict.fromkeys(cell.values[option] for cell in cells))
            if wanted[option] not in there:
                message = f"--exclude {text}: {name} is {', '.join(there)} in this grid, never {value.strip()!r}."
                raise UserValueError(message + did_you_mean(value.strip(), there, form="{!r}"))
        left = [cell for cell in left if any(cell.values[option] != value for option, value in wanted.items())]
    if not left:
        message = f"--exclude {' '.join(excluded)} leaves nothing to run"
        raise UserValueError(message)
    return tuple(left)
