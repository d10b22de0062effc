"""The margin of tiles: computed from the network, and what it costs."""

from __future__ import annotations

import warnings
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from pcpad._tiling_windows import Window, read_window
from pcpad.adaptation.reach import Reach, receptive_field
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

__all__ = ["Margin", "MarginLike", "least_read", "margin_of", "overhead"]

_GENEROUS = 4  # a tile of four margins a side costs (1 + 2/4)^2 = 2.25 times the image


class Margin:
    """The pixels around tiles that a network reads beyond the part of its output that is kept.

    What was found of the network is cached for the next images, so the network must not be changed in between.

    Args:
        margin: `exact`: as far as the network looks, so that tiles equal the whole image; or pixels, one number or
            (vertically, horizontally).
        network: The network to analyze; the one that is run if None. For one that refuses NaN, the network inside it.

    Raises:
        ValueError: It is neither.

    Example:
        >>> import torch
        >>> margin = Margin("exact", torch.nn.Conv2d(3, 4, 5, padding=2).eval())
        >>> margin.reach(100, 120, 3).margin
        (2, 2)
    """

    def __init__(self, margin: Any = "exact", network: Callable[[Tensor], Any] | None = None) -> None:
        _check(margin)
        self.margin = margin
        self.network = network
        self._found: dict[tuple[int, ...], Reach] = {}
        self._told: set[tuple[int, ...]] = set()

    @property
    def is_exact(self) -> bool:
        """Whether tiles must equal the whole image."""
        return isinstance(self.margin, (str, Reach))

    def reach(
        self,
        height: int,
        width: int,
        channels: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        whole: bool = False,
    ) -> Reach:
        """The network's reach on images of this size, or the requested margin, with the network's strides.

        Args:
            height: The image's height.
            width: The image's width.
            channels: The image's channels.
            device: See `receptive_field`.
            dtype: See `receptive_field`.
            whole: Whether the image is run as a whole, where there are no obstacles.

        Raises:
            ValueError: An exact one was requested, and there is none.
        """
        if isinstance(self.margin, Reach):
            if self.margin.obstacles and not whole:
                raise UserValueError(_no_margin(self.margin, (height, width)))
            return self.margin
        assert self.network is not None
        known = self._found.get((channels, 0, 0))
        if known is None:
            known = self._found[channels, 0, 0] = receptive_field(
                self.network, channels=channels, device=device, dtype=dtype
            )
        if not isinstance(self.margin, str) and not whole:
            given = _pair(self.margin)
            down, right = (-(-side // step) * step for side, step in zip(given, known.alignment, strict=True))
            return Reach((down, right), known.alignment, (), known.scale)
        if whole:
            return known
        rest = (height % known.alignment[0], width % known.alignment[1])
        if any(rest) and not known.obstacles:
            key = (channels, *rest)
            if key not in self._found:
                self._found[key] = receptive_field(
                    self.network, (height, width), channels=channels, device=device, dtype=dtype
                )
            known = self._found[key]
        if known.obstacles:
            raise UserValueError(_no_margin(known, (height, width)))
        return known

    def tell(self, reach: Reach, sides: tuple[int, int], size: tuple[int, int]) -> None:
        """Warn, once, where margins are wider than tiles."""
        key = (*sides, *size)
        if all(margin <= side for margin, side in zip(reach.margin, sides, strict=True)) or key in self._told:
            return
        if sides[0] >= size[0] and sides[1] >= size[1]:
            return
        self._told.add(key)
        proposed = tuple(
            min(length, -(-max(side, _GENEROUS * margin) // 64) * 64)
            for length, side, margin in zip(size, sides, reach.margin, strict=True)
        )
        better = overhead(proposed, reach, size)
        if proposed == size:
            advice = "the whole image at once (no tiles) would take 1 time"
        else:
            read = " x ".join(
                str(min(length, side + 2 * far)) for length, side, far in zip(size, proposed, reach.margin, strict=True)
            )
            advice = f"tiles of {proposed[0]} x {proposed[1]} would take {better:.2f} times, {read} pixels at once"
        warnings.warn(
            f"The network looks {reach.margin[0]} x {reach.margin[1]} pixels beyond its tiles of {sides[0]} x "
            f"{sides[1]}: an image of {size[0]} x {size[1]} takes {overhead(sides, reach, size):.2f} times the pixels; "
            f"{advice}.",
            stacklevel=2,
        )


MarginLike = Margin | Reach | Literal["exact"] | int | tuple[int, int]


def margin_of(margin: MarginLike | None, network: Callable[[Tensor], Any]) -> Margin | None:
    """The margin for a network; the same object if it is a `Margin` already, which then only serves this network."""
    if margin is None:
        return None
    found = margin if isinstance(margin, Margin) else Margin(margin)
    found.network = network if found.network is None else found.network
    return found


def overhead(sides: Sequence[int], reach: Reach, size: tuple[int, int]) -> float:
    """How many pixels are run through the network per pixel of the image.

    Args:
        sides: A tile's sides.
        reach: The network's reach.
        size: The image's size.
    """
    down, right = (max(step, side // step * step) for side, step in zip(sides, reach.alignment, strict=True))
    least = least_read((down, right), reach)
    per_axis = []
    for axis, step in ((0, down), (1, right)):
        total = 0
        for start in range(0, size[axis], step):
            kept = Window(start, start, min(step, size[axis] - start), min(step, size[axis] - start))
            square = (size[axis], size[axis])
            margin, alignment = ((value[axis], value[axis]) for value in (reach.margin, reach.alignment))
            total += read_window(kept, square, margin, alignment, (least[axis], least[axis])).height
        per_axis.append(total)
    return prod(per_axis) / prod(size)


def least_read(sides: Sequence[int], reach: Reach) -> tuple[int, int]:
    """The pixels to read for a small tile at the image's end: no fewer than for the one at its start."""
    return sides[0] + reach.margin[0], sides[1] + reach.margin[1]


def _check(margin: Any) -> None:
    """Refuse an invalid margin.

    Raises:
        ValueError: It is neither `exact` nor pixels.
    """
    if isinstance(margin, (Reach, Margin)) or margin == "exact":
        return
    sides = tuple(margin) if isinstance(margin, (tuple, list)) else (margin, margin)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in sides):
        message = f"Expected argument `margin` to be 'exact' or pixels, one number or two, but got {margin!r}"
        raise UserValueError(message)


def _pair(margin: Any) -> tuple[int, int]:
    down, right = margin if isinstance(margin, (tuple, list)) else (margin, margin)
    return down, right


def _no_margin(reach: Reach, size: tuple[int, int]) -> str:
    far = max(reach.margin)
    listed = "\n".join(f"  {obstacle}" for obstacle in reach.obstacles)
    sizes = ""
    if any("no multiple of" in obstacle for obstacle in reach.obstacles):
        near = " x ".join(str(side // step * step) for side, step in zip(size, reach.alignment, strict=True))
        sizes = f" images whose sides are multiples of {reach.alignment[0]} and {reach.alignment[1]} ({near}),"
    return (
        f"No margin makes tiles of an image of {size[0]} x {size[1]} exact:\n{listed}\nParts and the whole differ by "
        f"up to {reach.difference:.2g} of the largest value. Use{sizes} whole images or, if tiles need not be exact, a "
        f"margin of {far} pixels for the rest of the network, with tiles that overlap and blend='hann'."
    )
