"""Options of `pcpad fit`, `validate`, `test` and `predict` beside model, data and trainer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from pcpad._renamed import present_path, present_value
from pcpad.commands.habits import add_habits
from pcpad.errors import UserValueError
from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.results import RunResults
from pcpad.terminal import is_unicode

__all__ = ["add_run_options", "refuse_other_bytes", "with_present_paths"]


def add_run_options(parser: LightningArgumentParser, verb: str) -> None:
    """Add what a recipe states beside model, data and trainer.

    Args:
        parser: The verb's.
        verb: `fit`, `validate`, `test` or `predict`.
    """
    parser.add_lightning_class_args(BestAndLast, "checkpoint")
    parser.add_lightning_class_args(RunResults, "results")
    parser.link_arguments("checkpoint.monitor", "results.monitor")
    parser.link_arguments("checkpoint.mode", "results.mode")
    add_habits(parser, verb)
    text = "Modules to load first, also as --import MODULE: they may register paddings, or define what is named here."
    parser.add_argument("--imports", type=list[str] | None, default=None, help=text)
    if verb in ("test", "predict"):
        text = "Run a network that no checkpoint and no weights were loaded into: its values are random."
        parser.add_argument("--untrained", action="store_true", help=text)
    if verb == "test":
        from torchmetrics import Metric, MetricCollection

        from pcpad.tasks.evaluation.evaluators import Evaluator

        text = "Evaluators: --eval+=Tile --eval.size=512 --eval+=Border; and any metric: --eval+=mine.BoundaryF1"
        kinds = list[Evaluator | Metric | MetricCollection] | None
        parser.add_argument("--eval", type=kinds, default=None, help=text)
        text = "CSV file for the scores of each image or video, the worst first; beside it a picture of the worst."
        parser.add_argument("--per_image", type=str | None, default=None, help=text)
    if verb == "predict":
        parser.add_argument("--output", type=str | None, default=None, help="File or folder for the predictions.")
        from pcpad.tasks.evaluation.evaluators import MarginOption

        text = "Side of the tiles that large pictures are cut into, in pixels; the task's own if not given."
        parser.add_argument("--tiling.size", type=int | None, default=None, help=text)
        text = "Of neighboring tiles, a fraction of them such as 1/3."
        parser.add_argument("--tiling.overlap", type=float | str | None, default=None, help=text)
        text = "What tiles see around them: exact, as far as the network looks; or this many pixels."
        margin: Any = MarginOption | None
        parser.add_argument("--tiling.margin", type=margin, default=None, help=text)


def refuse_other_bytes(args: list[str]) -> None:
    """Refuse options of classes that are not valid UTF-8: they pass through YAML, which cannot hold other bytes.

    Args:
        args: The arguments after the verb.

    Raises:
        UserValueError: One of them; names it.
    """
    for before, arg in pairwise(["", *args]):
        option, equals, value = arg.partition("=")
        option, value = (option, value) if equals else (before, arg)
        if option.startswith(
            ("--model", "--data", "--eval", "--trainer.callbacks", "--trainer.logger")
        ) and not is_unicode(value):
            message = (
                f"{option} {value}: this name is not valid UTF-8, as options of classes must be: "
                "rename it, or give a link to it that has another name (ln -s)"
            )
            raise UserValueError(message)


def with_present_paths(config: Any) -> Any:
    """Spell class paths and options' values as they are now, in place, so that the run's own files name no old ones.

    Args:
        config: A parsed configuration, or a part of it.

    Returns:
        The same object.
    """
    if isinstance(config, list):
        for value in config:
            with_present_paths(value)
    elif isinstance(config, Namespace):
        for key, value in vars(config).items():
            if key == "class_path":
                config[key] = present_path(value)
            else:
                present = present_value(key, with_present_paths(value))
                if present is not value:
                    config[key] = present
    return config
