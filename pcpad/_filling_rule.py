"""What `auto` fills a hole with: which method held-out photographs showed to be best for holes of its kind."""

from __future__ import annotations

__all__ = ["method_for"]


def method_for(thickness: float, area: int, *, has_network: bool) -> str:
    """Choose a method for a connected hole.

    Args:
        thickness: Of the hole at its thickest, in pixels: twice the largest distance of its pixels to a valid one.
        area: Its pixels.
        has_network: Whether there is an inpainting network to choose.

    Returns:
        `network`, `biharmonic`, `telea` or `ns`.
    """
    if has_network and thickness > 4:
        return "network"
    return "biharmonic" if area <= 20000 else "ns"
