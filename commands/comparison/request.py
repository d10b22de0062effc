"""The command line of `pcpad compare`, and the configuration it stands for."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcpad.bounded_yaml import read_yaml
from pcpad.commands.comparison.grid import PADDING, SEED, Cell, Grid, expand, in_common
from pcpad.commands.comparison.metrics import parse_metric
from pcpad.commands.parser import Parser, file_name, path_name
from pcpad.commands.plugins import load_user_modules, take_imports
from pcpad.commands.recipes import config_files, configured_imports, resolve_configs
from pcpad.errors import UserValueError
from pcpad.paddings import check_padding, padding_names
from pcpad.terminal import say

_DESCRIPTION = """\
Train and test a grid of runs, and compare them: paddings x seeds, and whatever else varies. What is finished is not
run again, so the same line goes on where it was stopped. Options that are not listed here are those of `pcpad fit`,
and hold for all runs; what follows --test are further options of `pcpad test`.
"""
_EXAMPLES = """\
examples:
  pcpad compare --config cls_digits.yaml --paddings zeros,partial --seeds 5 --cross
  pcpad compare --config seg_rn50.yaml --paddings zeros,partial --axis data.split=cv0,cv2 --seeds 3 \\
      --data.root /data/cityscapes --test --eval+=Regular --eval+=Tile --eval.size=1024 --eval+=Border
  pcpad compare --config cls_rn50.yaml --paddings zeros,partial --seeds 5 --list > cells.txt
                               one line a run for a job array: sed -n "${SLURM_ARRAY_TASK_ID}p" cells.txt | sh
  pcpad compare --report --output runs/compare/cls_rn50 --reach 0.749
"""
# What the grid itself says of each run; typed by the user it would be said twice.
_RESERVED = {
    "--ckpt_path": "runs go on from their own checkpoints; to start from weights, --model.weights FILE",
    "--trainer.default_root_dir": "--output DIR says where the grid goes",
    "--checkpoint.dirpath": "--output DIR says where the grid goes",
    "--seed_everything": "--seeds says it",
    "--trainer.logger": "tables are made of the files that the usual loggers write",
    "--print_config": "use `pcpad fit --print_config`",
}


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line, and load the modules it names: their paddings are names too.

    Args:
        args: What follows `pcpad compare`.

    Returns:
        The options, and beside them `grid`, what is asked for as far as it was typed (None where only a report is
        asked for), and `tests`, see `Grid.tests`, with `tests_given`, whether any of that was typed.

    Raises:
        ValueError: It makes no grid.
        FileNotFoundError: There is no such recipe.
    """
    take_imports(args)
    args, test_arguments = list(args), list[str]()
    tests_given = "--test" in args
    if tests_given:
        place = args.index("--test")
        args, test_arguments = args[:place], args[place + 1 :]
    given, rest = parser().parse_known_args(args)
    config = tuple(given.config or ())
    if given.output is None and not config:
        message = "Nothing to compare: name a recipe (--config NAME) or, for --report, a folder (--output DIR)"
        raise UserValueError(message)
    configs = config_files(resolve_configs([part for name in config for part in ("--config", name)]))
    load_user_modules(configured_imports(configs))
    given.output = given.output or Path("runs", "compare", Path(config[-1]).stem)
    for text in given.metric:
        parse_metric(text)
    _check_reserved([*rest, *test_arguments])
    axes = {} if given.report else _axes(given, [*rest, *test_arguments])
    if not given.report and not config:
        message = "--config is missing: which recipe are the runs made by? (`pcpad configs` lists those there are)"
        raise UserValueError(message)
    if given.jobs < 1:
        message = f"--jobs must be at least 1, got {given.jobs}"
        raise UserValueError(message)
    if given.cross and axes and PADDING not in axes:
        message = "--cross tests under every padding of the grid: it needs --paddings"
        raise UserValueError(message)
    given.tests = {"checkpoint": given.test_checkpoint or "best", "arguments": test_arguments, "cross": given.cross}
    given.tests_given = tests_given or given.test_checkpoint is not None
    given.grid = None
    if axes:
        grid = Grid(config, tuple(rest), tuple(axes), expand(axes), resolved={}, metrics=tuple(given.metric))
        given.grid = replace(grid.with_tests(given.tests), baseline=given.baseline, reach=tuple(given.reach))
    return given


def parser() -> Parser:
    """Of the command line."""
    made = Parser(
        prog="pcpad compare",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "--config",
        "-c",
        action="append",
        type=file_name,
        metavar="NAME",
        help="a recipe, packaged or a file; several are merged",
    )
    add("--paddings", metavar="A,B,…", help=f"the paddings to compare: of {', '.join(padding_names())}")
    add("--seeds", metavar="N|A,B,…", help="one number: so many seeds, 0 to N-1; with a comma: these (`7,` is one)")
    text = "an option of fit that varies too; repeatable"
    add("--axis", action="append", default=[], metavar="OPTION=A,B", help=text)
    add("--cross", action="store_true", help="test every run under every padding")
    add("--test-checkpoint", choices=("best", "last"), help="what is tested (default: best)")
    add("--test", action="store_true", help="what follows are further options of `pcpad test`, such as --eval+=Tile")
    add("--output", type=path_name, metavar="DIR", help="the grid's folder (default: runs/compare/RECIPE)")
    add("--jobs", type=int, default=1, metavar="N", help="runs side by side, which share out the GPUs (default: 1)")
    add("--list", action="store_true", help="print the commands still to be run, a line a run, and run nothing")
    add("--report", action="store_true", help="report what the folder holds, and run nothing")
    text = "what to report, NAME, NAME:min or NAME:max; patterns such as 'test/*/mIoU'; repeatable (default: the "
    text += "monitored metric and its test counterpart)"
    add("--metric", action="append", default=[], metavar="NAME", help=text)
    add(
        "--baseline",
        metavar="VALUE",
        help="what others are compared with (default: what was said before, else zeros, else the first)",
    )
    text = "count the epochs until the monitored metric reaches this; repeatable; 90%% is 0.9"
    add("--reach", action="append", default=[], type=_level, metavar="LEVEL", help=text)
    return made


