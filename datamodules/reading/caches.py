"""Caches: work through many files once, in parallel and with a progress bar, and keep the results next to the data."""

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from pcpad._user_cache import user_cache
from pcpad.errors import UserValueError
from pcpad.files import opened, whole_file

# Bytes that a cache may decompress to: a fixed amount, plus a factor per byte of its file. Names, times and indices of
# videos compress to no less than a tenth, points in label maps to a third.
_MOST_CACHED = 1 << 24
_MOST_OF_A_BYTE = 100
# For fewer items than this, starting processes takes longer than the work.
_ALONE = 64


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_places(root: Path, file_name: str) -> list[Path]:
    """The places to read a data set's cache file from and to write it to, best first.

    Args:
        root: The data set's folder.
        file_name: The file's name in it.

    Returns:
        The file in `root`, then one below `$XDG_CACHE_HOME/pcpad` (`~/.cache/pcpad`) for folders that cannot be
        written to; the latter is left out if the user has no home folder.
    """
    name = f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}_{file_name}"
    kept = user_cache()
    return [root / file_name, *([] if kept is None else [kept / "pcpad" / name])]


def write_arrays(places: Sequence[Path], arrays: dict[str, np.ndarray]) -> str | None:
    """Write arrays as an npz file at the first place that can be written to.

    Args:
        places: Files to try.
        arrays: What to write; none may be called `file`.

    Returns:
        None if written, else why no place could be written to.
    """
    reasons = []
    for place in places:
        try:
            _write(place, arrays)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror or error}")
        else:
            return None
    return "; ".join(reasons) or "there is no home folder, and XDG_CACHE_HOME is not set"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # Several processes or machines may write at once; each replaces the file as a whole.
    with whole_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(place: Path, kinds: Mapping[str, str]) -> dict[str, np.ndarray] | None:
    """Read scalars and one-dimensional arrays that `write_arrays` wrote, from a file that is not trusted.

    The stated sizes are checked before memory is allocated.

    Args:
        place: The npz file.
        kinds: The arrays to read, each with its type: "<i8"; "<U" for text of any length.

    Returns:
        The arrays; None if there is no such file, or it holds something else.
    """
    try:
        with opened(place) as file, zipfile.ZipFile(file) as archive:
            parts = {part.filename: part for part in archive.infolist()}
            chosen = [parts[f"{name}.npy"] for name in kinds]
            held = place.stat().st_size
            if sum(part.file_size for part in chosen) > _MOST_CACHED + _MOST_OF_A_BYTE * held:
                return None
            arrays = {name: _array(archive, parts[f"{name}.npy"], kind) for name, kind in kinds.items()}
    # zipfile, zlib and NumPy raise many kinds of errors on damaged files; each means that the file is not usable.
    except Exception:
        return None
    return arrays


def _array(archive: zipfile.ZipFile, part: zipfile.ZipInfo, kind: str) -> np.ndarray:
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(part) as file:
        shape, _, dtype = read_header[npy.read_magic(file)](file)
        right = dtype.str.startswith(kind) and not dtype.hasobject and len(shape) <= 1
        if not right or math.prod(shape) * dtype.itemsize != part.file_size - file.tell():
            message = f"expected {kind} of one dimension, but got {dtype} of shape {shape} in {part.file_size} bytes"
            raise UserValueError(message)
        return np.frombuffer(bytearray(file.read()), dtype).reshape(shape)


class _Work(Dataset[Any]):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])


def work_through(function: Callable[[Any], Any], items: Sequence[Any], what: str, quiet: bool = False) -> Iterator[Any]:
    """Apply a function to many items in parallel processes on all cores, with a progress bar on stderr.

    Processes instead of threads, since demuxing and decoding return to Python, and so to the GIL, for each packet and
    frame. They are a DataLoader's workers, which start and end as those of training do, on every system.

    Args:
        function: Picklable; does not raise for problems that are expected in an item.
        items: The function's arguments.
        what: The progress bar's description.
        quiet: Whether to show no progress bar.

    Yields:
        The results, in the items' order.
    """
    workers = 0 if len(items) < _ALONE else cores()
    loader = DataLoader(_Work(function, items), batch_size=None, num_workers=workers)
    # `disable` would still print an empty line.
    yield from loader if quiet else track(loader, what, total=len(items), console=Console(stderr=True))
