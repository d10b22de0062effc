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
    trained, used = checkpoint.get("hyper_parameters", {}).get("padding"), task.padding
    if trained is None or trained == used or "explicit" not in (trained, used):
        return
    if task._trainer is not None and task.trainer.state.fn == "fit":
        message = (
            f"The checkpoint was trained with {trained} padding and training is to go on with {used}: they differ in "
            "parameters, so the optimizer's state does not fit. Start a new run with --model.weights CHECKPOINT instead"
        )
        raise ValueError(message)
    network = convert_padding(copy.deepcopy(task.network), str(trained), drop_border_filters=True)
    state = checkpoint["state_dict"]
    network.load_state_dict({key.removeprefix(_PREFIX): value for key, value in state.items()})
    convert_padding(network, str(used), drop_border_filters=True)
    checkpoint["state_dict"] = {_PREFIX + key: value for key, value in network.state_dict().items()}
