"""Weight files that state their padding: safetensors with the padding and the ratio's exponents as metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from torch import nn

import pcpad
from pcpad._other_layers import pads
from pcpad.adaptation.exponents import partial_layers, set_exponents
from pcpad.errors import UserValueError
from pcpad.files import at_home, opened, whole_file
from pcpad.layers import ExplicitPadConv2d, _PartialConv

__all__ = [
    "apply_exponents",
    "metadata_in",
    "paddings_in",
    "read_metadata",
    "refuse_other_padding",
    "save_padded_weights",
]

_MOST = 1 << 24  # bytes of the largest header that is read for its metadata


def save_padded_weights(
    model: nn.Module, path: str | Path, padding: str, exponents: Mapping[str, float | list[float]] | None = None
) -> Path:
    """Save a network's state dict, with its padding as metadata.

    Args:
        model: The network.
        path: The file, safetensors whatever its name; an existing one is replaced.
        padding: Its padding, by the name that `pcpad.convert_padding` takes.
        exponents: The ratio's exponents by layer, see `pcpad.adaptation.exponents.exponents_of`.

    Returns:
        The path.
    """
    from safetensors.torch import save

    path = at_home(path)
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    state = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    metadata = {"format": "pt", "padding": padding, "pcpad": pcpad.__version__}
    if exponents:
        metadata["exponents"] = json.dumps(dict(exponents))
    with whole_file(path, "wb") as file:
        file.write(save(state, metadata))
    return path


def paddings_in(model: nn.Module) -> set[str]:
    """The paddings of those of a network's convolutions that pad.

    Args:
        model: Any module.

    Example:
        >>> paddings_in(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 1)))
        {'zeros'}
    """
    found = {"partial"} if partial_layers(model) else set()
    for layer in model.modules():
        if isinstance(layer, nn.modules.conv._ConvTransposeNd | _PartialConv):
            continue
        if isinstance(layer, nn.modules.conv._ConvNd) and pads(layer):
            found.add("explicit" if isinstance(layer, ExplicitPadConv2d) else layer.padding_mode)
    return found


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the padding that a safetensors file states for its weights.

    Args:
        path: Any weight file.

    Returns:
        `padding` and `exponents`, if the file has them; empty for a file of another format.

    Raises:
        UserValueError: The exponents are not what this package writes.
    """
    path = at_home(path)
    if not path.is_file():
        return {}  # reading the weights raises the error
    with opened(path) as file:
        return metadata_in(file, path)


def metadata_in(file: BinaryIO, path: Path) -> dict[str, Any]:
    """What an open file says of its weights' padding; see `read_metadata`.

    Args:
        file: What `pcpad.files.opened` returned, wherever it stands.
        path: Its name, for errors.

    Returns:
        `padding` and `exponents`, each where the file has it.

    Raises:
        UserValueError: The exponents are not what this package writes.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    header = file.read(length) if 2 <= length <= min(_MOST, os.fstat(file.fileno()).st_size) else b""
    if not header.startswith(b"{"):
        return {}
    try:
        metadata = json.loads(header).get("__metadata__") or {}
        found = {name: metadata[name] for name in ("padding",) if isinstance(metadata.get(name), str)}
        if "exponents" in metadata and found:
            found["exponents"] = _exponents(json.loads(metadata["exponents"]))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        message = f"{path} has metadata that cannot be read ({error}): write the file again"
        raise UserValueError(message) from None
    return found


def _exponents(value: Any) -> dict[str, float | list[float]]:
    if not isinstance(value, dict):
        message = "its exponents are not an object of numbers by layer"
        raise TypeError(message)
    return {
        str(name): [float(one) for one in given] if isinstance(given, list) else float(given)
        for name, given in value.items()
    }


def refuse_other_padding(model: nn.Module, metadata: Mapping[str, Any], source: str) -> None:
    """Refuse a network whose padding is not the one that a file states for its weights.

    Args:
        model: The network the weights are for.
        metadata: See `read_metadata`; nothing is refused if it is empty.
        source: The file, for the error.

    Raises:
        UserValueError: The network has another padding.
    """
    meant = metadata.get("padding")
    found = paddings_in(model)
    if meant is not None and found and meant not in found:
        message = (
            f"{source} holds weights for {meant} padding, but the network's is {' and '.join(sorted(found))}: convert "
            f"it first, `pcpad.convert_padding(network, {meant!r})` or --padding {meant}."
        )
        raise UserValueError(message)


def apply_exponents(model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Set the exponents of a network's partial convolutions to those of its weights, 1 by default.

    Args:
        model: The network.
        metadata: See `read_metadata`; without a padding, as for plain files, nothing is changed.

    Raises:
        UserValueError: The network has no such layers.
    """
    if metadata.get("padding") == "partial":
        set_exponents(model, 1)
        set_exponents(model, metadata.get("exponents", {}))
