"""Reading Cityscapes' label maps, held against what label ids are and against their images' sizes."""

from pathlib import Path

import numpy as np

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import check_ids, check_values, could_be_train_ids, count_ids
from pcpad.datamodules.reading.pngs import PngFile, PngOutline
from pcpad.errors import UserValueError


def read_checked_ids(root: Path, pair: Pair) -> np.ndarray:
    """Read a label map that fits its image and holds ids alone.

    Args:
        root: The data set's folder.
        pair: Image and label map; of the image no pixel is looked at.

    Returns:
        `(H, W)` uint8 label ids, upright as the image is.

    Raises:
        BrokenImageError: A file that cannot be read.
        ValueError: Values that are no label ids, or an image of another size.
    """
    label = PngFile(root / pair.label)
    match(PngOutline(root / pair.image), label)
    ids = label.grey()
    check_ids(count_ids(ids), label.path)
    return ids


def check_part(part: np.ndarray, label: PngFile) -> None:
    """Hold a part of a label map against what label ids are; all of the map only where the part looks like trainIds.

    Args:
        part: `(rows, columns)` uint8 as they are in the file: 255 that was padded around them is no value of it.
        label: The file.

    Raises:
        ValueError: A value that is no label id, or a map of trainIds.
        BrokenImageError: The rest of the map is asked for, and damaged.
    """
    counts = count_ids(part)
    check_values(counts, label.path)
    if could_be_train_ids(counts):
        check_ids(count_ids(label.grey()), label.path)


def match(image: PngFile | PngOutline, label: PngFile) -> None:
    """Turn a label map with its image, see `PngFile.turn_with`; ValueError where they differ in size even so."""
    label.turn_with(image)
    check_sizes(image.path, (image.height, image.width), label)


def check_sizes(image: Path, size: tuple[int, int], label: PngFile) -> None:
    """Raise ValueError where an image, of a size (height, width), and its label map differ in size."""
    if size != (label.height, label.width):
        message = (
            f"{image} has {size[1]}x{size[0]} pixels (width x height), but its label {label.path} has "
            f"{label.width}x{label.height}"
        )
        raise UserValueError(message)
