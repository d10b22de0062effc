"""Fractions as people and command lines write them."""

from __future__ import annotations

from fractions import Fraction

from pcpad.errors import UserValueError

__all__ = ["as_fraction"]


def as_fraction(value: float | str | Fraction) -> Fraction:
    """The fraction meant by a number: 1/3 by 0.3333333333333333, 3/10 by 0.3.

    Args:
        value: A finite number, a `Fraction`, or text such as "1/3".

    Returns:
        The nearest fraction whose denominator is at most 10000, so that no rounding of binary digits is left in it.

    Raises:
        ValueError: It is not a number.

    Example:
        >>> as_fraction(1 / 3), as_fraction("7/8")
        (Fraction(1, 3), Fraction(7, 8))
    """
    try:
        return Fraction(value).limit_denominator(10_000)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        message = f'Expected a number or a fraction such as "1/3", but got {value!r}'
        raise UserValueError(message) from None
