"""Fill the holes of a picture one after the other, in windows around them; large ones from coarse to fine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pcpad._filling_methods import CLASSICAL, REACH, Pixels, network_solver
from pcpad._filling_rule import Method, method_for
from pcpad._filling_scales import enlarged, reduced
from pcpad._filling_windows import Group, groups, pieces

if TYPE_CHECKING:
    from pcpad._filling_tiles import Inpainter

__all__ = ["Filler", "Summary"]

_CONTEXT = 64  # pixels of context for a network that does not state its own
_LEAST_CONTEXT, _CONTEXT_OF_DEPTH = 24, 6.0  # a thin hole needs less: 6 times its half thickness, 24 at least
_MOST = 1 << 19  # pixels of a piece with its surroundings
_MOST_BIHARMONIC = 1 << 16  # its time grows faster than the hole
_LEAST = 8  # a side of this length is not halved further


@dataclass
class Summary:
    """How the holes of a picture were filled.

    Attributes:
        methods: How many pixels of holes each method filled.
        unreached: How many of these are farther from any valid pixel than their method reaches: they come from the
            picture filled at half its size or less, so they are blurred.
    """

    methods: Counter[str] = field(default_factory=Counter)
    unreached: int = 0


class Filler:
    """The available methods, and the picture they work on."""

    def __init__(
        self,
        pixels: Pixels,
        hole: np.ndarray,
        method: Method,
        network: Inpainter | None,
        device: torch.device | str | None,
        white: float | None,
    ) -> None:
        self.pixels = pixels
        self.size = (hole.shape[0], hole.shape[1])
        self.hole = hole
        self.left = (hole != 0).view(np.uint8)  # the remaining holes; a copy, as it shrinks
        self.method = method
        self.solvers = dict(CLASSICAL)
        self.reach = dict(REACH)
        self.context = _CONTEXT // 2
        self.has_network = network is not None
        self.reached: Callable[[np.ndarray], np.ndarray] | None = None
        if network is not None:
            self.context = max(1, int(getattr(network, "context", _CONTEXT)))
            self.solvers["network"] = network_solver(network, _device_of(network, device), white)
            self.reach["network"] = self.context
            self.reached = _reached_by(network)
        self.summary = Summary()

    def fill(self, progress: Callable[[int], None] | None) -> Summary:
        """Fill all holes, one group after the other."""
        most = _MOST_BIHARMONIC if self.method == "biharmonic" else max(_MOST, (3 * self.context) ** 2)
        for group in groups(self.left):
            cut = list(pieces(group, self.size, self.context, most))
            far = self._far(group) if len(cut) > 1 else None
            for piece in cut:
                own = np.zeros([part.stop - part.start for part in piece.around], bool)
                own[piece.inner] = group.owned(piece)
                own &= self.left[piece.around] != 0
                if own.any():
                    self._piece(piece.around, own, far)
                    if progress is not None:
                        progress(int(np.count_nonzero(own)))
        return self.summary

    def _piece(self, around: tuple[slice, slice], own: np.ndarray, far: _Far | None) -> None:
        """Fill a piece's own pixels, with only as much context as their thickness requires."""
        import cv2

        depth = cv2.distanceTransform((self.hole[around] != 0).view(np.uint8), cv2.DIST_L2, 5)
        margin = min(self.context, max(_LEAST_CONTEXT, int(_CONTEXT_OF_DEPTH * float(depth[own].max()))))
        close = tuple(
            slice(max(0, int(places[0]) - margin), int(places[-1]) + 1 + margin)
            for places in (np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0)))
        )
        own, depth = own[close], depth[close]
        rows, columns = (
            slice(part.start + cut.start, min(part.stop, part.start + cut.stop))
            for part, cut in zip(around, close, strict=True)
        )
        around = (rows, columns)
        hole = self.left[around] != 0
        window = self.pixels[around].copy()
        window[hole] = 0  # may be NaN
        self._window(window, hole, own, depth, far.within(around) if far is not None else None)
        self.pixels[around][own] = window[own]
        self.left[around][own] = 0

    def _window(
        self,
        pixels: Pixels,
        hole: np.ndarray,
        own: np.ndarray,
        depth: np.ndarray | None = None,
        far: Pixels | None = None,
    ) -> None:
        """Fill the pixels `own` of a window in place, and perhaps other pixels of its holes.

        Args:
            pixels: (h, w, C), 0 in holes.
            hole: (h, w) bool.
            own: The pixels to fill.
            depth: Distance of each hole pixel to the nearest valid one before any piece was filled; None at reduced
                sizes, where no pixels are counted.
            far: The window taken from a coarser picture, for pixels far from any valid one; made if needed when None.
        """
        import cv2

        counted = depth is not None
        if depth is None:
            depth = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 5)
        parts = self._parts(hole, own, depth)
        left = hole.copy()
        deep = np.zeros_like(hole)
        for name, part in parts.items():
            deep |= part & (depth > self.reach[name])
            if name == "network" and self.reached is not None:
                deep |= part & ~self.reached(hole)
            if counted:
                self.summary.methods[name] += int(np.count_nonzero(part & own))
        if deep.any() and min(hole.shape) > _LEAST:
            guess = self._coarser(pixels, hole, deep) if far is None else far
            pixels[deep] = guess[deep]
            left &= ~deep
            if counted:
                self.summary.unreached += int(np.count_nonzero(deep & own))
        for name in ("network", "telea", "ns", "biharmonic"):
            part = parts.get(name, hole) & left
            if name not in parts or not part.any():
                continue
            if name == "biharmonic":
                # It takes long for large holes: those that other methods fill in another window get a quick guess here.
                others = left & ~part
                if others.any():
                    pixels[others] = CLASSICAL["telea"](pixels, left)[others]
                pixels[part] = self.solvers[name](pixels, part)[part]
            else:
                pixels[part] = self.solvers[name](pixels, left)[part]
            left &= ~part

    def _parts(self, hole: np.ndarray, own: np.ndarray, depth: np.ndarray) -> dict[str, np.ndarray]:
        """The pixels of the window's holes that each method fills; holes with nothing to fill are left out."""
        import cv2

        count, labels = cv2.connectedComponents(hole.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        wanted = np.zeros(count, bool)
        wanted[labels[own]] = True
        if self.method != "auto":
            return {self.method: wanted[labels]}
        thickest = np.zeros(count, np.float32)
        flat = labels[hole]
        np.maximum.at(thickest, flat, depth[hole])
        areas = np.bincount(flat, minlength=count)
        chosen: dict[str, np.ndarray] = {}
        for number in np.flatnonzero(wanted):
            name = method_for(2 * float(thickest[number]), int(areas[number]), has_network=self.has_network)
            chosen.setdefault(name, np.zeros(count, bool))[number] = True
        return {name: numbers[labels] for name, numbers in chosen.items()}

    def _coarser(self, pixels: Pixels, hole: np.ndarray, deep: np.ndarray) -> Pixels:
        """The window, filled at half its size and enlarged again."""
        half, half_hole = reduced(pixels, hole, 2)
        wanted = reduced(deep[..., None].astype(np.float32), np.zeros_like(hole), 2)[0][..., 0] > 0
        if (wanted & half_hole).any():
            self._window(half, half_hole, wanted & half_hole)
        return enlarged(half, 2, hole.shape)

    def _far(self, group: Group) -> _Far | None:
        """Fill a group of holes that is too large for one piece at a size at which it fits; None if not needed."""
        import cv2

        top, left = max(0, group.top - self.context), max(0, group.left - self.context)
        around = (slice(top, group.bottom + self.context), slice(left, group.right + self.context))
        hole = self.left[around] != 0
        scale = 2
        while hole.size > _MOST * scale**2:
            scale *= 2
        small, small_hole = reduced(self.pixels[around], hole, scale)
        del hole
        depth = cv2.distanceTransform(small_hole.view(np.uint8), cv2.DIST_L2, 5)
        if scale * float(depth.max()) + scale <= min(self.reach[name] for name in self._candidates()):
            return None
        self._window(small, small_hole, small_hole)
        return _Far(small, scale, (top, left))

    def _candidates(self) -> list[str]:
        """The methods that may be used."""
        return list(self.solvers) if self.method == "auto" else [self.method]


class _Far(NamedTuple):
    """A part of the picture at a fraction of its size."""

    pixels: Pixels
    scale: int
    corner: tuple[int, int]

    def within(self, around: tuple[slice, slice]) -> Pixels:
        """The part at full size, within a window of the picture."""
        starts, ends = [], []
        for part, corner, length in zip(around, self.corner, self.pixels.shape, strict=False):
            # One more pixel on each side, for the interpolation.
            starts.append(min(length - 1, max(0, (part.start - corner) // self.scale - 1)))
            ends.append(min(length, -(-(part.stop - corner) // self.scale) + 1))
        cut = self.pixels[starts[0] : ends[0], starts[1] : ends[1]]
        large = enlarged(cut, self.scale, (cut.shape[0] * self.scale, cut.shape[1] * self.scale))
        rows, columns = (
            np.clip(np.arange(part.start, part.stop) - corner - start * self.scale, 0, length - 1)
            for part, corner, start, length in zip(around, self.corner, starts, large.shape, strict=False)
        )
        pixels: Pixels = large[rows[:, None], columns]
        return pixels


def _reached_by(network: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Which output pixels depend on a valid pixel, as the network states for a hole (h, w); None if it does not."""
    says = getattr(network, "reached", None)
    if says is None:
        return None
    return lambda hole: says(torch.from_numpy(~hole)[None, None].float())[0, 0].cpu().numpy().astype(bool)


def _device_of(network: Any, device: torch.device | str | None) -> torch.device | str | None:
    """The device that a network runs on: the requested one, or that of its parameters."""
    if device is not None or not isinstance(network, torch.nn.Module):
        return device
    return next((parameter.device for parameter in network.parameters()), None)
