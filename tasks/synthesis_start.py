"""The initial weights of the networks of synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from pcpad.models.origins import stated
from pcpad.models.spade import refuse_other_spade
from pcpad.models.weights import load_state, read_weights, unwrap

__all__ = ["start_synthesis"]


def start_synthesis(task: Any, weights: str | Path, num_upsampling_layers: str) -> None:
    """Fill the networks of `SynthesisTask` from a file.

    Args:
        task: With `generator`, `discriminator` and `average`.
        weights: A generator's file, or a checkpoint of the task.
        num_upsampling_layers: The setting that the generator was built with.

    Raises:
        UserValueError: The weights do not fit, or their file says that the generator had another setting.
    """
    content, source = read_weights(weights), str(weights)
    refuse_other_spade(stated(content), num_upsampling_layers, source)
    state = unwrap(content, source)
    parts = {"generator": task.generator, "discriminator": task.discriminator, "average": task.average}
    if not any(name.startswith("average.") for name in state):
        load_state(task.generator, state, source)
        task.average.restart(task.generator)
        rank_zero_info(f"The generator starts from {source}, the discriminators start from random values")
        return
    for part, network in parts.items():
        own = {name: value for name, value in state.items() if name.startswith(f"{part}.")}
        load_state(network, {name.removeprefix(f"{part}."): value for name, value in own.items()}, source)
