"""Cross testing: weights trained under one padding, run under another; and refusing those of another network."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from pcpad import convert_padding
from pcpad.errors import UserValueError
from pcpad.models.weights import mismatch

_PREFIX = "network."


def convert_checkpoint(task: Any, checkpoint: dict[str, Any]) -> None:
    """Translate a checkpoint's weights, in place, where its padding and the task's differ in parameters.

    Explicit padding alone has parameters of its own. Leaving it drops the border filters; entering it copies each
    centre filter to the border, which is zero padding until trained further.

    Args:
        task: The task about to load the checkpoint; has `network`, and `padding` as attribute and hyper-parameter.
        checkpoint: What Lightning read from the file.

    Raises:
        ValueError: The weights are those of another network; or training is to be resumed under a padding that differs
            in parameters, whose optimizer's state is that of the others.
    """
    # By the weights' names: `load_from_checkpoint(path, padding=...)` has overwritten the hyper-parameter by now.
    state, used = checkpoint["state_dict"], task.padding
    explicit = any(name.endswith("border_weight") for name in state)
    if explicit == (used == "explicit"):
        _check_fit(task, task.network, checkpoint)
        return
    trained = "explicit" if explicit else "zeros"  # any padding without filters of its own will do
    if task._trainer is not None and task.trainer.state.fn == "fit":
        message = (
            f"The checkpoint was trained with {'explicit' if explicit else checkpoint.get('trained_with')} padding and "
            f"training is to go on with {used}: they differ in parameters, so the optimizer's state does not fit. "
            "Start a new run with --model.weights CHECKPOINT instead"
        )
        raise UserValueError(message)
    network = convert_padding(copy.deepcopy(task.network), trained, drop_border_filters=True)
    network.load_state_dict(_check_fit(task, network, checkpoint))
    convert_padding(network, str(used), drop_border_filters=True)
    checkpoint["state_dict"] = {_PREFIX + key: value for key, value in network.state_dict().items()}


def _check_fit(task: Any, network: nn.Module, checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's weights under its own names, or say which don't fit: PyTorch would list all 300."""
    state = checkpoint["state_dict"]
    weights = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    problem = mismatch(network, weights)
    if problem:
        made, built = checkpoint.get("hyper_parameters", {}), task.hparams
        # Padding is another matter, and neither learning rates nor means have shaped the network.
        changed = [
            f"{name.removeprefix('_')}={made[name]!r} and not {built[name]!r}"
            for name in built
            if name in made and isinstance(built[name], (str, int)) and made[name] != built[name] and name != "padding"
        ]
        remedy = f"The checkpoint was made with {', '.join(changed)}: leave that as it was" if changed else ""
        ours = getattr(task, "network_name", type(network).__name__)
        message = f"The checkpoint's weights are not those of this network ({ours}).\n{problem}\n{remedy}"
        raise UserValueError(message.rstrip())
    return weights
