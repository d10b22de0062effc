"""What differs between our runs and the papers' in network, data and schedule, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pcpad.commands.papers.published import PublishedTable
from pcpad.commands.papers.timings import Timing
from pcpad.commands.papers.trained import Trained, arguments_of, class_of

__all__ = ["differences"]

# Of a data module's arguments those that say what was seen; of the trainer's those that say how long.
_DATA = ("root", "image_size", "crop_size", "size", "clip_length", "resize", "coarse", "masks", "test_masks")
_LENGTH = ("max_epochs", "max_steps")
_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")
_BATCH = ("effective_batch", "batch_size")
_RATES = ("lr", "max_lr")
_OPTIMIZERS = ("optimizer", "generator_optimizer", "discriminator_optimizer")
_NOT_KNOWN = "not known, no config.yaml is beside the results"


def differences(
    table: PublishedTable, runs: Sequence[Trained], timings: Sequence[Timing], stand_ins: Mapping[str, str]
) -> list[str]:
    """Lines to stand below a table.

    Args:
        table: The table.
        runs: Those that ours is of.
        timings: Likewise.
        stand_ins: The table's networks to what stands in for them.

    Returns:
        `data: ours …; the paper's …`, and the same of networks, schedule and the number of runs. Data and schedule are
        always told, since no program can say whether a folder of pictures is ImageNet.
    """
    lines = [f"network: ours {other} in the place of the paper's {name}" for name, other in stand_ins.items()]
    if not runs and not timings:
        return lines
    ours = {"schedule": _said(one.setup for one in timings)}
    if runs:
        schedule = ", ".join(dict.fromkeys([_said(map(_schedule, runs)), *_chosen(runs)]))
        ours = {"data": _said(map(_data, runs)), "schedule": schedule, "runs": _counts(runs)}
    for what, text in ours.items():
        if text != table.setup[what]:
            lines.append(f"{what}: ours {text}; the paper's {table.setup[what]}")
    return lines


def _said(texts: Iterable[str]) -> str:
    """Each value once; several if runs differ."""
    return "; or ".join(dict.fromkeys(texts))


def _chosen(runs: Sequence[Trained]) -> list[str]:
    """What each padding has a value of its own for, and which."""
    texts = []
    for option in dict.fromkeys(option for one in runs for option in one.chosen):
        name = "learning rate" if _is_rate(option) else option
        values = {(one.padding, one.network): one.chosen[option] for one in runs if option in one.chosen}
        if len(set(values.values())) == 1:
            texts.append(f"{name} {next(iter(values.values()))}")
            continue
        # Where a padding has one value with all networks, it is named alone.
        of_padding = Counter(padding for padding, _ in {(padding, value) for (padding, _), value in values.items()})
        said = dict.fromkeys(
            f"{value} with {padding}" + (f" ({network})" if of_padding[padding] > 1 else "")
            for (padding, network), value in values.items()
        )
        texts.append(f"{name} {', '.join(said)}")
    return texts


def _is_rate(option: str) -> bool:
    return option.rpartition(".")[2] in _RATES


def _counts(runs: Sequence[Trained]) -> str:
    counts: dict[tuple[str, str, str | None], int] = {}
    for one in runs:
        key = (one.network, one.padding, one.split)
        counts[key] = counts.get(key, 0) + 1
    few, many = min(counts.values()), max(counts.values())
    return str(few) if few == many else f"{few} to {many}"


def _named(values: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [f"{name} {values[name]}" for name in names if values.get(name) not in (None, -1, 0.0, 1.0)]


def _data(one: Trained) -> str:
    name, values = class_of(one.config, "data"), arguments_of(one.config, "data")
    if not name and not values:
        return _NOT_KNOWN
    limits = _named(arguments_of(one.config, "trainer"), _LIMITS)
    return ", ".join(filter(None, [name, *_named(values, _DATA), *limits]))


def _schedule(one: Trained) -> str:
    trainer, model = arguments_of(one.config, "trainer"), arguments_of(one.config, "model")
    if not trainer:
        return _NOT_KNOWN
    chosen = any(map(_is_rate, one.chosen))
    optimizers = []
    for name in filter(model.get, _OPTIMIZERS):
        rate = "" if chosen else f" of learning rate {arguments_of(model, name).get('lr')}"
        optimizers.append(class_of(model, name) + rate)
    data = arguments_of(one.config, "data")
    batch = next((f"{data[name]} a step" for name in _BATCH if data.get(name)), "")
    return ", ".join(filter(None, [*_named(trainer, _LENGTH), *optimizers, batch]))
