"""Fit a checkpoint's weights to a task that was built with another padding, or explain why they do not fit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pcpad.convert import convert_padding
from pcpad.errors import UserValueError
from pcpad.models.weights import mismatch

__all__ = ["fit_checkpoint"]

# Weights of explicit padding may lose their border filters here, on a copy.
_DROP: dict[str, Any] = {"drop_border_filters": True}


def fit_checkpoint(task: Any, checkpoint: dict[str, Any], *, resuming: bool) -> None:
    """Translate a checkpoint's weights, in place, see `pcpad.tasks.base.Task.convert_checkpoint`.

    Args:
        task: A `pcpad.tasks.base.Task`.
        checkpoint: What Lightning read from the file.
        resuming: Whether training resumes with the checkpoint's optimizer state.

    Raises:
        UserValueError: The weights are those of another network; or training is to resume under a padding with other
            parameters.
    """
    network, padding = task._modules.get("network"), task.padding
    if network is None or padding is None:
        return
    state = checkpoint["state_dict"]
    weights = {key.removeprefix("network."): state[key] for key in state if key.startswith("network.")}
    # By the weights' names: `load_from_checkpoint(path, padding=...)` has overwritten the hyper-parameter by now.
    explicit = any(name.endswith("border_weight") for name in weights)
    other = explicit != (padding == "explicit")
    if other and resuming:
        message = (
            f"The checkpoint was trained with {'explicit' if explicit else task.trained_with} padding and "
            f"training is to continue with {padding}: they differ in parameters, so the optimizer's state "
            "does not fit. Start a new run with --model.weights CHECKPOINT instead"
        )
        raise UserValueError(message)
    if other:
        network = convert_padding(copy.deepcopy(network), "explicit" if explicit else "zeros", **_DROP)
    problem = mismatch(network, weights)
    if problem:
        raise UserValueError(_other_network(task, problem, checkpoint.get("hyper_parameters", {})))
    if other:
        network.load_state_dict(weights)
        weights = convert_padding(network, padding, **_DROP).state_dict()
        checkpoint["state_dict"] = {f"network.{key}": value for key, value in weights.items()}


def _other_network(task: Any, problem: str, made: Mapping[str, Any]) -> str:
    """Say which weights don't fit, and why: PyTorch would list all 300."""
    built = task.hparams
    # Padding is handled above, and neither learning rates nor means affect the weights' shapes.
    changed = [
        f"{name.removeprefix('_')}={made[name]!r} and not {built[name]!r}"
        for name in built
        if name in made and isinstance(built[name], (str, int)) and made[name] != built[name] and name != "padding"
    ]
    remedy = f"The checkpoint was made with {', '.join(changed)}: leave that as it was" if changed else ""
    head = f"The checkpoint's weights are not those of this network ({task.network_name})."
    return f"{head}\n{problem}\n{remedy}".rstrip()
