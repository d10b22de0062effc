"""The command line of `pcpad compare`, and the configuration it stands for."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcpad._renamed import with_present_paths
from pcpad.bounded_yaml import read_yaml
from pcpad.commands.comparison.axes import exclude, read_axes, refuse_reserved
from pcpad.commands.comparison.engines import add_engines, check_engine
from pcpad.commands.comparison.grid import PADDING, Cell, Grid, expand
from pcpad.commands.comparison.grid_file import in_common
from pcpad.commands.comparison.metrics import parse_metric
from pcpad.commands.comparison.templates import check_templates, filled, read_templates
from pcpad.commands.comparison.tuning import read_tuning
from pcpad.commands.parser import Parser, file_name, path_name, verb_parser
from pcpad.commands.plugins import load_user_modules, take_imports
from pcpad.commands.recipes import config_files, configured_imports, resolve_configs
from pcpad.errors import UserValueError
from pcpad.paddings import padding_names
from pcpad.terminal import say

_DESCRIPTION = """\
Train and test a grid of runs, and compare them: paddings x seeds, and whatever else varies. What is finished is not
run again, so the same line resumes where it was stopped. Options that are not listed here are those of `pcpad fit`,
and hold for all runs; what follows --test are further options of `pcpad test`.
"""
_EXAMPLES = """\
examples:
  pcpad compare --config cls_digits.yaml --paddings zeros,partial --seeds 5 --cross
  pcpad compare --config seg_rn50.yaml --paddings zeros,partial --axis data.split=cv0,cv2 --seeds 3 \\
      --data.root /data/cityscapes --test --eval+=Regular --eval+=Tile --eval.size=1024 --eval+=Border
  pcpad compare --config cls_rn50.yaml --paddings zeros,partial --seeds 5 --list > cells.txt
                               one line per run for a job array: sed -n "${SLURM_ARRAY_TASK_ID}p" cells.txt | sh
  pcpad compare --config seg_rn50.yaml --paddings zeros,partial --seeds 5 --tune model.optimizer.lr=0.1,0.03,0.01
  pcpad compare --config seg_rn50.yaml --paddings zeros,partial --seeds 5 --after runs/compare/cls_rn50 \\
      --set model.encoder_weights={after}       # each run starts from that of its padding and seed
  pcpad compare --stages stages.txt            # the same two comparisons as lines of a file: one after the other
  pcpad compare --report --output runs/compare/cls_rn50 --reach 0.749
