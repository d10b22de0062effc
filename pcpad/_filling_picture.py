"""One picture filled in memory, whatever its size and that of its holes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcpad._filling_holes import Filler, Summary
from pcpad._filling_methods import Pixels
from pcpad._filling_rule import METHODS, Method
from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError

if TYPE_CHECKING:
    from pcpad._filling_tiles import Inpainter

__all__ = ["Filled", "Summary", "fill_picture", "fill_pixels", "shipped_network"]


@dataclass
class Filled:
    """A filled picture.

    Attributes:
        image: In the input's type and shape; valid pixels are equal bit for bit.
        methods: How many pixels of holes each method filled.
        unreached: How many of these are farther from any valid pixel than their method reaches: they come from the
            picture filled at half its size or less, so they are blurred.
    """

    image: Tensor
    methods: Mapping[str, int]
    unreached: int


def fill_picture(
    image: Tensor,
    mask: Tensor,
    method: Method = "auto",
    network: Inpainter | None = None,
    *,
    device: torch.device | str | None = None,
) -> Filled:
    """Fill the holes of a picture, as `pcpad fill` does.

    Only the surroundings of holes are read, as many pixels as the network's `context` states, so memory and time depend
    on the holes, not on the picture. Where a hole is wider than a method reaches, the picture is filled at
    half its size first, and so on.

    Args:
        image: (3, H, W) RGB or (1, H, W) gray, uint8, uint16 or float in [0, 1]. Left as it is.
        mask: (1, H, W), 1 = valid, 0 = hole, of any type.
        method: `network`; `biharmonic` (scikit-image's), `telea` or `ns` (OpenCV's); or `auto`, which takes of each
            hole the method that was best for such holes on held-out photographs.
        network: An inpainting network as `fill` takes it, in evaluation mode; None for the shipped one. `auto` works
            without one.
        device: Where the network is run; where it is if None.

    Returns:
        The filled picture, and how it was filled.

    Raises:
        UserValueError: A shape does not fit, the mask leaves nothing valid, there is no such method, or the network's
            output is not finite.
        UserTypeError: The image is of another type.
        UserFileNotFoundError: The method is `network`, none is given, and none ships with this version.

    Example:
        >>> image, mask = torch.rand(3, 40, 40), torch.ones(1, 40, 40)
        >>> mask[:, 10:12, 5:30] = 0
        >>> filled = fill_picture(image, mask, "telea")
        >>> filled.methods, torch.equal(filled.image[:, :10], image[:, :10])
        ({'telea': 50}, True)
    """
    _check(image, mask)
    pixels, kind = _as_pixels(image)
    summary = fill_pixels(pixels, (mask[0] == 0).cpu().numpy().view(np.uint8), method, network, device=device)
    filled = torch.from_numpy(pixels).permute(2, 0, 1).to(device=image.device, dtype=kind)
    if kind not in (torch.uint8, torch.uint16, torch.float32):  # converting and back may round their valid pixels
        filled = torch.where(mask.to(image.device) == 0, filled, image)
    return Filled(filled, dict(summary.methods), summary.unreached)


def _check(image: Tensor, mask: Tensor) -> None:
    if image.dim() != 3 or image.shape[0] not in (1, 3) or not image.numel():
        message = f"Expected argument `image` to be (3, H, W) or (1, H, W) and not empty, but got {tuple(image.shape)}"
        raise UserValueError(message)
    if mask.shape != (1, *image.shape[1:]):
        message = f"Expected argument `mask` to be {(1, *image.shape[1:])}, but got {tuple(mask.shape)}"
        raise UserValueError(message)
    if image.dtype not in (torch.uint8, torch.uint16) and not image.is_floating_point():
        message = f"Expected argument `image` to be uint8, uint16 or floating point, but got {image.dtype}"
        raise UserTypeError(message)


def _as_pixels(image: Tensor) -> tuple[Pixels, torch.dtype]:
    """A copy (H, W, C) in NumPy, and the type of the original."""
    kept = image if image.dtype in (torch.uint8, torch.uint16) else image.float()
    return np.array(kept.detach().cpu().permute(1, 2, 0).numpy(), order="C"), image.dtype


@lru_cache(maxsize=1)
def shipped_network() -> Inpainter:
    """The inpainting network that ships with the package, read once.

    Raises:
        UserFileNotFoundError: None does.
    """
    from pcpad.models.restoration import restoration_network  # with the models, which classical methods don't need

    return restoration_network()


def fill_pixels(
    pixels: Pixels,
    hole: np.ndarray,
    method: Method = "auto",
    network: Inpainter | None = None,
    *,
    device: torch.device | str | None = None,
    white: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Fill the holes of a picture in place; see `fill_picture`.

    Args:
        pixels: (H, W, C), 1, 3 or 4 channels, uint8, uint16 or float32 in [0, 1].
        hole: (H, W) uint8, anything but 0 is filled.
        method: See `fill_picture`.
        network: See `fill_picture`.
        device: See `fill_picture`.
        white: The largest value a pixel can have, where that is not the largest of its type.
        progress: Called with the number of hole pixels just filled.

    Returns:
        How it was filled.

    Raises:
        UserValueError: As `fill_picture` does.
        UserFileNotFoundError: Likewise.
    """
    if method not in METHODS:
        message = f"Expected argument `method` to be one of {', '.join(METHODS)}, but got {method!r}"
        raise UserValueError(message)
    left = int(np.count_nonzero(hole))
    if left == hole.size:
        message = "All of the picture is a hole, so there is nothing to fill it from: is the mask inverted?"
        raise UserValueError(message)
    if not left:
        return Summary()
    return Filler(pixels, hole, method, network_of(method, network), device, white).fill(progress)


def network_of(method: Method, network: Inpainter | None) -> Inpainter | None:
    """The network that a method needs or may choose: the one given, or the one that ships.

    Raises:
        UserFileNotFoundError: It needs one, and there is none.
    """
    if method not in ("auto", "network"):
        return None
    if network is not None:
        return network
    try:
        return shipped_network()
    except UserFileNotFoundError:
        if method == "network":
            raise
        return None
