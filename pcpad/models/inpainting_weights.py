"""Inpainting networks from files of weights: those that the public has, and our own, whichever it is."""

from __future__ import annotations

from pathlib import Path

from torch import nn

__all__ = ["load_inpainter"]


def load_inpainter(file: str | Path) -> nn.Module:
    """Build the inpainting network that a file of weights is for, and load them.

    Args:
        file: A local file.

    Returns:
        The network in evaluation mode: `(image (N, 3, H, W) float in [0, 1], mask (N|1, 1, H, W), 1 = valid)` to an
        image (N, 3, H, W) in [0, 1]. `family` says whose file it is, `context` how many pixels around a hole the
        network should be given.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no weights of an inpainting network that is known, or does not fit the one it is of.
    """
    raise NotImplementedError
