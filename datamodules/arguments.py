"""Checking the arguments of data modules."""

from pcpad.errors import UserValueError


def require(fine: bool, name: str, expected: str, value: object) -> None:
    """Refuse an argument.

    Args:
        fine: Whether the value will do.
        name: The argument.
        expected: What would, in words.
        value: What came.

    Raises:
        ValueError: The value won't do.
    """
    if not fine:
        message = f"Expected argument `{name}` to be {expected}, but got {value}"
        raise UserValueError(message)
