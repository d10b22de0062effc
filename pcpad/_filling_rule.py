"""What `auto` fills a hole with: which method held-out photographs showed to be best for holes of its kind."""

from __future__ import annotations

__all__ = ["method_for"]

_MOST_BIHARMONIC = 20_000  # pixels of a hole in one window: beyond, solving takes seconds


def method_for(thickness: float, area: int, *, has_network: bool) -> str:
    """Choose a method for a connected hole.

    Args:
        thickness: Of the hole at its thickest, in pixels: twice the largest distance of its pixels to a valid one.
        area: Its pixels.
        has_network: Whether there is an inpainting network to choose.

    Returns:
        `network`, `biharmonic`, `telea` or `ns`.
    """
    if has_network:
        return "network"
    return "biharmonic" if thickness <= 6 and area <= _MOST_BIHARMONIC else "telea"
