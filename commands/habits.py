"""Options of a run that are one word or number: where its numbers are logged, and when it stops early."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger

from pcpad.errors import UserModuleNotFoundError, UserRuntimeError, UserValueError
from pcpad.tasks.callbacks.early_stopping import StopsEarly

__all__ = [
    "Word",
    "add_habits",
    "check_habits",
    "early_stopping",
    "further_loggers",
    "logger_words",
    "remembered_habits",
]

Word = Literal["csv", "tensorboard", "wandb", "mlflow"]
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboard"}


def add_habits(parser: LightningArgumentParser, verb: str) -> None:
    """Add the options of a verb.

    Args:
        parser: The verb's.
        verb: `fit`, `validate`, `test` or `predict`.
    """
    text = (
        "Where the run's numbers go besides metrics.csv: csv (nowhere else), tensorboard, wandb or mlflow, or a list "
        "of these; by default tensorboard."
    )
    parser.add_argument("--logger", type=Word | list[Word] | None, default=None, help=text)
    if verb == "fit":
        text = "End the run after this many validations in which the metric of --checkpoint.monitor has not improved."
        parser.add_argument("--early_stopping", type=int | None, default=None, metavar="PATIENCE", help=text)


def logger_words(config: Any) -> list[str]:
    """The words of `--logger`.

    Args:
        config: The verb's configuration.

    Returns:
        At least one.
    """
    words = config.get("logger")
    return ["tensorboard"] if words is None else [words] if isinstance(words, str) else list(words)


def check_habits(config: Any) -> None:
    """Refuse invalid options before anything is built or read.

    Args:
        config: The verb's configuration.

    Raises:
        UserModuleNotFoundError: A logger's package is not installed.
        UserValueError: Options that contradict each other, or that lack another one.
    """
    given = config.get("logger") is not None
    if given and config["trainer"].get("logger") not in (None, True):
        message = "--logger and --trainer.logger both say where the run's numbers go: leave one of them out"
        raise UserValueError(message)
    for word in logger_words(config) if given else ():
        package = _PACKAGES.get(word)
        if package is not None and find_spec(package) is None:
            message = f"--logger {word} needs the package {package}, which is not installed: pip install {package}"
            raise UserModuleNotFoundError(message, name=package)
    patience = config.get("early_stopping")
    if patience is None:
        return
    if patience < 1:
        message = f"Expected --early_stopping to be a number of validations, at least 1, but got {patience}"
        raise UserValueError(message)
    if not config["checkpoint"].get("monitor"):
        message = (
            "--early_stopping looks at the metric that decides which checkpoint is the best, and none is named: "
            "--checkpoint.monitor val/loss --checkpoint.mode min"
        )
        raise UserValueError(message)


def early_stopping(config: Any, given: Sequence[Callback]) -> list[Callback]:
    """The callback that ends a run early, if that was asked for.

    Args:
        config: The verb's configuration.
        given: Callbacks that the user named.

    Returns:
        One or none.

    Raises:
        UserValueError: One is named already.
    """
    patience = config.get("early_stopping")
    if patience is None:
        return []
    if any(isinstance(callback, EarlyStopping) for callback in given):
        message = "--early_stopping and an EarlyStopping among --trainer.callbacks: leave one of them out"
        raise UserValueError(message)
    checkpoint = config["checkpoint"]
    return [StopsEarly(checkpoint["monitor"], checkpoint["mode"], patience)]


def further_loggers(words: Sequence[str], folder: str | Path, name: str) -> list[Logger]:
    """The loggers that have no folder of their own in a run.

    Args:
        words: See `logger_words`.
        folder: The folder of all runs.
        name: The run's.

    Returns:
        wandb's and MLflow's, as far as they were asked for; these read their own settings from the environment
        (`WANDB_MODE=offline`, `MLFLOW_TRACKING_URI`).
    """
    makers: dict[str, Callable[[], Logger]] = {
        "wandb": partial(_wandb, folder, name),
        "mlflow": partial(_mlflow, folder, name),
    }
    loggers = []
    for word in words:
        if word in makers:
            try:
                loggers.append(makers[word]())
            except Exception as error:  # these packages' own, of many kinds: no account, no server, no database
                message = f"--logger {word} cannot be used: {error}"
                raise UserRuntimeError(message) from error
    return loggers


def _wandb(folder: str | Path, name: str) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(name=name, save_dir=str(folder), project=os.environ.get("WANDB_PROJECT", "pcpad"))


def _mlflow(folder: str | Path, name: str) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    # MLflow keeps no new runs in plain folders since its third version.
    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}"
    logger = MLFlowLogger(experiment_name=name, tracking_uri=place)
    Path(folder).mkdir(parents=True, exist_ok=True)
    logger.experiment  # noqa: B018  # connects, now and not after the data is read
    return logger


def remembered_habits(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's checkpoints remember of these options, so that it resumes with them.

    Args:
        config: Parsed, or a checkpoint's entry, which may hold anything.

    Returns:
        By option, as far as the values are of the types that these have.
    """
    found: dict[str, Any] = {}
    if type(config.get("early_stopping")) is int:
        found["early_stopping"] = config["early_stopping"]
    words = config.get("logger")
    if words in get_args(Word) or (isinstance(words, list) and words and all(word in get_args(Word) for word in words)):
        found["logger"] = words
    return found
