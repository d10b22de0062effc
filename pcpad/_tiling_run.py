"""The network over the tiles of one image: what is read, what is kept, and how overlapping tiles are merged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import pi
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from pcpad._tiling_margins import Margin, least_read
from pcpad._tiling_sources import Sink, Source
from pcpad._tiling_windows import Tiling, Window, exact_windows, read_window
from pcpad.adaptation.reach import Reach
from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Average", "Blend", "Options", "TiledRun", "assembled"]

Average = Literal["logits", "probabilities"]
Blend = Literal["mean", "linear", "hann"]


@dataclass(frozen=True)
class Options:
    """Settings that do not depend on the image."""

    average: Average
    batch_size: int
    flip: bool
    device: torch.device | str | None
    margin: Margin | None
    blend: Blend

    def __post_init__(self) -> None:
        if self.average not in get_args(Average):
            message = f"Expected argument `average` to be 'logits' or 'probabilities', but got {self.average!r}"
            raise UserValueError(message)
        if self.blend not in get_args(Blend):
            message = f"Expected argument `blend` to be 'mean', 'linear' or 'hann', but got {self.blend!r}"
            raise UserValueError(message)
        if self.batch_size < 1:
            message = f"Expected argument `batch_size` to be a positive integer, but got {self.batch_size}"
            raise UserValueError(message)


class TiledRun:
    """A network over the tiles of one image."""

    def __init__(
        self, network: Callable[[Tensor], Tensor], source: Source, tiling: Tiling | None, options: Options
    ) -> None:
        self.network, self.source, self.options = network, source, options
        self.size = (source.shape[2], source.shape[3])
        self.reach = Reach((0, 0))
        self.merges = True
        if options.margin is None:
            self.windows = tiling.windows(*self.size) if tiling else [Window(0, 0, *self.size)]
            return
        whole = tiling is None or all(side >= length for side, length in zip(tiling.sides, self.size, strict=True))
        kind = None if source.tensor is None or not source.tensor.is_floating_point() else source.tensor.dtype
        device = options.device or source.device
        self.reach = options.margin.reach(*self.size, source.shape[1], device, kind, whole=whole)
        if tiling is None or whole:
            self.windows = [Window(0, 0, *self.size)]
            return
        self.merges = tiling.overlap != 0
        if self.merges and options.margin.is_exact:
            message = "Tiles with an exact margin need no overlap, which only makes more of them: choose overlap=0"
            raise UserValueError(message)
        options.margin.tell(self.reach, tiling.sides, self.size)
        if not self.merges:
            self.windows = exact_windows(*self.size, tiling.sides, self.reach.alignment)
        else:
            self.windows = tiling.windows(*self.size)
        if any(scale.denominator > 1 for scale in self.reach.scale) and (
            self.merges or any(side % step for side, step in zip(self.size, self.reach.alignment, strict=True))
        ):
            message = (
                "The network's output is smaller than its input: its tiles may not overlap, and the image's sides must "
                f"be multiples of {self.reach.alignment}, but it is of {self.size}"
            )
            raise UserValueError(message)

    @property
    def whole(self) -> tuple[int, int]:
        """Height and width of the output."""
        placed = self._scaled(Window(0, 0, *self.size))
        return placed.height, placed.width

    @torch.no_grad()
    def blocks(self) -> Iterator[tuple[Window, Tensor]]:
        """Finished blocks and their places."""
        if not self.merges:
            yield from zip(map(self._scaled, self.windows), self._outputs(), strict=True)
            return
        outputs, windows = self._outputs(), [self._scaled(window) for window in self.windows]
        height, width = self.whole
        tall, wide = windows[0].height, windows[0].width
        tops = [window.top for window in windows if window.left == 0]
        lefts = [window.left for window in windows if window.top == 0]
        device, blend = self.source.device, self.options.blend
        rows, columns = _sums(tops, tall, height, blend, device), _sums(lefts, wide, width, blend, device)
        # The sums so far of what the next tiles add to: below the row of tiles above, and right of the tile before.
        above: Tensor | None = None
        for top, next_top in pairwise([*tops, height]):
            below: Tensor | None = None
            before: Tensor | None = None
            for left, next_left in pairwise([*lefts, width]):
                tile = next(outputs)
                shared = 0 if before is None else before.shape[-1]
                if blend != "mean" and len(windows) > 1:
                    weights = _weights(tall, blend, device)[:, None] * _weights(wide, blend, device)
                    tile = tile * weights.to(tile.dtype)
                elif above is not None or before is not None:
                    tile = tile.clone()  # it may be the network's own tensor, or the image's
                if above is not None:
                    tile[..., : above.shape[-2], shared:] += above[..., left + shared : left + wide]
                if before is not None:
                    tile[..., :shared] += before
                down, right = next_top - top, next_left - left
                window = Window(top, left, down, right)
                done = tile[..., :down, :right]
                if len(windows) > 1:
                    # The divisor of the mean is a whole number of at most 2^24, exact, so one division rounds once.
                    done = done / (rows[window.rows, None] * columns[window.columns]).to(done.dtype)
                if down < tall:
                    below = tile.new_empty(*tile.shape[:2], tall - down, width) if below is None else below
                    below[..., left:next_left] = tile[..., down:, :right]
                before = tile[..., right:].clone() if right < wide else None
                yield window, done
            above = below

    def _scaled(self, window: Window) -> Window:
        """The place in the output of a place in the image."""
        (down, right), (top, left, height, width) = self.reach.scale, window
        return Window(int(top * down), int(left * right), int(height * down), int(width * right))

    def _outputs(self) -> Iterator[Tensor]:
        """The contribution of each window, in the windows' order: (N, K, h, w)."""
        flips = [False, True] if self.options.flip else [False]
        placed = [[self._read(window, flip) for flip in flips] for window in self.windows]
        first = 0
        while first < len(placed):  # as many as have one size, and no more than a batch
            sizes = [read[2:] for read in placed[first]]
            last = first + 1
            while (
                last < min(len(placed), first + self.options.batch_size)
                and [read[2:] for read in placed[last]] == sizes
                and self.windows[last][2:] == self.windows[first][2:]
            ):
                last += 1
            kept = self.windows[first:last]
            ways = [
                self._evaluated(kept, [each[way] for each in placed[first:last]], flip)
                for way, flip in enumerate(flips)
            ]
            output = ways[0] if len(ways) == 1 else (ways[0] + ways[1]) / 2
            yield from output.to(self.source.device).split(self.source.shape[0])
            first = last

    def _read(self, kept: Window, flip: bool) -> Window:
        """The pixels read for a window; mirrored, the image's last column is the first, from which strides count."""
        if self.options.margin is None:
            return kept
        width = self.size[1]
        kept = kept._replace(left=width - kept.left - kept.width) if flip else kept
        sides = (self.windows[0].height, self.windows[0].width)
        read = read_window(kept, self.size, self.reach.margin, self.reach.alignment, least_read(sides, self.reach))
        return read._replace(left=width - read.left - read.width) if flip else read

    def _evaluated(self, kept: Sequence[Window], read: Sequence[Window], flip: bool) -> Tensor:
        """The kept parts of the outputs of one batch of tiles."""
        tiles = [self.source.tile(window) for window in read]
        batch = (tiles[0] if len(tiles) == 1 else torch.cat(tiles)).to(self.options.device or self.source.device)
        output = self._checked(self.network(batch.flip(-1) if flip else batch), batch)
        output = output.flip(-1) if flip else output
        if all(window[2:] == other[2:] for window, other in zip(kept, read, strict=True)):
            return output
        parts = []
        for part, window, around in zip(output.split(self.source.shape[0]), kept, read, strict=True):
            shift = Window(window.top - around.top, window.left - around.left, window.height, window.width)
            inner = self._scaled(shift)
            parts.append(part[:, :, inner.rows, inner.columns])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _checked(self, output: Any, batch: Tensor) -> Tensor:
        """The network's output in float32 or wider, as probabilities if these are averaged."""
        if not isinstance(output, Tensor):
            message = (
                f"Expected the network to return a tensor, but it returned {type(output).__name__}: pass a function "
                "that returns one, such as lambda image: network(image)['out']"
            )
            raise UserTypeError(message)
        size = tuple(side * scale for side, scale in zip(batch.shape[2:], self.reach.scale, strict=True))
        if output.dim() != 4 or (len(output), *output.shape[2:]) != (len(batch), *size):
            sizes = f"{tuple(batch.shape)} became {tuple(output.shape)}"
            message = f"Expected the network's output to have its input's size, but {sizes}"
            if any(scale != 1 for scale in self.reach.scale):
                message = f"Expected the network's output to be {' x '.join(map(str, size))}, but {sizes}"
            raise UserValueError(message)
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        logits: Tensor = output
        if self.options.average == "logits":
            return logits
        if logits.shape[1] == 1:
            message = "average='probabilities' is a softmax over classes, but the network has one output channel."
            raise UserValueError(message)
        return logits.softmax(dim=1)


