"""Run a dense-prediction network tile by tile and merge what it says, in memory bounded by the tile.

The papers' tile evaluation cuts a 1024x2048 image into 1024x1024 tiles, with no overlap or one of 1/3, runs each as an
image of its own and averages where tiles overlap. Nothing is padded: at a tile's edge the network's own padding acts,
which is what that evaluation is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil, isfinite
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad._fractions import as_fraction
from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from fractions import Fraction

__all__ = ["Tiling", "Window", "run_tiled", "tiled_argmax", "tiled_bands", "tiled_blocks"]

Average = Literal["logits", "probabilities"]


class Window(NamedTuple):
    """A tile's place in the image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """The image's rows it covers."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """The image's columns it covers."""
        return slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Tiles start every `ceil(size * (1 - overlap))` pixels; the last one of a row or column is shifted inward so that it
    ends with the image. Along an axis on which the image is smaller than the tile there is one tile, of the image's
    size.

    Args:
        size: Of a tile in pixels: one number, or (height, width).
        overlap: Of neighbours, as a fraction of the tile in [0, 1): a number or text such as "1/3".

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> Tiling(1024, overlap=1 / 3).stride
        (683, 683)
        >>> [window.left for window in Tiling(1024, overlap=1 / 3).windows(1024, 2048)]
        [0, 683, 1024]
    """

    size: int | tuple[int, int]
    overlap: float | str | Fraction = 0

    def __post_init__(self) -> None:
        sides = tuple(self.size) if isinstance(self.size, (tuple, list)) else (self.size, self.size)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            message = f"Expected argument `size` to be a positive integer or (height, width), but got {self.size!r}"
            raise UserValueError(message)
        overlap = as_fraction(self.overlap)
        if not 0 <= overlap < 1:
            message = f"Expected argument `overlap` to be in [0, 1), but got {self.overlap!r}"
            raise UserValueError(message)
        # Frozen, so that equal tilings are one key; 1/3, "1/3" and 0.3333333333333333 are equal.
        object.__setattr__(self, "size", sides)
        object.__setattr__(self, "overlap", overlap)

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels between the starts of neighbouring tiles, (vertically, horizontally)."""
        height, width = self.sides
        return ceil(height * (1 - as_fraction(self.overlap))), ceil(width * (1 - as_fraction(self.overlap)))

    def windows(self, height: int, width: int) -> list[Window]:
        """The tiles of an image, row by row.

        Args:
            height: Of the image, in pixels.
            width: Of the image, in pixels.

        Returns:
            Windows that lie in the image and cover it.

        Raises:
            ValueError: The image has no pixels.
        """
        if min(height, width) < 1:
            message = f"An image of {height} x {width} pixels has no tiles."
            raise UserValueError(message)
        (tall, wide), (down, right) = self.sides, self.stride
        tops, lefts = _starts(height, tall, down), _starts(width, wide, right)
        return [Window(top, left, min(tall, height), min(wide, width)) for top in tops for left in lefts]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a tile, in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(0, length - size)
    return [*range(0, last, stride), last]


