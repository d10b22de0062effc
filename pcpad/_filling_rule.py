"""The rule of `auto`: for each kind of hole, the method that was best on held-out photographs."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["METHODS", "Method", "method_for"]

Method = Literal["auto", "network", "biharmonic", "telea", "ns"]
METHODS: tuple[Method, ...] = get_args(Method)

_MOST_BIHARMONIC = 20_000  # pixels of a hole in one window: beyond, solving takes seconds


def method_for(thickness: float, area: int, *, has_network: bool) -> str:
    """Choose a method for a connected hole.

    Args:
        thickness: Of the hole at its thickest, in pixels: twice the largest distance of its pixels to a valid one.
        area: The hole's number of pixels.
        has_network: Whether there is an inpainting network to choose.

    Returns:
        `network`, `biharmonic`, `telea` or `ns`.
    """
    if has_network:
        return "network"
    return "biharmonic" if thickness <= 6 and area <= _MOST_BIHARMONIC else "telea"
