"""`pcpad fit --help` and similar: the options that most runs need, by groups, the task's own first.

All options, some hundred of them Lightning's, are printed by `--help all`.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pcpad.bounded_yaml import read_config
from pcpad.commands import TRAINER_VERBS
from pcpad.commands.recipes import config_files, resolve_configs
from pcpad.terminal import say

__all__ = ["GROUPS", "full_args", "main", "options_of_classes"]

_HOMES = {"model": "pcpad.tasks", "data": "pcpad.datamodules"}
_BASES = ("Task", "DataModule")
_EVERY = tuple(TRAINER_VERBS)
# By group: option, what it is, and the verbs that have it.
GROUPS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "run": (
        ("--config", "a recipe's name (`pcpad configs` lists them) or a YAML file; several are read in order", _EVERY),
        ("--ckpt_path", "the checkpoint to resume from, or to apply; it knows its task, data and padding", _EVERY),
        ("--seed_everything", "the seed of all random numbers [0]", _EVERY),
        ("--untrained", "allow a network of random weights", ("test", "predict")),
        ("--imports", "modules of yours to load first; also --import MODULE", _EVERY),
        ("--trainer.fast_dev_run", "true runs one batch of everything, to see whether it works", _EVERY),
        ("--print_config", "print the whole configuration, as --config takes it, and exit", _EVERY),
    ),
    "evaluation": (
        ("--eval", "--eval+=Tile, Border, or any metric of torchmetrics or of yours: mine.BoundaryF1", ("test",)),
        ("--per_image", "CSV file for the scores of each image, the worst first", ("test",)),
    ),
    "predictions": (
        ("--output", "file or folder for the predictions", ("predict",)),
        ("--tiling.size", "side of the tiles that large pictures are cut into, in pixels", ("predict",)),
        ("--tiling.overlap", "of neighboring tiles, as a fraction of them", ("predict",)),
        ("--tiling.margin", "what tiles see around them: exact, or this many pixels", ("predict",)),
    ),
    "training": (
        ("--trainer.max_epochs", "end after this many epochs", ("fit",)),
        ("--trainer.max_steps", "end after this many steps", ("fit",)),
        ("--trainer.max_time", "end after this long: 00:12:00:00 is half a day", ("fit",)),
        ("--trainer.val_check_interval", "validate after a fraction of an epoch, or this many steps [1.0]", ("fit",)),
        ("--trainer.accumulate_grad_batches", "batches per step of the optimizer [1]", ("fit",)),
        ("--trainer.gradient_clip_val", "the norm at which gradients are clipped", ("fit",)),
        ("--early_stopping", "end after this many validations without improvement", ("fit",)),
    ),
    "checkpoints": (
        ("--checkpoint.monitor", "the metric that tells which is best: val/top1", ("fit",)),
        ("--checkpoint.mode", "whether its best is the max or the min [max]", ("fit",)),
        ("--checkpoint.save_top_k", "how many of the best to keep, beside the last [1]", ("fit",)),
    ),
    "machine": (
        ("--trainer.accelerator", "cpu, gpu, mps [auto]", _EVERY),
        ("--trainer.devices", "how many, or which [auto]", _EVERY),
        ("--trainer.num_nodes", "machines [1]", _EVERY),
        ("--trainer.strategy", "how devices work together: ddp, fsdp [auto]", _EVERY),
        ("--trainer.precision", "16-mixed, bf16-mixed, 32 [32]", _EVERY),
    ),
    "logs": (
        ("--logger", "csv, tensorboard, wandb, mlflow, or a list [tensorboard]", _EVERY),
        ("--trainer.default_root_dir", "the folder of all runs [runs]", _EVERY),
        ("--trainer.enable_progress_bar", "false for logs without it [true]", _EVERY),
    ),
}
_HELP, _ALL = ("-h", "--help"), ("--help=all", "-h=all")
_WIDEST = 120
_LONGEST = 200  # characters of a default


def main(verb: str, args: list[str]) -> bool:
    """Print the short help, unless everything is asked for.

    Args:
        verb: `fit`, `validate`, `test` or `predict`.
        args: The arguments after it, `--help` among them. What they name as config, model and data is shown in full.

    Returns:
        Whether it was printed; not for `--help all`, which is for the parser.

    Raises:
        UserFileNotFoundError: There is no such config.
    """
    if _asks_for_all(args):
        return False
    say(f"usage: pcpad {verb} --config NAME [--OPTION VALUE …]")
    _print_text(f"{TRAINER_VERBS[verb].capitalize()}. Typed options outrank a config, a config the checkpoint.")
    chosen = _chosen(args)
    for part, home in _HOMES.items():
        _print_part(part, home, *chosen.get(part, ("", {})))
    for title, options in GROUPS.items():
        rows = [(option, text) for option, text, verbs in options if verb in verbs]
        if rows:
            _print_group(title, rows)
    _print_text(
        f"`pcpad {verb} --help all` prints every option; `--model.help CLASS`, `--data.help CLASS` those of a class in "
        "full; `--config NAME --help` begins with those of the recipe's task."
    )
    return True


def full_args(args: list[str]) -> list[str]:
    """The arguments for the parser that prints everything: without the word after `--help`.

    Args:
        args: With `--help all` or `--help=all` among them.
    """
    pairs = pairwise(["", *args])
    kept = [arg for before, arg in pairs if arg not in _ALL and not (arg == "all" and before in _HELP)]
    return [*(arg for arg in kept if arg not in _HELP), "--help"]


def options_of_classes() -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """The options of all tasks and data modules of ours.

    Returns:
        For `model` and `data` the classes' names, each with its options and the first sentence about each.
    """
    found = {}
    for part, home in _HOMES.items():
        module = importlib.import_module(home)
        names = [name for name in module.__all__ if name not in _BASES]
        found[part] = [(name, list(_options_of(getattr(module, name), part, {}))) for name in names]
    return found


def _asks_for_all(args: list[str]) -> bool:
    beside = any(one in _HELP and two == "all" for one, two in pairwise(args))
    return beside or any(arg in _ALL for arg in args)


def _chosen(args: list[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The class paths of model and data that configs and options name, and the values that configs give."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    args = resolve_configs([arg for arg in args if arg not in _HELP])
    for path in config_files(args):
        content = read_config(Path(path))
        for part in _HOMES:
            given = content.get(part) if isinstance(content, dict) else None
            if isinstance(given, str):
                found[part] = given, {}
            elif isinstance(given, dict) and isinstance(given.get("class_path"), str):
                values = given.get("init_args")
                found[part] = given["class_path"], values if isinstance(values, dict) else {}
    for before, arg in pairwise(["", *args]):
        option, _, value = arg.partition("=")
        for part in _HOMES:
            if option == f"--{part}" and value:
                found[part] = value, {}
            elif before == f"--{part}" and not arg.startswith("-"):
                found[part] = arg, {}
    return found


def _print_part(part: str, home: str, class_path: str, values: Mapping[str, Any]) -> None:
    """Print the options of a task or data module, or the available classes."""
    module = importlib.import_module(home)
    name = class_path.rpartition(".")[2]
    if name in module.__all__ and (class_path == name or class_path.startswith(f"{home}.")):
        _print_group(f"{name} (--{part} {name})", list(_options_of(getattr(module, name), part, values)))
        return
    known = ", ".join(one for one in module.__all__ if one not in _BASES)
    what = {"model": "the task", "data": "the data"}[part]
    rows = [(f"--{part}", f"{what}: {known}, or mine.MyClass"), (f"--{part}.NAME", "its options")]
    if class_path:
        rows.append((f"--{part}.help {class_path}", "prints these"))
    _print_group({"model": "task", "data": "data"}[part], rows)


def _options_of(kind: type, part: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from docstring_parser import parse

    said = {one.arg_name: one.description or "" for one in parse(kind.__doc__ or "").params}
    for name, parameter in inspect.signature(kind).parameters.items():
        sentence = " ".join(said.get(name, "").split())
        sentence = sentence.partition(". ")[0].rstrip(".")
        default = values.get(name, parameter.default)
        shown = "" if default is parameter.empty else f" [{_value(default)}]"
        yield f"--{part}.{name}", f"{sentence}{shown}"


def _value(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        given = value.get("init_args") or {}
        return f"{value['class_path'].rpartition('.')[2]}: {', '.join(f'{key} {one}' for key, one in given.items())}"
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST) - 1


def _print_text(text: str) -> None:
    say("")
    for line in textwrap.wrap(text, _columns(), break_on_hyphens=False):
        say(line)


def _print_group(title: str, rows: list[tuple[str, str]]) -> None:
    """A heading, and options with their texts beside them."""
    say("")
    say(f"{title}:")
    width = min(max(len(option) for option, _ in rows), 36) if rows else 0
    for option, text in rows:
        lines = textwrap.wrap(text, max(_columns() - width - 4, 30)) or [""]
        if len(option) > width:
            say(f"  {option}")
        else:
            say(f"  {option:<{width}}  {lines.pop(0)}")
        for line in lines:
            say(f"  {'':<{width}}  {line}")