"""


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
    for argument in [*rest, *test_arguments]:
        refuse_reserved(argument)
    axes = {} if given.report else read_axes(given, [*rest, *test_arguments])
    if not given.report and not config:
        message = "--config is missing: which recipe are the runs made by? (`pcpad configs` lists those there are)"
        raise UserValueError(message)
    check_engine(given)
    if given.cross and axes and PADDING not in axes:
        message = "--cross tests under every padding of the grid: it needs --paddings"
        raise UserValueError(message)
    given.tests = {
        "checkpoint": given.test_checkpoint or "best",
        "arguments": test_arguments,
        "cross": given.cross,
        "per_image": given.per_image,
    }
    given.tests_given = tests_given or given.test_checkpoint is not None
    given.grid = None
    if axes:
        cells = exclude(expand(axes), given.exclude)
        grid = Grid(config, tuple(rest), tuple(axes), cells, resolved={}, metrics=tuple(given.metric))
        grid = replace(grid.with_tests(given.tests), baseline=given.baseline, reach=tuple(given.reach))
        typed = [*rest, *test_arguments]
        templates = read_templates(given.set, given.after, grid.axes, typed)
        tuning = read_tuning(given.tune, given.tune_seed, grid, {*grid.axes, *templates}, typed)
        given.grid = replace(grid, templates=templates, after=given.after, tuning=tuning)
        check_templates(given.grid)
    return given


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser("compare", _DESCRIPTION, _EXAMPLES)
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
    add("--seeds", metavar="N|A,B,…", help="one number: that many seeds, 0 to N-1; with a comma: these (`7,` is one)")
    text = "an option of fit that varies too; repeatable"
    add("--axis", action="append", default=[], metavar="OPTION=A,B", help=text)
    text = "leave out the runs that have all of these values; repeatable"
    add("--exclude", action="append", default=[], metavar="NAME=VALUE,…", help=text)
    text = "an option of fit that follows from what varies: model.weights='pre/{padding}_{seed}.ckpt'; {{ and }} are "
    text += "braces; repeatable"
    add("--set", action="append", default=[], metavar="OPTION=TEXT", help=text)
    text = "the folder of an earlier comparison; {after} in --set is the best checkpoint of its run with the same "
    text += "padding, seed and so on, {after_last} the last"
    add("--after", type=file_name, metavar="DIR", help=text)
    text = "a file of comparisons, one in each line as typed here, run in this order; all lines are checked before the "
    text += "first is run, and further options hold for all of them"
    add("--stages", type=file_name, metavar="FILE", help=text)
    text = "an option of fit to choose on validation first, for each padding by itself: by the monitored metric, in "
    text += "one run of full length per value; repeatable, for all combinations"
    add("--tune", action="append", default=[], metavar="OPTION=A,B", help=text)
    text = "the seed of those runs (default: 1000, so that no run compared has a part in the choice)"
    add("--tune-seed", default="1000", metavar="SEED", help=text)
    add("--cross", action="store_true", help="test every run under every padding")
    text = "keep the scores of each image or video of the tests, and compare them item by item too"
    add("--per-image", action="store_true", help=text)
    add("--test-checkpoint", choices=("best", "last"), help="what is tested (default: best)")
    add("--test", action="store_true", help="what follows are further options of `pcpad test`, such as --eval+=Tile")
    add("--output", type=path_name, metavar="DIR", help="the grid's folder (default: runs/compare/RECIPE)")
    add_engines(made)
    add("--list", action="store_true", help="print the commands still to be run, one line per run, and run nothing")
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
    first, *others = _each_value_once(grid)
    resolved = _parsed("fit", [*grid.common_arguments, *_typed_for(grid, first)])
    for cell in others:
        _parsed("fit", [*grid.common_arguments, *_typed_for(grid, cell)])
    if grid.test_arguments:
        _parsed("test", [*grid.common_arguments, *_typed_for(grid, first), *grid.test_arguments])
    _check_comparable(resolved, grid)
    from pcpad.commands.comparison.conversions import check_conversions

    for line in check_conversions(grid, resolved):
        say(f"pcpad: {line}", file=sys.stderr)
    return replace(grid, resolved=in_common(resolved, grid.varying))


def _typed_for(grid: Grid, cell: Cell) -> list[str]:
    """What is typed for a cell; a file of an earlier comparison that it is to start from may still be missing."""
    return [*cell.arguments(), *filled(grid, cell)]


def _each_value_once(grid: Grid) -> list[Cell]:
    """The first cell, and for each value that it does not have the first that does: seeds are all alike."""
    found = [grid.cells[0]]
    for option in grid.axes[:-1]:
        for value in grid.values(option):
            found.append(next(cell for cell in grid.cells if cell.values[option] == value))
    if grid.tuning is None:
        return list({cell.name: cell for cell in found}.values())
    # With what is tuned said too: it may have no default. The first cell's candidates are all of them.
    like = {tuple(cell.values[option] for option in grid.axes[:-1]): cell for cell in grid.tune_cells}
    others = [like[tuple(cell.values[option] for option in grid.axes[:-1])] for cell in found[1:]]
    count = math.prod(map(len, grid.tuning.options.values()))
    return list({cell.name: cell for cell in [*grid.tune_cells[:count], *others]}.values())


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
            read = _parsed("fit", [f"--config={config}", *_typed_for(grid, _each_value_once(grid)[0])])
        except (SystemExit, ValueError, TypeError, OSError):
            return grid.resolved  # then the options that differ are named, as they are remembered
    return in_common(read, grid.varying)


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
    resolved: dict[str, Any] = with_present_paths(read_yaml(printed.getvalue(), "the resolved configuration"))
    return resolved


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
    if grid.tuning and not str(checkpoint.get("monitor")).startswith("val/"):
        message = (
            "--tune chooses by the monitored metric, on validation: checkpoint.monitor is "
            f"{checkpoint.get('monitor')}, and should be one of val/…"
        )
        raise UserValueError(message)
    if checkpoint.get("monitor") is None and not grid.metrics:
        message = "The recipe monitors no metric: say what to compare with --metric NAME"
        raise UserValueError(message)
