"""An index of where each class is in label maps: built once, cached in a file, rebuilt when the labels change."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import track

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import CLASSES, IGNORE, count_ids, to_train_ids
from pcpad.datamodules.datasets.label_maps import read_checked_ids
from pcpad.datamodules.reading.caches import cache_places, cores, read_arrays, write_arrays
from pcpad.pictures import MOST_PIXELS

# Part of the key: increased whenever the same files would give another index.
_FORMAT = 1
_KINDS = {"key": "<U", "position": "<i4", "train_id": "|u1", "y": "<i4", "x": "<i4"}


class Centroids(NamedTuple):
    """Points in label maps, one per class and tile that holds it; four arrays `(M,)`, ordered by file.

    Attributes:
        file: int32, position of the label map in the list that the index was made from.
        train_id: uint8, the class.
        y: int32, row of the class's center of mass in the tile, in pixels of the whole map, rounded down.
        x: int32, its column.
    """

    file: np.ndarray
    train_id: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def select(self, keep: np.ndarray) -> "Centroids":
        """Keep some of the points; `keep` is a mask `(M,)` or positions."""
        return Centroids(*(column[keep] for column in self))

    def moved(self, places: np.ndarray) -> "Centroids":
        """Keep the points of files that have a place in another list; `places` is `(files,)` int32, -1 = none."""
        there = self._replace(file=places[self.file])
        return there.select(there.file >= 0)


def find_centroids(train_ids: np.ndarray, tile: int) -> np.ndarray:
    """Compute the center of mass of each class in each tile of a label map.

    Args:
        train_ids: `(H, W)` uint8 trainIds, 255 = ignore.
        tile: Height and width of the tiles, from the upper left; tiles at the right and lower border may be smaller.

    Returns:
        `(K, 3)` int32: trainId, row, column; ordered by tile in row-major order, then by class.
    """
    found = []
    for top in range(0, train_ids.shape[0], tile):
        for left in range(0, train_ids.shape[1], tile):
            part = np.ascontiguousarray(train_ids[top : top + tile, left : left + tile])
            rows, columns = np.arange(part.shape[0]), np.arange(part.shape[1])
            for train_id in np.flatnonzero(count_ids(part)[:IGNORE]):
                # 0.3 ms per class for 1024 × 1024; scipy's center of mass takes 20. Exact, as the sums are of integers.
                where = cv2.inRange(part, int(train_id), int(train_id))
                in_row = cv2.reduce(where, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() // 255
                in_column = cv2.reduce(where, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() // 255
                pixels = in_row.sum(dtype=np.int64)
                found.append((train_id, top + in_row @ rows // pixels, left + in_column @ columns // pixels))
    return np.asarray(found, np.int32).reshape(-1, 3)


def load_centroids(
    root: Path,
    name: str,
    pairs: Sequence[Pair],
    tile: int,
    read: Callable[[int], np.ndarray] | None = None,
    classes: int = len(CLASSES),
    meaning: str = "",
) -> Centroids:
    """Read the index of label maps from its file, or build it and write the file.

    The file is `root/pcpad_centroids_<name>_<tile>.npz`, or if `root` is not writable one below
    `$XDG_CACHE_HOME/pcpad` (`~/.cache/pcpad`). It holds a key made of the label files' names, sizes and modification
    times, and is rebuilt when the key no longer matches.

    Args:
        root: The data set's folder.
        name: Distinguishes several indices of one data set.
        pairs: Images and label maps, relative to `root`.
        tile: See `find_centroids`.
        read: Returns the classes `(H, W)` uint8 of the label map at a position, 255 = ignore. None: Cityscapes'
            trainIds, from its label ids.
        classes: The number of classes.
        meaning: A text that changes whenever the meaning of the label maps' values does; part of the key.

    Returns:
        The index; `file` is the position in `pairs`.

    Raises:
        BrokenImageError: An image or label file cannot be read.
        ValueError: Values are not label ids, or an image and its label map differ in size.
    """
    key = _key(root, pairs, tile, meaning)
    places = cache_places(root, f"pcpad_centroids_{name}_{tile}.npz")
    for place in places:
        found = _read(place, key, len(pairs), classes)
        if found is not None:
            return found
    if read is None:

        def read(index: int) -> np.ndarray:
            return to_train_ids(read_checked_ids(root, pairs[index]))

    centroids = _build(read, len(pairs), tile, name)
    # np.savez has a parameter called file.
    file, train_id, y, x = centroids
    unkept = write_arrays(places, {"key": np.array(key), "position": file, "train_id": train_id, "y": y, "x": x})
    if unkept:
        rank_zero_warn(f"the index of class centroids could not be saved and is rebuilt in each run: {unkept}")
    return centroids


def _build(read: Callable[[int], np.ndarray], files: int, tile: int, name: str) -> Centroids:
    """Index all label maps in threads: decoding and OpenCV release the GIL."""

    def look(index: int) -> np.ndarray:
        return find_centroids(read(index), tile)

    executor = ThreadPoolExecutor(cores())
    try:
        parts = list(
            track(
                executor.map(look, range(files)),
                f"class centroids of {name} labels",
                total=files,
                console=Console(stderr=True),
            )
        )
    finally:
        # After an error, the remaining files (20 000) are not read.
        executor.shutdown(cancel_futures=True)
    points = np.concatenate(parts)
    file = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    return Centroids(file, points[:, 0].astype(np.uint8), points[:, 1], points[:, 2])


def _key(root: Path, pairs: Sequence[Pair], tile: int, meaning: str) -> str:
    """The key of the label files' state; an index with another key is rebuilt."""
    digest = hashlib.sha256(f"{_FORMAT} {tile}{meaning}".encode())
    for pair in pairs:
        state = (root / pair.label).stat()
        digest.update(f"\0{pair.label}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read(path: Path, key: str, files: int, classes: int) -> Centroids | None:
    """Read an index file, which is not trusted, as it may come with the data; None if it is not usable."""
    stored = read_arrays(path, _KINDS)
    if stored is None or str(stored.pop("key")) != key:
        return None
    found = Centroids(*stored.values())
    same = len({column.shape for column in found}) == 1 and found.file.ndim == 1
    if not same or not len(found.file):
        return found if same else None
    in_order = bool((np.diff(found.file) >= 0).all()) and found.file[0] >= 0 and found.file[-1] < files
    inside = min(found.y.min(), found.x.min()) >= 0 and max(int(found.y.max()), int(found.x.max())) < MOST_PIXELS
    return found if in_order and inside and found.train_id.max() < classes else None
