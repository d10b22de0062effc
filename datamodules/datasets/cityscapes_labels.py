"""The classes of Cityscapes label maps: ids on disk, trainIds in memory, names and colors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from pcpad._renamed import moved
from pcpad.deprecation import renamed_attributes, renamed_keywords
from pcpad.errors import UserValueError

IGNORE = 255
"""The trainId of pixels that losses and metrics ignore."""


@renamed_keywords(removed="0.3.0", colour="color")
@renamed_attributes(removed="0.3.0", colour="color")
class Label(NamedTuple):
    """One kind of region.

    Attributes:
        id: Its value in `*_labelIds.png`; -1 is stored as 255.
        name: The official name.
        train_id: Its class index 0 … 18, or 255 if it is not evaluated.
        countable: Whether `*_instanceIds.png` distinguishes single objects of it.
        color: RGB in `*_color.png`.
    """

    id: int
    name: str
    train_id: int
    countable: bool
    color: tuple[int, int, int]


LABELS = (
    Label(0, "unlabeled", IGNORE, False, (0, 0, 0)),
    Label(1, "ego vehicle", IGNORE, False, (0, 0, 0)),
    Label(2, "rectification border", IGNORE, False, (0, 0, 0)),
    Label(3, "out of roi", IGNORE, False, (0, 0, 0)),
    Label(4, "static", IGNORE, False, (0, 0, 0)),
    Label(5, "dynamic", IGNORE, False, (111, 74, 0)),
    Label(6, "ground", IGNORE, False, (81, 0, 81)),
    Label(7, "road", 0, False, (128, 64, 128)),
    Label(8, "sidewalk", 1, False, (244, 35, 232)),
    Label(9, "parking", IGNORE, False, (250, 170, 160)),
    Label(10, "rail track", IGNORE, False, (230, 150, 140)),
    Label(11, "building", 2, False, (70, 70, 70)),
    Label(12, "wall", 3, False, (102, 102, 156)),
    Label(13, "fence", 4, False, (190, 153, 153)),
    Label(14, "guard rail", IGNORE, False, (180, 165, 180)),
    Label(15, "bridge", IGNORE, False, (150, 100, 100)),
    Label(16, "tunnel", IGNORE, False, (150, 120, 90)),
    Label(17, "pole", 5, False, (153, 153, 153)),
    Label(18, "polegroup", IGNORE, False, (153, 153, 153)),
    Label(19, "traffic light", 6, False, (250, 170, 30)),
    Label(20, "traffic sign", 7, False, (220, 220, 0)),
    Label(21, "vegetation", 8, False, (107, 142, 35)),
    Label(22, "terrain", 9, False, (152, 251, 152)),
    Label(23, "sky", 10, False, (70, 130, 180)),
    Label(24, "person", 11, True, (220, 20, 60)),
    Label(25, "rider", 12, True, (255, 0, 0)),
    Label(26, "car", 13, True, (0, 0, 142)),
    Label(27, "truck", 14, True, (0, 0, 70)),
    Label(28, "bus", 15, True, (0, 60, 100)),
    Label(29, "caravan", IGNORE, True, (0, 0, 90)),
    Label(30, "trailer", IGNORE, True, (0, 0, 110)),
    Label(31, "train", 16, True, (0, 80, 100)),
    Label(32, "motorcycle", 17, True, (0, 0, 230)),
    Label(33, "bicycle", 18, True, (119, 11, 32)),
    Label(-1, "license plate", IGNORE, False, (0, 0, 142)),
)
"""All kinds of regions, in the official order."""

CLASSES = tuple(label.name for label in LABELS if label.train_id != IGNORE)
"""Names of the 19 evaluated classes, by trainId."""
CLASS_COLORS = tuple(label.color for label in LABELS if label.train_id != IGNORE)
"""RGB of the 19 evaluated classes, by trainId."""

RARE_TRAIN_IDS = (14, 15, 16, 3, 12, 17, 4)
"""Truck, bus, train, wall, rider, motorcycle, fence: the classes for which coarse images are sampled."""

_NO_ID = 254  # marks unknown ids in the tables below
_TRAIN_IDS = np.full(256, _NO_ID, np.uint8)
for _label in LABELS:
    _TRAIN_IDS[_label.id % 256] = _label.train_id
_UNKNOWN = np.flatnonzero(_TRAIN_IDS == _NO_ID)
# The smallest id that cannot be a trainId (0 … 18).
_ABOVE_TRAIN_IDS = len(CLASSES)


def count_ids(ids: np.ndarray) -> np.ndarray:
    """Count the pixels of each value.

    Args:
        ids: `(H, W)` uint8.

    Returns:
        `(256,)` int64.
    """
    # 0.4 ms for 1024 × 2048, compared with 9 for np.bincount; exact up to 2^24 pixels per value, hence the strips.
    strips = (ids[start : start + 1024] for start in range(0, len(ids), 1024))
    counts = (cv2.calcHist([np.ascontiguousarray(strip)], [0], None, [256], [0, 256]) for strip in strips)
    return sum((count.ravel().astype(np.int64) for count in counts), np.zeros(256, np.int64))


def check_ids(counts: np.ndarray, path: str | Path) -> None:
    """Refuse a label map whose values are not label ids.

    Args:
        counts: `(256,)` pixels per value of the whole map, from `count_ids`. (A part of it may show a license plate
            without its vehicle.)
        path: The file, for the message.

    Raises:
        ValueError: A value is not an id, or the map holds trainIds.
    """
    check_values(counts, path)
    if could_be_train_ids(counts):
        raise UserValueError(_train_ids_message(str(path)))


def check_values(counts: np.ndarray, path: str | Path) -> None:
    """Refuse values that are not label ids, in a map or a part of one; the arguments are those of `check_ids`."""
    unknown = [int(value) for value in _UNKNOWN if counts[value]]
    if unknown:
        pixels = int(counts[unknown].sum())
        values = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        message = f"{path}: {pixels} pixels hold {values}, not a Cityscapes label id (0 … 33; 255: license plate)"
        raise UserValueError(message)


def could_be_train_ids(counts: np.ndarray) -> bool:
    """Whether a map, or a part of one, has 255 and otherwise only values in the range of trainIds."""
    # 255 in a map of ids is a license plate, which always comes with its vehicle, whose id is 26 or more.
    return bool(counts[255]) and not counts[_ABOVE_TRAIN_IDS:255].any()


def check_set_of_ids(counts: np.ndarray, what: str) -> None:
    """Refuse label maps that only together turn out not to hold ids.

    Args:
        counts: `(256,)` pixels per value, over several files.
        what: The files, for the message.

    Raises:
        ValueError: The maps hold trainIds instead of ids, or no class at all.
    """
    # Eight distinct ids from the lower half of the table, but neither sky, tree, person nor car.
    if not counts[_ABOVE_TRAIN_IDS:255].any() and np.count_nonzero(counts[:_ABOVE_TRAIN_IDS]) > 8:
        raise UserValueError(_train_ids_message(what))
    if not counts[_TRAIN_IDS < _NO_ID].any():
        held = ", ".join(str(value) for value in np.flatnonzero(counts))
        message = (
            f"{what}: no pixels of the {len(CLASSES)} evaluated classes; the only values are {held}. Are these "
            "*_labelIds.png as Cityscapes ships them?"
        )
        raise UserValueError(message)


def _train_ids_message(what: str) -> str:
    return (
        f"{what}: these look like trainIds (only values 0 … 18 and 255), but label ids are expected (road 7, sky 23, "
        "car 26, …). Use the *_labelIds.png that Cityscapes ships; trainIds are made from them in memory"
    )


def to_train_ids(ids: np.ndarray) -> np.ndarray:
    """Convert label ids to trainIds.

    Args:
        ids: `(H, W)` uint8, ids that `check_ids` accepts.

    Returns:
        `(H, W)` uint8: 0 … 18, and 255 for pixels that are not evaluated.
    """
    # 0.5 ms for 1024 × 2048, compared with 6 for indexing the table.
    return cv2.LUT(ids, _TRAIN_IDS)


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