def assembled(blocks: Iterator[tuple[Window, Tensor]], run: TiledRun, output: Any = None) -> Any:
    """Put blocks in their places; one that is all of the image stays the network's own tensor."""
    whole: Tensor | None = None
    sink: Sink | None = None
    for window, block in blocks:
        if output is None and block.shape[-2:] == run.whole:
            return block
        if whole is None and sink is None:
            shape = (*block.shape[:-2], *run.whole)
            if output is None:
                whole = block.new_empty(shape)
            else:
                sink = Sink(output, shape, block.is_floating_point())
        if whole is not None:
            whole[..., window.rows, window.columns] = block
        elif sink is not None:
            sink.write(window, block)
    return whole if output is None else output


def _weights(size: int, blend: Blend, device: torch.device) -> Tensor:
    """A tile's weights along one axis, in float64."""
    if blend == "mean":
        return torch.ones(size, dtype=torch.float64, device=device)
    place = (torch.arange(size, dtype=torch.float64, device=device) + 0.5) / size
    return torch.minimum(place, 1 - place) * 2 if blend == "linear" else torch.sin(pi * place) ** 2


def _sums(starts: Iterable[int], size: int, length: int, blend: Blend, device: torch.device) -> Tensor:
    """The sum of all tiles' weights at each position of one axis."""
    sums = torch.zeros(length, dtype=torch.float64, device=device)
    for start in starts:
        sums[start : start + size] += _weights(size, blend, device)
    return sums
