"""Cross testing: weights trained under one padding, run under another."""

from __future__ import annotations

import copy
from typing import Any

from pcpad import convert_padding

_PREFIX = "network."


def convert_checkpoint(task: Any, checkpoint: dict[str, Any]) -> None:
    """Translate a checkpoint's weights, in place, where its padding and the task's differ in parameters.

    Explicit padding alone has parameters of its own. Leaving it drops the border filters; entering it copies each
    centre filter to the border, which is zero padding until trained further.

    Args:
        task: The task about to load the checkpoint; has `network`, and `padding` as attribute and hyper-parameter.
        checkpoint: What Lightning read from the file.

    Raises:
        ValueError: Training is to be resumed so: the optimizer's state is that of the other parameters.
    """
    # By the weights' names: `load_from_checkpoint(path, padding=...)` has overwritten the hyper-parameter by now.
    state, used = checkpoint["state_dict"], task.padding
    explicit = any(name.endswith("border_weight") for name in state)
    if explicit == (used == "explicit"):
        return
    trained = "explicit" if explicit else "zeros"  # any padding without filters of its own will do
    if task._trainer is not None and task.trainer.state.fn == "fit":
        message = (
            f"The checkpoint was trained with {'explicit' if explicit else checkpoint.get('trained_with')} padding and "
            f"training is to go on with {used}: they differ in parameters, so the optimizer's state does not fit. "
            "Start a new run with --model.weights CHECKPOINT instead"
        )
        raise ValueError(message)
    network = convert_padding(copy.deepcopy(task.network), trained, drop_border_filters=True)
    network.load_state_dict({key.removeprefix(_PREFIX): value for key, value in state.items()})
    convert_padding(network, str(used), drop_border_filters=True)
    checkpoint["state_dict"] = {_PREFIX + key: value for key, value in network.state_dict().items()}
