"""Check before training that the paddings of a grid reach its networks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from pcpad.commands.comparison.grid import PADDING, Grid
from pcpad.convert import ConversionReport, watch_conversions
from pcpad.errors import UserValueError

# Files, and what becomes of them, that a network's layers do not depend on.
_WEIGHTS = ("weights", "encoder_weights", "head")


def check_conversions(grid: Grid, resolved: Mapping[str, Any]) -> list[str]:
    """Build each network of a grid under a padding other than zeros, and look at what was converted.

    Networks that do not come from `convert_padding`, or cannot be built without their data, are not looked at: their
    runs say what is wrong with them.

    Args:
        grid: What is asked for.
        resolved: The full configuration of its first cell.

    Returns:
        What to tell the user: which modules keep their own padding, a line for each network.

    Raises:
        ValueError: Several paddings are to be compared, and the network is the same under all of them.
    """
    paddings = [padding for padding in grid.values(PADDING) if padding != "zeros"] if PADDING in grid.axes else []
    lines: list[str] = []
    for which, config in _models(grid, resolved) if paddings else ():
        reports = _reports(config, paddings[0])
        said = [f"{which}{report.said()}" for report in reports if report.said()]
        if reports and not any(report.converted for report in reports) and len(grid.values(PADDING)) > 1:
            names = ", ".join(grid.values(PADDING))
            message = f"Nothing to compare: the network is the same under {names}. {'; '.join(said)}"
            raise UserValueError(message)
        lines += said
    return list(dict.fromkeys(lines))


def _models(grid: Grid, resolved: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The configurations of all networks that the grid's other options make, each with words for it."""
    others = [option for option in grid.axes[:-1] if option.startswith("model.") and option != PADDING]
    for values in itertools.product(*(grid.values(option) for option in others)):
        config = copy.deepcopy(resolved.get("model")) or {}
        arguments = config.get("init_args")
        if not isinstance(arguments, dict) or "class_path" not in config:
            continue
        named = dict(zip((option.removeprefix("model.") for option in others), values, strict=True))
        arguments |= {name: None for name in _WEIGHTS if name in arguments}
        arguments |= {name: value for name, value in named.items() if "." not in name}
        yield "".join(f"{name}={value}: " for name, value in named.items()), config


def _reports(config: dict[str, Any], padding: str) -> list[ConversionReport]:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    config["init_args"]["padding"] = padding
    with watch_conversions() as reports, torch.random.fork_rng(devices=[]):
        try:
            parser.instantiate_classes(parser.parse_object({"model": config}))
        except Exception:  # of whatever kind: this is no run, and a run says it better
            return []
    return reports
