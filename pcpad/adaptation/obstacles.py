"""Describe why no margin covers a network's receptive field."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["circular_paddings", "fixed_size", "over_all"]


def circular_paddings(network: nn.Module | None) -> list[str]:
    """The modules with circular padding, through which each border depends on the opposite one."""
    if network is None:
        return []
    return [
        f"{name} ({type(part).__name__})" if name else type(part).__name__
        for name, part in network.named_modules()
        if "circular" in (getattr(part, "padding_mode", None), getattr(part, "_padding_name", None))
    ]


def fixed_size(shape: tuple[int, ...]) -> str:
    """Describe an operation whose output size does not depend on the image's size."""
    if len(shape) != 4:
        return "returns the same number of values for every image"
    if shape[2:] == (1, 1):
        return "pools over the whole image"
    return f"returns maps of a fixed size, {shape[2]} x {shape[3]}"


def over_all(kind: str) -> str:
    """Describe an operation whose whole output depends on every part of its input."""
    if "norm" in kind or "var" in kind or "std" in kind:
        return "normalizes over the whole image"
    if "attention" in kind or "softmax" in kind or kind in ("bmm", "baddbmm"):
        return "attends to the whole image"
    if any(word in kind for word in ("mean", "sum", "pool", "max", "min")):
        return "pools over the whole image"
    return f"computes over the whole image (aten.{kind})"
