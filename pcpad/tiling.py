"""Run a dense-prediction network tile by tile and merge its outputs, in memory bounded by the tile.

The papers' tile evaluation cuts a 1024x2048 image into 1024x1024 tiles, with no overlap or one of 1/3, runs each as an
image of its own and averages where tiles overlap. Nothing is padded: at a tile's edge the network's own padding acts,
and these borders are the subject of that evaluation.

To avoid these edges, give tiles a margin: the network then also sees what lies around a tile, and only the inner
part of its output is kept. With `margin="exact"` that is as far as the network looks, and tiles equal the whole image.
"""

from __future__ import annotations

from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad._tiling_margins import Margin, MarginLike, margin_of
from pcpad._tiling_run import Average, Blend, Options, TiledRun, assembled
from pcpad._tiling_sources import Source, WindowReader
from pcpad._tiling_windows import Tiling, Window
from pcpad.adaptation.reach import Reach
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "Average",
    "Blend",
    "Margin",
    "MarginLike",
    "Reach",
    "Tiling",
    "Window",
    "WindowReader",
    "run_tiled",
    "tiled_argmax",
    "tiled_bands",
    "tiled_blocks",
]

Image = Tensor | WindowReader | Any


_BAND = 1 << 21  # pixels whose largest channel is found at once


@torch.no_grad()
def run_tiled(
    network: Callable[[Tensor], Tensor],
    image: Image,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    device: torch.device | str | None = None,
    margin: MarginLike | None = None,
    blend: Blend = "mean",
    output: Any = None,
) -> Any:
    """Run a network over an image's tiles and put them together in one map.

    Without a margin each tile has borders of its own, and averaging overlapping tiles spreads their error instead of
    removing it: of smp's Unet with a ResNet-18, tiles that overlap by a third leave 5.8 % of the pixels off by more
    than 1e-3. `margin="exact"` removes all of it, for any network whose reach is bounded; the margin is found by a few
    passes over narrow strips (`pcpad.adaptation.reach`), so reuse a `Margin` where many images follow.

    No gradient is kept. A network with dropout or batch norm should be in evaluation mode; for a margin it must be.

    Args:
        network: Maps (n, C, h, w) to (n, K, h, w); with a margin also to maps larger or smaller by the same factor for
            all sizes.
        image: (N, C, H, W), of whatever type and range the network takes. Or (C, H, W) or (H, W) of which parts are
            read when they are needed: a NumPy array or memory map, another array of which slices can be taken
            (zarr's, tifffile's), or a `WindowReader` such as rasterio's data sets.
        tiling: How to cut; None runs whole images. With a margin its size is that of the kept part of a tile.
        average: What is averaged where tiles overlap, and over flips and scales: the network's output, or its softmax
            over K.
        batch_size: Tiles of each image per call of the network.
        flip: Also run every tile mirrored left to right.
        scales: Run the image resized by each of these (bilinear), in tiles of the same size, and resize the outputs
            back. Positive.
        device: Where the network runs, the image's device if None. Tiles are copied there one batch at a time and their
            outputs come back, so an image on the CPU may be larger than that device's memory.
        margin: How much of the image around a tile a network is given; at the image's borders its own padding acts as
            in the whole image. `exact`: as far as it looks; equal to the whole image except for rounding, or refused.
            Pixels, one number or (vertically, horizontally): as far as that, rounded up to the network's strides. None:
            nothing.
        blend: How overlapping tiles are weighted: all alike (`mean`), or decreasing toward the tile's edge (`linear`,
            or `hann` by a Hann window). For networks that look at the whole image, whose tiles cannot be exact.
        output: Where the result is written block by block, so that it need not be in memory: a tensor, array or memory
            map (N, K, H, W) or (K, H, W), or an object with `write(array, window=…)`.

    Returns:
        (N, K, H, W) on the image's device, in float32, or in float64 if the network's output is; or `output`. With one
        tile, one scale and no flip the values are those of `network(image)`, bit for bit.

    Raises:
        ValueError: An argument is out of range, or the network's output does not have its input's size; or no margin
            makes tiles exact (the message says why).
        TypeError: The network returns something other than a tensor.

    Example:
        >>> image = torch.rand(1, 3, 50, 70)
        >>> merged = run_tiled(lambda x: 2 * x, image, Tiling(32, overlap=1 / 3))
        >>> torch.allclose(merged, 2 * image)
        True
        >>> network = torch.nn.Conv2d(3, 2, 5, padding=2).eval()
        >>> merged = run_tiled(network, image, Tiling(32), margin="exact")
        >>> torch.allclose(merged, network(image), atol=1e-6)
        True
    """
    options = Options(average, batch_size, flip, device, margin_of(margin, network), blend)
    source = Source(image)
    if not len(scales) or not all(isfinite(scale) and scale > 0 for scale in scales):
        message = f"Expected argument `scales` to be one or more positive numbers, but got {scales!r}"
        raise UserValueError(message)
    if list(scales) == [1]:
        run = TiledRun(network, source, tiling, options)
        return assembled(run.blocks(), run, output)
    if source.tensor is None or output is not None:
        message = "scales resize the whole image: give it as a tensor, and no `output`"
        raise UserValueError(message)
    merged: Tensor | None = None
    for scale in scales:
        resized = source.tensor if scale == 1 else _rescaled(source.tensor, scale)
        run = TiledRun(network, Source(resized), tiling, options)
        part = assembled(run.blocks(), run)
        if part.shape[2:] != source.shape[2:]:
            part = F.interpolate(part, size=source.shape[2:], mode="bilinear", align_corners=False)
        merged = part if merged is None else merged + part  # not in place: it may be the network's own tensor
    assert merged is not None
    return merged if len(scales) == 1 else merged / len(scales)


