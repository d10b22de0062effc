"""How many classes there may be: refused before memory is allocated, which may end other programs too."""

from __future__ import annotations

from pcpad.errors import UserValueError

__all__ = ["MOST_CLASSES", "MOST_LABELS", "check_class_matrices", "check_num_classes"]

# ImageNet-21k has 21841, the largest public set of faces some four million, whose last layer has no room anywhere.
MOST_CLASSES = 1_000_000
MOST_LABELS = 1 << 16  # of a label map of 16 bits, where each label is a channel of every layer's input
_MOST_BYTES = 4 << 30


def check_num_classes(
    count: int | None, name: str = "num_classes", *, optional: bool = False, most: int = MOST_CLASSES
) -> None:
    """Refuse a number of classes below one, or one that no layer has room for.

    Args:
        count: The number.
        name: The argument's name.
        optional: Whether it may be None.
        most: The largest number to take.

    Raises:
        UserValueError: It is not in 1 to `most`.
    """
    expected = "None or a positive integer" if optional else "a positive integer"
    if count is None and optional:
        return
    if count is None or count < 1:
        message = f"Expected argument `{name}` to be {expected}, but got {count}"
        raise UserValueError(message)
    if count > most:
        message = f"Expected argument `{name}` to be {expected} up to {most}, but got {count}"
        raise UserValueError(message)


def check_class_matrices(count: int, matrices: int = 1) -> None:
    """Refuse a number of classes whose confusion matrices have no room.

    Args:
        count: The number of classes, from 1.
        matrices: How many matrices of `count` x `count` numbers of 8 bytes.

    Raises:
        UserValueError: They would take more than 4 GiB.
    """
    size = 8 * matrices * count**2
    if size > _MOST_BYTES:
        what = "a matrix" if matrices == 1 else f"{matrices} matrices"
        message = (
            f"Expected argument `num_classes` to leave {what} of all pairs of classes within {_MOST_BYTES >> 30} GiB, "
            f"but got {count}, which takes {size / 2**30:.0f} GiB: is it the number of the data's classes?"
        )
        raise UserValueError(message)
