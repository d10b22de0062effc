"""Fill the holes of a picture with an inpainting network, which runs in memory bounded by the tile."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from pcpad.errors import UserTypeError, UserValueError
from pcpad.tiling import Tiling, tiled_bands

__all__ = ["MOST_PIXELS_AT_ONCE", "TILING", "Inpainter", "count_unreached", "fill", "refuse_infinite"]

Inpainter = Callable[[Tensor, Tensor], Tensor]

TILING = Tiling(1024, "1/4")
MOST_PIXELS_AT_ONCE = 1 << 21
"""The most pixels that the network gets at once: 1448² pixels, some 2 GB for the U-Net of the papers."""


@torch.no_grad()
def fill(
    network: Inpainter,
    image: Tensor,
    mask: Tensor,
    tiling: Tiling | None = TILING,
    *,
    max_pixels: int = MOST_PIXELS_AT_ONCE,
    device: torch.device | str | None = None,
) -> Tensor:
    """Fill holes; pictures of more than `max_pixels` pixels in overlapping tiles.

    Where tiles overlap, a tile's weight grows toward its center and with its share of valid pixels, so that no seam
    shows. Tiles without a hole are not run. A network with batch norm
    should be in evaluation mode.

    Args:
        network: Maps an image (n, 3, h, w), float in [0, 1], and its mask (n, 1, h, w), float, 1 = valid, to an image
            (n, 3, h, w) in [0, 1]. Values beyond that range are clamped.
        image: (N, 3, H, W), uint8 or float in [0, 1]. Left as it is.
        mask: (N, 1, H, W), 1 = valid, 0 = hole, of any type.
        tiling: How larger pictures are cut; None runs whole pictures.
        max_pixels: Pictures of up to this many pixels are run whole.
        device: Where the network runs, the image's device if None. Only tiles are copied there, so an image on the CPU
            may be larger than that device's memory.

    Returns:
        (N, 3, H, W) of the image's type and on its device: the image itself at valid pixels, bit by bit, and the
        network's output in the holes, rounded where the type is uint8. An image without any valid pixel is returned
        unchanged.

    Raises:
        ValueError: Shapes do not fit, or the network's output is not finite.
        TypeError: The image is neither uint8 nor floating point.

    Example:
        >>> image, mask = torch.rand(1, 3, 40, 40), torch.ones(1, 1, 40, 40)
        >>> mask[..., 10:20, 10:20] = 0
        >>> filled = fill(lambda image, mask: image * mask + 0.5 * (1 - mask), image, mask)
        >>> float(filled[0, 0, 15, 15]), torch.equal(filled[..., :10, :], image[..., :10, :])
        (0.5, True)
    """
    _check(image, mask)
    height, width = image.shape[2:]
    filled = image.clone()
    known = mask.to(image.device) != 0
    known |= ~known.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    if bool(known.all()):
        return filled
    run = _TileRun(network, whole=tiling is None or height * width <= max_pixels)
    both = torch.cat([image, known.to(image.dtype)], dim=1)
    del known  # a byte per pixel; it is in `both`
    for top, band in tiled_bands(run, both, None if run.whole else tiling, device=device):
        rows = slice(top, top + band.shape[2])
        output = band if run.whole else band[:, :3] / band[:, 3:]
        output = output.clamp(0, 1)
        if image.dtype == torch.uint8:
            output = output.mul_(255).round_()
        filled[:, :, rows] = torch.where(both[:, 3:, rows] != 0, image[:, :, rows], output.to(image.dtype))
    if run.blind:
        warnings.warn(
            f"{run.blind} tiles lie wholly in a hole, so the network had no valid pixels there: use larger tiles "
            "than " + " x ".join(str(side) for side in run.size),
            stacklevel=3,  # beyond no_grad's wrapper
        )
    return filled


@torch.no_grad()
def count_unreached(
    reached: Callable[[Tensor], Tensor],
    mask: Tensor,
    tiling: Tiling | None = TILING,
    *,
    max_pixels: int = MOST_PIXELS_AT_ONCE,
    device: torch.device | str | None = None,
) -> list[int]:
    """Count the hole pixels that no valid pixel reaches when `fill` runs a network with these arguments.

    Args:
        reached: Maps a mask (n, 1, h, w) to the pixels of the network's output that depend on any valid pixel.
        mask: See `fill`.
        tiling: See `fill`.
        max_pixels: See `fill`.
        device: See `fill`.

    Returns:
        The number for each of the N pictures; a pixel counts where no tile's valid pixels reached it.
    """
    known = (mask != 0).to(torch.float32)
    whole = tiling is None or mask[0].numel() <= max_pixels
    counts = torch.zeros(len(known), dtype=torch.long)
    for top, band in tiled_bands(
        lambda tile: reached(tile).to(tile.dtype), known, None if whole else tiling, device=device
    ):
        rows = slice(top, top + band.shape[2])
        counts += ((band == 0) & (known[:, :, rows] == 0)).flatten(1).sum(dim=1).cpu()
    return counts.tolist()


class _TileRun:
    """An inpainting network that takes image and mask in one tensor; its tiles are weighted unless there is only one.

    Attributes:
        blind: How many tiles had no valid pixel.
        size: The tiles' size.
    """

    def __init__(self, network: Inpainter, whole: bool) -> None:
        self.network = network
        self.whole = whole
        self.blind = 0
        self.size: tuple[int, ...] = ()

    def __call__(self, tile: Tensor) -> Tensor:
        kind = torch.promote_types(tile.dtype, torch.float32) if tile.is_floating_point() else torch.float32
        image, mask = tile[:, :3].to(kind), tile[:, 3:].to(kind)
        if tile.dtype == torch.uint8:
            image = image / 255
        if self.whole:
            return self._run(image, mask)
        self.size = tuple(tile.shape[2:])
        weight = _weight(self.size, tile.device, kind).expand(len(tile), 1, *self.size)
        seen = mask.mean(dim=(1, 2, 3), keepdim=True)
        if bool((seen == 1).all()):
            return torch.cat([image * weight, weight], dim=1)
        self.blind += int((seen == 0).sum())
        weight = weight * (seen + 0.1)
        # Clamped here, too: one tile's excess would outweigh the others.
        return torch.cat([self._run(image, mask).to(kind).clamp(0, 1) * weight, weight], dim=1)

    def _run(self, image: Tensor, mask: Tensor) -> Tensor:
        output = self.network(image, mask)
        refuse_infinite(output)
        return output


def refuse_infinite(output: Tensor) -> None:
    """Refuse a network's output that has NaN or infinite values.

    Raises:
        UserValueError: It has some.
    """
    if not bool(output.isfinite().all()):
        message = "The network's output is not finite: its weights are broken, or the precision is too low for it."
        raise UserValueError(message)


def _weight(size: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(1, 1, h, w), rising from near 0 at the edge to 1 in the middle."""
    sides = []
    for length in size:
        place = torch.arange(length, device=device, dtype=dtype) + 0.5
        sides.append(torch.minimum(place, length - place) * (2 / length))
    return (sides[0][:, None] * sides[1]).clamp_min(1e-4)[None, None]


def _check(image: Tensor, mask: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != 3 or not image.numel():
        message = f"Expected argument `image` to be (N, 3, H, W) and not empty, but got {tuple(image.shape)}"
        raise UserValueError(message)
    if mask.shape != (len(image), 1, *image.shape[2:]):
        message = f"Expected argument `mask` to be {(len(image), 1, *image.shape[2:])}, but got {tuple(mask.shape)}"
        raise UserValueError(message)
    if image.dtype != torch.uint8 and not image.is_floating_point():
        message = f"Expected argument `image` to be uint8 or floating point, but got {image.dtype}"
        raise UserTypeError(message)
