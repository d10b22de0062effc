"""`pcpad fit`, `validate`, `test` and `predict`: LightningCLI with the suite's classes and defaults."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable

from pcpad.bounded_yaml import reading_once
from pcpad.commands.checkpoint import find_checkpoint, home_of, remembered
from pcpad.commands.plugins import allow_modules_of, import_named, load_plugins, load_user_modules, split_imports
from pcpad.commands.recipes import config_files, configured_imports, resolve_configs
from pcpad.commands.run_options import refuse_other_bytes
from pcpad.commands.suite_cli import SuiteCLI
from pcpad.errors import UserValueError
from pcpad.trust import Trust, named_in, named_values


def main(verb: str, args: list[str], *, on_training: Callable[[], None] | None = None) -> SuiteCLI:
    """Run one of the trainer's verbs.

    Args:
        verb: `fit`, `validate`, `test` or `predict`.
        args: The arguments after it.
        on_training: Called when the first training batch starts.

    Returns:
        The command-line object, with `trainer`, `model` and `datamodule` as the run left them.

    Raises:
        FileNotFoundError: A config or checkpoint named is not there.
        ValueError: What was asked for does not go together.
    """
    _quieten()
    with reading_once():
        return _run(verb, args, on_training)


def _run(verb: str, args: list[str], on_training: Callable[[], None] | None) -> SuiteCLI:
    modules, args = split_imports(args)
    refuse_other_bytes(args)
    args = resolve_configs(args)
    configs = config_files(args)
    named = named_values(args, configs)
    load_plugins()
    allow_modules_of(named)
    modules = [*modules, *configured_imports(configs)]
    load_user_modules(modules)
    checkpoint = find_checkpoint(args, configs)
    trust = Trust(checkpoint, named) if checkpoint is not None else None
    settings = remembered(checkpoint, trust, run=verb == "fit", weights=True) if checkpoint is not None else {}
    asks = ("--model", "--help", "-h", "--print_config")  # `--model.help CLASS` is the first of them too
    if not configs and not settings and not any(arg.startswith(asks) for arg in args):
        message = (
            f"Nothing to {verb}: name a recipe (--config cls_digits.yaml; `pcpad configs` lists them), a checkpoint "
            f"(--ckpt_path FILE), or --model and --data. `pcpad {verb} --help` shows the options, and with "
            "`--model.help CLASS` or `--data.help CLASS` those of a class."
        )
        raise UserValueError(message)
    import_named(named | named_in(settings), args)
    if modules:
        args += [f"--imports={json.dumps(list(dict.fromkeys(modules)))}"]
    name = configs[-1].stem if configs else None
    home = home_of(checkpoint) if checkpoint is not None and verb == "fit" and not configs else None
    if home is not None:  # a resumed run stays with its first part
        folder, name = home
        settings.setdefault("trainer", {})["default_root_dir"] = folder
    return SuiteCLI(verb, args, name=name, remembered=settings, trust=trust, configs=configs, on_training=on_training)


def _quieten() -> None:
    """Silence warnings and messages that say nothing about the run."""
    for message in (
        "Be aware that when using `ckpt_path`",  # evaluation needs none of the training run's callbacks
        "Experiment logs directory .* exists and is not empty",  # the two loggers share one, on purpose
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own call
        r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen norms, averaged copies: on purpose
    ):
        warnings.filterwarnings("ignore", message=message)
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(_no_advertising)


def _no_advertising(record: logging.LogRecord) -> bool:
    return "try installing [lit" not in record.getMessage()
