"""Errors by distance from the border, over images, with bootstrap intervals."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Interval", "Profile", "Samples", "interval_of"]

_ROUNDS = 1000
_REACHES = 0.95  # of the squared error


class Interval(NamedTuple):
    """A statistic of all images, and its 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float

    def apart(self, other: Interval) -> bool:
        """Whether the two intervals are disjoint."""
        return self.high < other.low or other.high < self.low


class Samples:
    """Bootstrap resamples of images, the same for everything compared, so that comparisons are paired.

    Args:
        images: The number of images.
    """

    def __init__(self, images: int) -> None:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(images, (_ROUNDS, images), generator=generator)
        self.counts = torch.zeros(_ROUNDS + 1, images, dtype=torch.float64)
        self.counts[0] = 1  # the images themselves
        self.counts[1:].scatter_add_(1, drawn, torch.ones(_ROUNDS, images, dtype=torch.float64))

    def ratio(self, above: Tensor, below: Tensor) -> Tensor:
        """The ratio of two sums of per-image values: first over all images, then over each resample."""
        return (self.counts @ above.double()) / (self.counts @ below.double())

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a per-image value: first over all images, then over each resample."""
        return self.ratio(values, torch.ones_like(values, dtype=torch.float64))


def interval_of(draws: Tensor) -> Interval:
    """The first value, and the 95 % interval of the others.

    Args:
        draws: As returned by `Samples`.
    """
    low, high = torch.quantile(draws[1:], torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return Interval(float(draws[0]), low, high)


class Profile:
    """Squared errors of maps by distance from their border, per image.

    Errors are relative: the mean square over channels, pixels and images is divided by the reference's mean variance
    within an image and channel. A relative error of 1 equals the reference's standard deviation.

    Args:
        size: Height and width of the maps.
        stride: Pixels of the input per pixel of the maps.

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
        """Add a batch of maps (N, C, H, W) and their references."""
        squares = (found.double() - reference.double()).square().mean(1).cpu()
        sums = torch.zeros(len(squares), self.errors.shape[1], dtype=torch.float64)
        sums.index_add_(1, self._ring.flatten(), squares.flatten(1))
        self.errors = torch.cat([self.errors, sums])
        variance = reference.double().var((-2, -1), correction=0).mean(1).cpu()
        self.spread = torch.cat([self.spread, variance])
        self.map += squares.sum(0)

    @property
    def distances(self) -> list[float]:
        """Each ring's distance from the border, in pixels of the input."""
        return [float(ring * self.stride) for ring in range(len(self.pixels))]

    def band(self, width: float, inside: bool = False) -> Tensor:
        """The mean square per image within `width` pixels of the border (at least one ring), or of the interior."""
        rings = max(1, sum(distance < width for distance in self.distances))
        rings = min(rings, len(self.pixels) - 1) or 1
        chosen = slice(rings, None) if inside and rings < len(self.pixels) else slice(0, rings)
        return self.errors[:, chosen].sum(1) / self.pixels[chosen].sum()

    def relative(self, samples: Samples, width: float, inside: bool = False) -> Tensor:
        """The relative root mean square error of a band, over all images and over each resample."""
        return samples.ratio(self.band(width, inside), self.spread).sqrt()

    def curve(self) -> list[float]:
        """The relative error of each ring."""
        return (self.errors.sum(0) / self.pixels / self.spread.sum()).sqrt().tolist()

    def whole(self) -> float:
        """The relative error of all pixels together."""
        return float((self.errors.sum() / self.pixels.sum() / self.spread.sum()).sqrt())

    def reach(self) -> float | None:
        """The distance, in pixels of the input, within which 95 % of the squared error lies; None without any error."""
        sums = self.errors.sum(0)
        if float(sums.sum()) == 0:
            return None
        part = sums.cumsum(0) / sums.sum()
        return float((int((part < _REACHES).sum()) + 1) * self.stride)

    def margin(self, tolerance: float) -> float | None:
        """The smallest distance (pixels of the input) from which on no ring exceeds the tolerance; None without one.

        Args:
            tolerance: A relative error.
        """
        over = [ring for ring, error in enumerate(self.curve()) if not error <= tolerance]
        if not over:
            return 0.0
        return float((over[-1] + 1) * self.stride) if over[-1] + 1 < len(self.pixels) else None

    def sides(self, width: float) -> dict[str, float]:
        """The relative error along each side, without the corners."""
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