def _level(text: str) -> float:
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def _axes(given: argparse.Namespace, typed_options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    axes: dict[str, tuple[str, ...]] = {}
    typed = [*([f"{PADDING}={given.paddings}"] if given.paddings is not None else []), *given.axis]
    for text in typed:
        option, equals, values = text.removeprefix("--").partition("=")
        if option == "padding":
            option = PADDING
        if not equals or not option:
            message = f"Expected --axis OPTION=VALUE,VALUE such as data.split=cv0,cv2, but got {text!r}"
            raise UserValueError(message)
        if option in axes or option == SEED or f"--{option}" in _RESERVED or option == "config":
            message = f"--axis {option}: {_RESERVED.get(f'--{option}', 'it is an axis already, or cannot be one')}"
            raise UserValueError(message)
        axes[option] = _values(option, values)
    if not axes:
        message = "Nothing to compare: --paddings zeros,partial, or --axis OPTION=VALUE,VALUE"
        raise UserValueError(message)
    for padding in axes.get(PADDING, ()):
        check_padding(padding)
    axes = {**({PADDING: axes[PADDING]} if PADDING in axes else {}), **axes}
    for option in axes:
        if any(part.partition("=")[0] == f"--{option}" for part in typed_options):
            message = f"--{option} is typed and varies too: leave one of them out"
            raise UserValueError(message)
    return {**axes, SEED: _seeds(given.seeds)}


def _values(option: str, text: str) -> tuple[str, ...]:
    """Split at the commas that are not inside brackets."""
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


def _check_reserved(arguments: Sequence[str]) -> None:
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in _RESERVED:
            message = f"{name} cannot be given to compare: {_RESERVED[name]}"
            raise UserValueError(message)


def resolve(grid: Grid) -> Grid:
    """Parse a grid's configuration in full: what is wrong with it is said before anything runs.

    Args:
        grid: What was typed.

    Returns:
        The same, with `resolved`.

    Raises:
        SystemExit: The configuration is wrong; the parser has said why.
        ValueError: Runs by it could not be compared, or are of one network under all paddings.
    """
    first = grid.cells[0]
    resolved = _parsed("fit", [*grid.common_arguments, *first.arguments()])
    for option in grid.axes[:-1]:
        for value in grid.values(option)[1:]:
            _parsed("fit", [*grid.common_arguments, *Cell({**first.values, option: value}).arguments()])
    if grid.test_arguments:
        _parsed("test", [*grid.common_arguments, *first.arguments(), *grid.test_arguments])
    _check_comparable(resolved, grid)
    from pcpad.commands.comparison.conversions import check_conversions

    for line in check_conversions(grid, resolved):
        say(f"pcpad: {line}", file=sys.stderr)
    return replace(grid, resolved=in_common(resolved, grid.axes))


def completed(grid: Grid) -> Mapping[str, Any]:
    """The configuration a folder remembers, read as this version reads one.

    Args:
        grid: Of the folder.

    Returns:
        What its cells have in common, with the defaults of all options that were added since, and classes under the
        names they have now; as it is remembered where this version cannot read it.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps(grid.resolved), encoding="utf-8")
        try:
            read = _parsed("fit", [f"--config={config}", *grid.cells[0].arguments()])
        except (SystemExit, ValueError, TypeError, OSError):
            return grid.resolved  # then the options that differ are named, as they are remembered
    return in_common(read, grid.axes)


def _parsed(verb: str, arguments: list[str]) -> dict[str, Any]:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from pcpad.commands.run import main as run

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            run(verb, [*arguments, "--print_config"])
        except SystemExit as end:
            if end.code not in (0, None):
                raise
    return read_yaml(printed.getvalue(), "the resolved configuration")


def _check_comparable(resolved: dict[str, Any], grid: Grid) -> None:
    trainer, checkpoint = resolved.get("trainer", {}), resolved.get("checkpoint", {})
    wrong = {
        "trainer.logger": trainer.get("logger") not in (None, True),
        "trainer.enable_checkpointing": trainer.get("enable_checkpointing") is False,
        "trainer.fast_dev_run": bool(trainer.get("fast_dev_run")),
        "trainer.barebones": bool(trainer.get("barebones")),
        "checkpoint.save_top_k": checkpoint.get("save_top_k", 1) != 1 and grid.checkpoint == "best",
        "ckpt_path": resolved.get("ckpt_path") is not None,
    }
    for name, bad in wrong.items():
        if bad:
            message = f"{name} must stay as it is by default: compare reads each run's logs and one best checkpoint"
            raise UserValueError(message)
    if checkpoint.get("monitor") is None and not grid.metrics:
        message = "The recipe monitors no metric: say what to compare with --metric NAME"
        raise UserValueError(message)