@torch.no_grad()
def run_tiled(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    device: torch.device | str | None = None,
) -> Tensor:
    """Run a network over an image's tiles and average them into one map.

    No gradient is kept. A network with dropout or batch norm should be in evaluation mode.

    Args:
        network: Maps (n, C, h, w) to (n, K, h, w).
        image: (N, C, H, W), of whatever type and range the network takes.
        tiling: How to cut; None runs whole images.
        average: What is averaged where tiles overlap, and over flips and scales: the network's output, or its softmax
            over K.
        batch_size: Tiles of each image a call of the network.
        flip: Also run every tile mirrored left to right.
        scales: Run the image resized by each of these (bilinear), in tiles of the same size, and resize the outputs
            back. Positive.
        device: Where the network runs, the image's device if None. Tiles go there one batch at a time and their
            outputs come back, so with the image on the CPU its size takes no memory there.

    Returns:
        (N, K, H, W) on the image's device, in float32, or in float64 if the network's output is. With one tile, one
        scale and no flip the values are those of `network(image)`, bit for bit.

    Raises:
        ValueError: An argument is out of range, or the network's output has not the size of its input.
        TypeError: The network returns something other than a tensor.

    Example:
        >>> image = torch.rand(1, 3, 50, 70)
        >>> merged = run_tiled(lambda x: 2 * x, image, Tiling(32, overlap=1 / 3))
        >>> torch.allclose(merged, 2 * image)
        True
    """
    _check(image, average, batch_size)
    if not len(scales) or not all(isfinite(scale) and scale > 0 for scale in scales):
        message = f"Expected argument `scales` to be one or more positive numbers, but got {scales!r}"
        raise UserValueError(message)
    merged: Tensor | None = None
    for scale in scales:
        resized = image if scale == 1 else _rescaled(image, scale)
        blocks = tiled_blocks(
            network, resized, tiling, average=average, batch_size=batch_size, flip=flip, device=device
        )
        part = _assembled(blocks, resized.shape[2:])
        if part.shape[2:] != image.shape[2:]:
            part = F.interpolate(part, size=image.shape[2:], mode="bilinear", align_corners=False)
        merged = part if merged is None else merged + part  # not in place: it may be the network's own tensor
    assert merged is not None
    return merged if len(scales) == 1 else merged / len(scales)


def _assembled(blocks: Iterator[tuple[Window, Tensor]], size: Sequence[int]) -> Tensor:
    """Put blocks in their places; one that is all of the image stays the network's own tensor."""
    whole: Tensor | None = None
    for window, block in blocks:
        if block.shape[-2:] == tuple(size):
            return block
        if whole is None:
            whole = block.new_empty(*block.shape[:-2], *size)
        whole[..., window.rows, window.columns] = block
    assert whole is not None
    return whole


def tiled_argmax(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
) -> Tensor:
    """The channel in which `run_tiled`, at one scale, is largest; in the memory that `tiled_blocks` takes.

    The arguments and errors are those of `run_tiled`.

    Returns:
        (N, H, W) int64 on the image's device.
    """
    blocks = tiled_blocks(network, image, tiling, average=average, batch_size=batch_size, flip=flip, device=device)
    return _assembled(((window, block.argmax(dim=1)) for window, block in blocks), image.shape[2:])


