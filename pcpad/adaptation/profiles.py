"""How an error depends on the distance from the border, over images, with intervals by bootstrap."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Interval", "Profile", "Samples", "interval_of"]

_ROUNDS = 1000
_REACHES = 0.95  # of the squared error


class Interval(NamedTuple):
    """A number over all images, and its 95 % interval by bootstrap over the images."""

    value: float
    low: float
    high: float

    def apart(self, other: Interval) -> bool:
        """Whether the two intervals have nothing in common."""
        return self.high < other.low or other.high < self.low


class Samples:
    """The same resampled images for everything that is compared, so that comparisons are paired.

    Args:
        images: How many there are.
    """

    def __init__(self, images: int) -> None:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(images, (_ROUNDS, images), generator=generator)
        self.counts = torch.zeros(_ROUNDS + 1, images, dtype=torch.float64)
        self.counts[0] = 1  # the images themselves
        self.counts[1:].scatter_add_(1, drawn, torch.ones(_ROUNDS, images, dtype=torch.float64))

    def ratio(self, above: Tensor, below: Tensor) -> Tensor:
        """The sum of one per-image number over that of another, of all images first, then of each resample."""
        return (self.counts @ above.double()) / (self.counts @ below.double())

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a per-image number, of all images first, then of each resample."""
        return self.ratio(values, torch.ones_like(values, dtype=torch.float64))


def interval_of(draws: Tensor) -> Interval:
    """The first of the draws, and where 95 % of the others lie.

    Args:
        draws: As `Samples` gives them.
    """
    low, high = torch.quantile(draws[1:], torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return Interval(float(draws[0]), low, high)


class Profile:
    """Squared errors of maps by distance from their border, image by image.

    Errors are in units of what they are errors of: the mean square, over channels, pixels and images, is divided by
    the reference's mean variance within an image and channel. A relative error of 1 is as large as all that the
    reference tells apart.

    Args:
        size: Height and width of the maps.
        stride: How many pixels of the input lie between two of theirs.

    Attributes:
        errors: (images, rings): the sum of squares in each ring of pixels, mean over channels; the border's first.
        spread: (images,): the reference's variance.
        map: (H, W): the sum of squares over images, mean over channels.
    """

    def __init__(self, size: tuple[int, int], stride: Fraction) -> None:
        height, width = size
        self.stride = stride
        rows, columns = (torch.minimum(x := torch.arange(n), n - 1 - x) for n in (height, width))
        self._ring = torch.minimum(rows[:, None], columns[None, :])
        rings = int(self._ring.max()) + 1
        self.pixels = torch.bincount(self._ring.flatten(), minlength=rings).double()
        self.errors = torch.zeros(0, rings, dtype=torch.float64)
        self.spread = torch.zeros(0, dtype=torch.float64)
        self.map = torch.zeros(height, width, dtype=torch.float64)

    def update(self, found: Tensor, reference: Tensor) -> None:
        """Add a batch of maps (N, C, H, W) and what they ought to be."""
        squares = (found.double() - reference.double()).square().mean(1).cpu()
        sums = torch.zeros(len(squares), self.errors.shape[1], dtype=torch.float64)
        sums.index_add_(1, self._ring.flatten(), squares.flatten(1))
        self.errors = torch.cat([self.errors, sums])
        variance = reference.double().var((-2, -1), correction=0).mean(1).cpu()
        self.spread = torch.cat([self.spread, variance])
        self.map += squares.sum(0)

    @property
    def distances(self) -> list[float]:
        """How far each ring is from the border, in pixels of the input."""
        return [float(ring * self.stride) for ring in range(len(self.pixels))]

    def band(self, width: float, inside: bool = False) -> Tensor:
        """Per image the mean square within `width` pixels of the border, one ring at least, or of all further in."""
        rings = max(1, sum(distance < width for distance in self.distances))
        rings = min(rings, len(self.pixels) - 1) or 1
        chosen = slice(rings, None) if inside and rings < len(self.pixels) else slice(0, rings)
        return self.errors[:, chosen].sum(1) / self.pixels[chosen].sum()

    def relative(self, samples: Samples, width: float, inside: bool = False) -> Tensor:
        """The relative error of a band, root mean square, of all images and each resample."""
        return samples.ratio(self.band(width, inside), self.spread).sqrt()

    def curve(self) -> list[float]:
        """The relative error of each ring."""
        return (self.errors.sum(0) / self.pixels / self.spread.sum()).sqrt().tolist()

    def whole(self) -> float:
        """The relative error of all pixels together."""
        return float((self.errors.sum() / self.pixels.sum() / self.spread.sum()).sqrt())

    def reach(self) -> float | None:
        """Within how many pixels of the input 95 % of the squared error lie; None without any error."""
        sums = self.errors.sum(0)
        if float(sums.sum()) == 0:
            return None
        part = sums.cumsum(0) / sums.sum()
        return float((int((part < _REACHES).sum()) + 1) * self.stride)

    def margin(self, tolerance: float) -> float | None:
        """The least distance, in pixels of the input, from which on no ring errs by more; None where there is none.

        Args:
            tolerance: A relative error.
        """
        over = [ring for ring, error in enumerate(self.curve()) if not error <= tolerance]
        if not over:
            return 0.0
        return float((over[-1] + 1) * self.stride) if over[-1] + 1 < len(self.pixels) else None

    def sides(self, width: float) -> dict[str, float]:
        """The relative error along each side, corners left out."""
        band = max(1, sum(distance < width for distance in self.distances))
        height, columns = self.map.shape
        if min(height, columns) < 2 * band + 1:
            band = max(1, (min(height, columns) - 1) // 2)
        inner, across = slice(band, height - band), slice(band, columns - band)
        parts = {
            "top": self.map[:band, across],
            "bottom": self.map[height - band :, across],
            "left": self.map[inner, :band],
            "right": self.map[inner, columns - band :],
        }
        return {
            name: float((part.mean() / self.spread.sum()).sqrt()) if part.numel() else float("nan")
            for name, part in parts.items()
        }
