"""Solvers of one window: each gives all of a hole's pixels a value, by a network or by a classical method.

Importing this needs NumPy and torch; OpenCV and scikit-image are imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pcpad._filling_tiles import Inpainter, refuse_infinite
from pcpad.errors import UserModuleNotFoundError, UserTypeError, UserValueError

__all__ = ["CLASSICAL", "REACH", "Pixels", "Solver", "network_solver", "white_of"]

Pixels = np.ndarray
"""(H, W, C) of 1, 3 or 4 channels, uint8, uint16 or float32 in [0, 1]."""

Solver = Callable[[Pixels, np.ndarray], Pixels]
"""Maps pixels and a hole (H, W) bool to pixels of the same type with values in the hole, arbitrary elsewhere."""

_RADIUS = 3  # pixels around a hole that OpenCV's methods use, as in its documentation's example
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)

REACH = {"telea": 48, "ns": 48, "biharmonic": 24}
"""How far from the nearest valid pixel a classical method's values are used; farther in, a coarser picture's are.

The biharmonic method's time grows faster than its hole: 24 keeps windows below a second or two.
"""


def white_of(pixels: Pixels) -> float:
    """The largest value of an array's type."""
    return 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)


def _telea(pixels: Pixels, hole: np.ndarray) -> Pixels:
    """Run OpenCV in 16 bits: it (5.0) adds the gradient's direction as if it were its step, up to 1.4 levels per pixel.

    A gray of 200 becomes 199 to 202 in 8 bits, and floats in [0, 1] become anything.
    """
    import cv2

    scale = np.iinfo(np.uint16).max / white_of(pixels)
    deep = np.rint(pixels * scale).astype(np.uint16) if scale > 1 else pixels
    solved = _opencv(deep, hole, cv2.INPAINT_TELEA)
    return solved if scale == 1 else as_pixels(solved / np.float32(65535), pixels.dtype, white_of(pixels))


def _navier_stokes(pixels: Pixels, hole: np.ndarray) -> Pixels:
    import cv2

    return _opencv(pixels, hole, cv2.INPAINT_NS)


def _opencv(pixels: Pixels, hole: np.ndarray, flag: int) -> Pixels:
    """OpenCV takes three channels of 8 bits, or one of any type."""
    import cv2

    mask = hole.astype(np.uint8)
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return cv2.inpaint(np.ascontiguousarray(pixels), mask, _RADIUS, flag)
    channels = [
        cv2.inpaint(np.ascontiguousarray(pixels[..., channel]), mask, _RADIUS, flag)
        for channel in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=2)


def _biharmonic(pixels: Pixels, hole: np.ndarray) -> Pixels:
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        message = "The method biharmonic needs scikit-image: `pip install scikit-image`"
        raise UserModuleNotFoundError(message) from error
    white = white_of(pixels)
    # In double precision: the matrix of a wide hole is badly conditioned.
    solved = inpaint_biharmonic(pixels.astype(np.float64) / white, hole, channel_axis=-1)
    return as_pixels(solved, pixels.dtype, white)


CLASSICAL: dict[str, Solver] = {"biharmonic": _biharmonic, "telea": _telea, "ns": _navier_stokes}


def network_solver(network: Inpainter, device: torch.device | str | None, white: float | None = None) -> Solver:
    """Make a solver of an inpainting network.

    Args:
        network: See `pcpad.filling.fill`.
        device: Where it is run; the CPU if None.
        white: The largest value a pixel can have, where that is not the largest of its type.

    Returns:
        The solver. Gray pictures are run as RGB, and the luminance is taken; of four channels, which are inks, the
        first three are run as if they were RGB and the fourth as gray.
    """

    def solve(pixels: Pixels, hole: np.ndarray) -> Pixels:
        if pixels.shape[2] == 4:
            return np.concatenate([solve(pixels[..., :3], hole), solve(pixels[..., 3:], hole)], axis=2)
        top = white or white_of(pixels)
        image = torch.from_numpy(np.where(hole[..., None], 0, pixels).astype(np.float32) / np.float32(top))
        image = image.permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous()
        valid = torch.from_numpy(~hole)[None, None].float()
        with torch.no_grad():
            output = network(image.to(device), valid.to(device))
        if not isinstance(output, torch.Tensor):
            message = f"Expected the inpainting network to return a tensor, but got {type(output).__name__}"
            raise UserTypeError(message)
        if output.shape != image.shape:
            message = f"Expected the inpainting network to return {tuple(image.shape)}, but got {tuple(output.shape)}"
            raise UserValueError(message)
        refuse_infinite(output)
        values = output[0].float().cpu().permute(1, 2, 0).numpy()
        if pixels.shape[2] == 1:
            values = (values @ _GRAY)[..., None]
        return as_pixels(values, pixels.dtype, top)

    return solve


def as_pixels(values: np.ndarray, kind: np.dtype, white: float) -> Pixels:
    """Convert floats in [0, 1] to a type of pixels; values outside are clamped."""
    clamped = values.clip(0, 1)
    return clamped.astype(kind) if kind.kind == "f" else np.rint(clamped * white).astype(kind)