def tiled_bands(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Like `run_tiled` at one scale, from the top down: memory for one row of tiles, however tall the image.

    The arguments and errors are those of `run_tiled`.

    Yields:
        The first row, and the finished rows from there on as (N, K, h, W); together all rows, each once.
    """
    blocks = tiled_blocks(network, image, tiling, average=average, batch_size=batch_size, flip=flip, device=device)
    for top, row in groupby(blocks, key=lambda placed: placed[0].top):
        parts = [block for _, block in row]
        yield top, parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)


@torch.no_grad()
def tiled_blocks(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    tiling: Tiling | None,
    *,
    average: Average = "logits",
    batch_size: int = 1,
    flip: bool = False,
    device: torch.device | str | None = None,
) -> Iterator[tuple[Window, Tensor]]:
    """Like `run_tiled` at one scale, block by block: each is handed out as soon as no further tile reaches it.

    What is held beside one tile is the lower overlap of a row of tiles with the next: nothing where tiles do not
    overlap, and then the memory is that of one tile, whatever the image's size.

    The arguments and errors are those of `run_tiled`.

    Yields:
        A block's place, and its values (N, K, h, w); together all pixels, each once, row of tiles by row of tiles.
    """
    _check(image, average, batch_size)
    height, width = image.shape[2:]
    windows = tiling.windows(height, width) if tiling else [Window(0, 0, height, width)]
    outputs = _outputs(network, image, windows, average, batch_size, flip, device)
    tall, wide = windows[0].height, windows[0].width
    tops = [window.top for window in windows if window.left == 0]
    lefts = [window.left for window in windows if window.top == 0]
    rows, columns = _counts(tops, tall, height, image.device), _counts(lefts, wide, width, image.device)
    # The sums so far of what the next tiles will add to: below the row of tiles above, and right of the tile before.
    above: Tensor | None = None
    for top, next_top in pairwise([*tops, height]):
        below: Tensor | None = None
        before: Tensor | None = None
        for left, next_left in pairwise([*lefts, width]):
            tile = next(outputs)
            shared = 0 if before is None else before.shape[-1]
            if above is not None or before is not None:
                tile = tile.clone()  # it may be the network's own tensor, or the image's
            if above is not None:
                tile[..., : above.shape[-2], shared:] += above[..., left + shared : left + wide]
            if before is not None:
                tile[..., :shared] += before
            down, right = next_top - top, next_left - left
            window = Window(top, left, down, right)
            done = tile[..., :down, :right]
            if len(windows) > 1:
                # An exact whole number of at most 2^24, so one division rounds once.
                done = done / (rows[window.rows, None] * columns[window.columns])
            if down < tall:
                below = tile.new_empty(*tile.shape[:2], tall - down, width) if below is None else below
                below[..., left:next_left] = tile[..., down:, :right]
            before = tile[..., right:].clone() if right < wide else None
            yield window, done
        above = below


def _outputs(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    windows: Sequence[Window],
    average: Average,
    batch_size: int,
    flip: bool,
    device: torch.device | str | None,
) -> Iterator[Tensor]:
    """What each window contributes, in the windows' order: (N, K, h, w)."""
    for first in range(0, len(windows), batch_size):
        group = windows[first : first + batch_size]
        tiles = [image[:, :, window.rows, window.columns] for window in group]
        batch = (tiles[0] if len(tiles) == 1 else torch.cat(tiles)).to(device or image.device)
        output = _evaluate(network, batch, average)
        if flip:
            output = (output + _evaluate(network, batch.flip(-1), average).flip(-1)) / 2
        yield from output.to(image.device).split(len(image))


def _evaluate(network: Callable[[Tensor], Tensor], batch: Tensor, average: Average) -> Tensor:
    output = network(batch)
    if not isinstance(output, Tensor):
        message = f"Expected the network to return a tensor, but it returned {type(output).__name__}; wrap it, please."
        raise UserTypeError(message)
    if output.dim() != 4 or (len(output), *output.shape[2:]) != (len(batch), *batch.shape[2:]):
        sizes = f"{tuple(batch.shape)} became {tuple(output.shape)}"
        message = f"Expected the network's output to have its input's size, but {sizes}"
        raise UserValueError(message)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if average == "logits":
        return output
    if output.shape[1] == 1:
        message = "average='probabilities' is a softmax over classes, but the network has one output channel."
        raise UserValueError(message)
    return output.softmax(dim=1)


def _counts(starts: Iterable[int], size: int, length: int, device: torch.device) -> Tensor:
    """How many tiles lie over each position of one axis."""
    counts = torch.zeros(length)
    for start in starts:
        counts[start : start + size] += 1
    return counts.to(device)


def _rescaled(image: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in image.shape[2:]]
    if image.is_floating_point():
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    # Bytes stay bytes: a network may tell 0…255 from [0, 1] by the type.
    return F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False).round().to(image.dtype)


def _check(image: Tensor, average: str, batch_size: int) -> None:
    if image.dim() != 4 or not image.numel():
        message = f"Expected argument `image` to be (N, C, H, W) and not empty, but got {tuple(image.shape)}"
        raise UserValueError(message)
    if average not in ("logits", "probabilities"):
        message = f"Expected argument `average` to be 'logits' or 'probabilities', but got {average!r}"
        raise UserValueError(message)
    if batch_size < 1:
        message = f"Expected argument `batch_size` to be a positive integer, but got {batch_size}"
        raise UserValueError(message)
