"""Read Cityscapes' label maps, and check their ids and sizes."""

from pathlib import Path

import numpy as np

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import check_ids, check_values, could_be_train_ids, count_ids
from pcpad.datamodules.reading.pngs import PngFile, PngOutline
from pcpad.errors import UserValueError


def read_checked_ids(root: Path, pair: Pair) -> np.ndarray:
    """Read a label map, and check its size and ids.

    Args:
        root: The data set's folder.
        pair: Image and label map; no pixel of the image is read.

    Returns:
        `(H, W)` uint8 label ids, upright like the image.

    Raises:
        BrokenImageError: A file cannot be read.
        ValueError: Values are not label ids, or the image has another size.
    """
    label = PngFile(root / pair.label)
    match(PngOutline(root / pair.image), label)
    ids = label.gray()
    check_ids(count_ids(ids), label.path)
    return ids


def check_part(part: np.ndarray, label: PngFile) -> None:
    """Check the ids in a part of a label map, and in the whole map only if the part looks like trainIds.

    Args:
        part: `(rows, columns)` uint8 as in the file, without padding of 255.
        label: The file.

    Raises:
        ValueError: A value is not a label id, or the map holds trainIds.
        BrokenImageError: The rest of the map is needed, and damaged.
    """
    counts = count_ids(part)
    check_values(counts, label.path)
    if could_be_train_ids(counts):
        check_ids(count_ids(label.gray()), label.path)


def match(image: PngFile | PngOutline, label: PngFile) -> None:
    """Rotate a label map with its image, see `PngFile.turn_with`; ValueError if they still differ in size."""
    label.turn_with(image)
    check_sizes(image.path, (image.height, image.width), label)


def check_sizes(image: Path, size: tuple[int, int], label: PngFile) -> None:
    """Raise ValueError if an image of a given size (height, width) and its label map differ in size."""
    if size != (label.height, label.width):
        message = (
            f"{image} has {size[1]}x{size[0]} pixels (width x height), but its label {label.path} has "
            f"{label.width}x{label.height}"
        )
        raise UserValueError(message)
