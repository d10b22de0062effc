"""Write the file of weights shipped with pcpad, from a checkpoint of its recipe.

`python -m pcpad.models.restoration_file RUN/checkpoints/last.ckpt` replaces the file beside `restoration.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import pcpad
from pcpad.errors import UserValueError
from pcpad.files import whole_file
from pcpad.models.restoration import SHIPPED, restoration_network
from pcpad.models.weights import load_state, read_weights, unwrap

__all__ = ["FORMAT", "write_restoration_weights"]

FORMAT = "1"
"""Version of the file's format: names and shapes of its tensors, and what the network computes with them."""

_MOST_BYTES = 4_000_000
_AVERAGE = "average.network."


def write_restoration_weights(checkpoint: str | Path, output: str | Path = SHIPPED) -> Path:
    """Write a trained restoration network in half precision.

    Args:
        checkpoint: A checkpoint of `pcpad fit --config inp_restore.yaml`; the running average of its weights is used.
        output: The file to write; an existing one is replaced.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The checkpoint is of another network, or the file would be larger than 4 MB.
    """
    from safetensors.torch import save

    content = read_weights(checkpoint)
    state = unwrap(content, str(checkpoint))
    average = {name.removeprefix(_AVERAGE): value for name, value in state.items() if name.startswith(_AVERAGE)}
    if not average:
        message = (
            f"{checkpoint} has no running average ({_AVERAGE}…): expected a checkpoint of "
            "pcpad fit --config inp_restore.yaml"
        )
        raise UserValueError(message)
    network = load_state(restoration_network(weights=None), average, str(checkpoint))
    halves = {name: value.to(torch.float16).contiguous() for name, value in network.state_dict().items()}
    metadata = {
        "format": "pt",
        "pcpad": pcpad.__version__,
        "version": FORMAT,
        "architecture": "pcpad.models.restoration.RestorationNetwork",
        "recipe": "inp_restore.yaml",
        "steps": json.dumps(content.get("global_step")),
    }
    written = save(halves, metadata)
    if len(written) > _MOST_BYTES:
        message = f"Expected a file of at most {_MOST_BYTES} bytes, which pcpad ships, but got {len(written)}"
        raise UserValueError(message)
    output = Path(output)
    with whole_file(output, "wb") as file:
        file.write(written)
    return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the file of weights shipped with pcpad.")
    parser.add_argument("checkpoint", help="a checkpoint of pcpad fit --config inp_restore.yaml")
    parser.add_argument("--output", default=str(SHIPPED), help="the file to write; default: the one in the package")
    given = parser.parse_args()
    print(write_restoration_weights(given.checkpoint, given.output))
