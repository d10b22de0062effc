"""Read Keras' weight files in HDF5: an optional extra, since only one published network needs it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from pcpad.errors import UserModuleNotFoundError, UserValueError

__all__ = ["is_hdf5", "read_hdf5"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEEPEST = 8
_MOST = 20_000  # groups and arrays


def is_hdf5(file: BinaryIO) -> bool:
    """Whether a file begins with HDF5's signature; its position does not change."""
    place = file.tell()
    start = file.read(len(_SIGNATURE))
    file.seek(place)
    return start == _SIGNATURE


def read_hdf5(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """Read weights that Keras 2 wrote, alone or with their network.

    Args:
        file: The opened file.
        path: Its path, for errors.

    Returns:
        `layer.array`, such as `p_conv2d_1.img_kernel`, to tensors; optimizer states are left out.

    Raises:
        UserModuleNotFoundError: h5py is missing.
        UserValueError: The file is damaged, links to other files, or claims more data than it has.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        message = f"{path} is a Keras weight file (HDF5), which needs h5py: pip install 'pcpad[keras]'"
        raise UserModuleNotFoundError(message, name="h5py") from error
    size = os.fstat(file.fileno()).st_size
    try:
        with h5py.File(file, "r") as content:
            # In addition to a network's weights such a file has its optimizer's.
            whole = isinstance(content.get("model_weights", getlink=True, default=None), h5py.HardLink)
            arrays = _arrays(content["model_weights"] if whole else content, path)
            _refuse_claims(arrays, path, size)
            # Read completely before names are assigned: nothing of an unreadable file is used.
            values = {name: _tensor(array) for name, array in arrays.items()}
    except UserValueError:
        raise
    # For damaged files h5py raises OSError, KeyError, RuntimeError, ValueError, TypeError, and more.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{path} cannot be read as an HDF5 file; is it complete? ({reason})"
        raise UserValueError(message) from None
    return _by_layer(values, path)


def _arrays(root: Any, path: Path) -> dict[str, Any]:
    """All arrays below a group by their paths; links that could point out of the file are refused."""
    import h5py

    found: dict[str, Any] = {}
    groups, seen = [("", root, 0)], 0
    while groups:
        above, group, depth = groups.pop()
        for name in group:
            seen += 1
            where = f"{above}/{name}".removeprefix("/")
            if seen > _MOST or depth > _DEEPEST:
                message = f"{path} is refused: it has more than {_MOST} groups, or groups deeper than {_DEEPEST}."
                raise UserValueError(message)
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                message = f"{path} is refused: its {where} is a link, which can point to any other file."
                raise UserValueError(message)
            item = group[name]
            if isinstance(item, h5py.Group):
                if not name.startswith("optimizer"):
                    groups.append((where, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                found[where] = item
    return found


def _refuse_claims(arrays: dict[str, Any], path: Path, size: int) -> None:
    """Compare the arrays' claims with the file's size, before memory is allocated."""
    total = 0
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8) or array.shape is None:
            message = f"{path} is refused: expected floating-point numbers, but its {name} is of {array.dtype}."
            raise UserValueError(message)
        if array.external or array.is_virtual:
            message = f"{path} is refused: its {name} is stored in another file."
            raise UserValueError(message)
        if array.chunks is not None:
            message = f"{path} is refused: its {name} is stored in chunks, which Keras never does."
            raise UserValueError(message)
        total += array.nbytes
        if array.nbytes != array.id.get_storage_size() or total > size:
            message = (
                f"{path} is damaged: its {name} claims {array.nbytes} bytes, but the file of {size} bytes has "
                f"{array.id.get_storage_size()} for it."
            )
            raise UserValueError(message)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array[()], dtype=array.dtype.newbyteorder("=")))


def _by_layer(values: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Name tensors by layer and array, from paths such as `p_conv2d_1/p_conv2d_1/img_kernel:0`.

    The first group has the layer's name, unless it is a nested network, as for several GPUs; the second has a scope's
    name, which gets a suffix for a second network of a session (`EncBN1_1` in the group `EncBN1`).
    """
    parts = {name: re.sub(r"(_\d+)?:\d+$", "", name.rpartition("/")[2]) for name in values}
    above: dict[str, list[str]] = {}
    for name in values:
        above.setdefault(name.partition("/")[0], []).append(parts[name])
    state: dict[str, Tensor] = {}
    for name, value in values.items():
        first, *between = name.split("/")[:-1] or [""]
        single = len(above[first]) == len(set(above[first]))
        layer = first if single or not between else between[-1]
        key = f"{layer}.{parts[name]}".removeprefix(".")
        if key in state:
            message = f"{path} holds two arrays for {key}: expected the weights of one network."
            raise UserValueError(message)
        state[key] = value
    if not state:
        message = f"{path} holds no arrays: expected a weight file."
        raise UserValueError(message)
    return state
