"""Read weight files from others without running code and without trusting what they claim."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import again, at_home, opened
from pcpad.models.hdf5_weights import is_hdf5, read_hdf5

__all__ = ["MOST_LISTED", "listed", "read_weights", "weights_in"]

MOST_LISTED = 10
"""The number of names that an error lists."""


def read_weights(path: str | Path) -> Mapping[str, Any]:
    """Read a local weight file without running any code it may carry.

    Args:
        path: A safetensors file, a pickle written by `torch.save`, or Keras weights in HDF5.

    Returns:
        The file's content, envelopes included, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The path is remote, or the file carries code or is unreadable.
        ModuleNotFoundError: It is HDF5, and h5py is not installed.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", str(path), flags=re.IGNORECASE):
        message = f"Expected a local file of weights, but got {str(path)!r}: download the file and pass its path."
        raise UserValueError(message)
    path = at_home(path)
    try:
        file = opened(path)
    except FileNotFoundError:
        message = f"No weight file at {path} (looked in {path.resolve().parent})."
        raise UserFileNotFoundError(message) from None
    # Opened once: another file may replace it under that name at any time.
    with file:
        return weights_in(file, path)


def weights_in(file: BinaryIO, path: Path) -> Mapping[str, Any]:
    """Read the weights of an open file, as `read_weights` does.

    Args:
        file: What `pcpad.files.opened` returned, wherever it stands.
        path: Its name, for errors; one that ends in `.safetensors` is taken for such a file.

    Returns:
        The file's content, envelopes included, on the CPU.

    Raises:
        ValueError: The file carries code or is unreadable.
        ModuleNotFoundError: It is HDF5, and h5py is not installed.
    """
    file.seek(0)
    if is_hdf5(file):
        return read_hdf5(file, path)
    if path.suffix.lower() == ".safetensors" or _begins_like_safetensors(file):
        return _read_safetensors(file, path)
    return _read_pickle(file, path)


def _read_pickle(file: BinaryIO, path: Path) -> Mapping[str, Any]:
    name = again(file) if _is_sound_archive(file, path) else None
    file.seek(0)
    try:
        # With mmap, a checkpoint's hyper-parameters are read without its weights.
        content = torch.load(file if name is None else name, "cpu", weights_only=True, mmap=name is not None)
    except pickle.UnpicklingError as error:
        raise UserValueError(_refusal(path, str(error))) from None
    except Warning:
        raise  # caused by the user's `-W error`, not by the file
    # For damaged pickles PyTorch's unpickler raises IndexError, TypeError, AttributeError, and more.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = reason if name is None else reason.replace(name, str(path))
        message = f"{path} cannot be read as a weight file; is it complete? ({reason})"
        raise UserValueError(message) from None
    if not isinstance(content, Mapping):
        message = f"Expected {path} to hold a state dict (names to tensors), but got a {type(content).__name__}."
        raise UserValueError(message)
    return content


def _begins_like_safetensors(file: BinaryIO) -> bool:
    """Whether a file, whatever its name, begins with the length of a header and the header's brace."""
    start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= os.fstat(file.fileno()).st_size


def _is_sound_archive(file: BinaryIO, path: Path) -> bool:
    """Compare a checkpoint's parts with their stored checksums, which `torch.load` does not (1 GB/s).

    Returns:
        False for the format before PyTorch 1.6, which has no checksums.

    Raises:
        ValueError: Some do not match. If none does, the file was written without checksums.
    """
    bad, fine = [], 0
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            for part in archive.infolist():
                if part.compress_type != zipfile.ZIP_STORED:
                    message = (
                        f"{path} is refused: its part {part.filename} is compressed, which PyTorch never does, and "
                        f"claims {part.file_size} bytes. Write it again with torch.save."
                    )
                    raise UserValueError(message)
                try:
                    with archive.open(part) as content:
                        while content.read(1 << 20):
                            pass
                    fine += part.file_size > 0
                except zipfile.BadZipFile:
                    bad.append(part.filename)
    except UserValueError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, zlib.error, EOFError) as error:
        message = f"{path} cannot be read as a weight file; is it complete? ({error})"
        raise UserValueError(message) from None
    if bad and fine:
        message = (
            f"{path} is damaged: {len(bad)} of its {len(bad) + fine} parts do not match their checksums "
            f"({listed(bad)}). Copy it again from its source."
        )
        raise UserValueError(message)
    return True


def _read_safetensors(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    name = again(file)
    file.seek(0)
    try:
        return load(file.read()) if name is None else load_file(name)
    except SafetensorError as error:
        message = f"{path} cannot be read as a safetensors file; is it complete? ({error})"
        raise UserValueError(message) from None


def _refusal(path: Path, error: str) -> str:
    named = re.search(r"GLOBAL (\S+)", error)
    what = f"refers to `{named[1]}`" if named else "is not a plain weights-only pickle"
    return (
        f"{path} is refused: its pickle {what}. Such a file can run code when it is read, so only tensors and plain "
        "values are accepted. If you trust its author, convert it once where it was made: "
        "safetensors.torch.save_file(model.state_dict(), ...)."
    )


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and the number of the others."""
    rest = f", … and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + rest