def tiled_argmax(
    network: Callable[[Tensor], Tensor],
    image: Image,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
    margin: MarginLike | None = None,
    blend: Blend = "mean",
    output: Any = None,
) -> Any:
    """The channel in which `run_tiled`, at one scale, is largest; in the memory that `tiled_blocks` takes.

    The arguments and errors are those of `run_tiled`.

    Returns:
        (N, H, W) on the image's device, of the smallest type that holds the classes: uint8 for up to 256 of them, else
        int16, int32 or int64; or `output`, (N, H, W) or (H, W) of any type that holds the classes.
    """
    options = Options(average, batch_size, flip, device, margin_of(margin, network), blend)
    run = TiledRun(network, Source(image), tiling, options)
    return assembled(((window, _argmax(block)) for window, block in run.blocks()), run, output)


def _argmax(scores: Tensor) -> Tensor:
    """The largest channel, in the smallest type; of rows in bands, since `argmax` takes 8 bytes per pixel."""
    most = scores.shape[1] - 1
    types = (torch.uint8, torch.int16, torch.int32, torch.int64)
    dtype = next(dtype for dtype in types if most <= torch.iinfo(dtype).max)
    rows = max(1, _BAND // max(1, scores.shape[0] * scores.shape[3]))
    if scores.shape[2] <= rows:
        return scores.argmax(dim=1).to(dtype)
    return torch.cat([part.argmax(dim=1).to(dtype) for part in scores.split(rows, dim=2)], dim=1)


def tiled_bands(
    network: Callable[[Tensor], Tensor],
    image: Image,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
    margin: MarginLike | None = None,
    blend: Blend = "mean",
) -> Iterator[tuple[int, Tensor]]:
    """Like `run_tiled` at one scale, from the top down: memory for one row of tiles, however tall the image.

    The arguments and errors are those of `run_tiled`.

    Yields:
        The first row, and the finished rows from there on as (N, K, h, w); together all rows, each once.
    """
    options = Options(average, batch_size, flip, device, margin_of(margin, network), blend)
    blocks = TiledRun(network, Source(image), tiling, options).blocks()
    for top, row in groupby(blocks, key=lambda placed: placed[0].top):
        parts = [block for _, block in row]
        yield top, parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)


def tiled_blocks(
    network: Callable[[Tensor], Tensor],
    image: Image,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
    margin: MarginLike | None = None,
    blend: Blend = "mean",
) -> Iterator[tuple[Window, Tensor]]:
    """Like `run_tiled` at one scale, block by block: each is handed out as soon as no further tile reaches it.

    Besides one tile, only the lower overlap of a row of tiles with the next is held: nothing where tiles do not
    overlap, so that the memory is that of one tile with its margin, whatever the image's size.

    The arguments and errors are those of `run_tiled`.

    Yields:
        A block's place in the output, and its values (N, K, h, w); together all pixels, each once, row of tiles by row
        of tiles.
    """
    options = Options(average, batch_size, flip, device, margin_of(margin, network), blend)
    yield from TiledRun(network, Source(image), tiling, options).blocks()


def _rescaled(image: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in image.shape[2:]]
    if image.is_floating_point():
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    # Bytes stay bytes: a network may tell 0…255 from [0, 1] by the type.
    return F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False).round().to(image.dtype)
