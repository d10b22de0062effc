"""One picture filled, whatever its size and that of its holes: windows around holes, coarse to fine in large ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from pcpad._filling_methods import CLASSICAL, REACH, Pixels, network_solver
from pcpad._filling_rule import method_for
from pcpad._filling_scales import enlarged, reduced
from pcpad._filling_windows import Group, groups, pieces
from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError

if TYPE_CHECKING:
    from pcpad._filling_tiles import Inpainter

__all__ = ["METHODS", "Filled", "Method", "Summary", "fill_picture", "fill_pixels", "shipped_network"]

Method = Literal["auto", "network", "biharmonic", "telea", "ns"]
METHODS: tuple[Method, ...] = get_args(Method)

_CONTEXT = 64  # pixels around a hole for a network that does not say how many it should be given
_MOST = 1 << 19  # pixels of a piece with its surroundings
_MOST_BIHARMONIC = 1 << 16  # its time grows faster than what it fills
_LEAST = 8  # a side that is not halved any more


@dataclass
class Summary:
    """How the holes of a picture were filled.

    Attributes:
        methods: How many pixels of holes each method filled.
        coarse: How many of these are farther from anything valid than their method is taken at its word for: they are
            those of a picture of half the size and less, so they are blurred.
        unreached: Pixels of holes that nothing valid reached; they stay as they were.
    """

    methods: Counter[str] = field(default_factory=Counter)
    coarse: int = 0
    unreached: int = 0


@dataclass
class Filled:
    """A filled picture.

    Attributes:
        image: In the type and shape of what was given, valid pixels bit by bit.
        methods: How many pixels of holes each method filled.
        unreached: How many pixels of holes nothing valid reached; they stay as they were.
        coarse: How many are from a picture of half the size and less, as they are too far from anything valid.
    """

    image: Tensor
    methods: Mapping[str, int]
    unreached: int
    coarse: int = 0


def fill_picture(
    image: Tensor,
    mask: Tensor,
    method: Method = "auto",
    network: Inpainter | None = None,
    *,
    device: torch.device | str | None = None,
) -> Filled:
    """Fill the holes of a picture, as `pcpad fill` does.

    Only the surroundings of holes are looked at, as many pixels of it as the network's `context` says, so that memory
    and time follow the holes and not the picture. Where a hole is wider than a method reaches, the picture is filled at
    half its size first, and so on.

    Args:
        image: (3, H, W) RGB or (1, H, W) grey, uint8, uint16 or float in [0, 1]. Left as it is.
        mask: (1, H, W), 1 = valid, 0 = hole, of any type.
        method: `network`; `biharmonic` (scikit-image's), `telea` or `ns` (OpenCV's); or `auto`, which takes of each
            hole the method that was best for such holes on held-out photographs.
        network: An inpainting network as `fill` takes it, in evaluation mode; None for the one that ships. `auto` goes
            without where none is there.
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
    if kind not in (torch.uint8, torch.uint16, torch.float32):  # whose valid pixels a round trip may round
        filled = torch.where(mask.to(image.device) == 0, filled, image)
    return Filled(filled, dict(summary.methods), summary.unreached, summary.coarse)


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
    try:
        from pcpad.models.restoration import restoration_network
    except ImportError:
        message = "No inpainting network ships with this version: pass weights, or choose another method"
        raise UserFileNotFoundError(message) from None
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
        hole: (H, W) uint8, anything but 0 is to be filled.
        method: As of `fill_picture`.
        network: As of `fill_picture`.
        device: As of `fill_picture`.
        white: The largest value a pixel can have, where that is not the largest of its type.
        progress: Is told how many pixels of holes were filled just now.

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
        message = "All of the picture is a hole, so there is nothing to go by: is the mask the other way round?"
        raise UserValueError(message)
    if not left:
        return Summary()
    return _Filler(pixels, hole, method, network_of(method, network), device, white).fill(progress)


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


class _Filler:
    """The methods at hand, and the picture they work on."""

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
        self.left = (hole != 0).view(np.uint8)  # what is still a hole; a copy, as it shrinks
        self.method = method
        self.solvers = dict(CLASSICAL)
        self.reach = dict(REACH)
        self.context = _CONTEXT // 2
        self.has_network = network is not None
        if network is not None:
            self.context = max(1, int(getattr(network, "context", _CONTEXT)))
            self.solvers["network"] = network_solver(network, _device_of(network, device), white)
            self.reach["network"] = self.context
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
                hole = self.left[piece.around] != 0
                own &= hole
                if not own.any():
                    continue
                window = self.pixels[piece.around].copy()
                window[hole] = 0  # NaN, say
                self._window(window, hole, own, far.within(piece.around) if far is not None else None, counted=True)
                self.pixels[piece.around][own] = window[own]
                self.left[piece.around][own] = 0
                if progress is not None:
                    progress(int(np.count_nonzero(own)))
        return self.summary

    def _window(
        self, pixels: Pixels, hole: np.ndarray, own: np.ndarray, far: Pixels | None = None, *, counted: bool = False
    ) -> None:
        """Fill what is to be filled of a window in place, and perhaps other pixels of its holes.

        Args:
            pixels: (h, w, C), 0 in holes.
            hole: (h, w) bool.
            own: What of it is to be filled.
            far: The window as a coarser picture has it, for what is far from anything valid; made if needed when None.
            counted: Whether these are the picture's own pixels, to be counted.
        """
        import cv2

        depth = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 5)
        parts = self._parts(hole, own, depth)
        left = hole.copy()
        deep = np.zeros_like(hole)
        for name, part in parts.items():
            deep |= part & (depth > self.reach[name])
            if counted:
                self.summary.methods[name] += int(np.count_nonzero(part & own))
        if deep.any() and min(hole.shape) > _LEAST:
            guess = self._coarser(pixels, hole, deep) if far is None else far
            pixels[deep] = guess[deep]
            left &= ~deep
            if counted:
                self.summary.coarse += int(np.count_nonzero(deep & own))
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
        """Which pixels of the window's holes which method shall fill; holes without anything to fill are left out."""
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
        """The window as it is filled at half its size, brought back to its own."""
        half, half_hole = reduced(pixels, hole, 2)
        wanted = reduced(deep[..., None].astype(np.float32), np.zeros_like(hole), 2)[0][..., 0] > 0
        if (wanted & half_hole).any():
            self._window(half, half_hole, wanted & half_hole)
        return enlarged(half, 2, hole.shape)

    def _far(self, group: Group) -> _Far | None:
        """A group of holes that is too large for one piece, filled at a size at which it is not; None if not needed."""
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
        """It at full size, within a window of the picture."""
        starts, ends = [], []
        for part, corner, length in zip(around, self.corner, self.pixels.shape, strict=False):
            # A pixel more on each side, for the interpolation.
            starts.append(min(length - 1, max(0, (part.start - corner) // self.scale - 1)))
            ends.append(min(length, -(-(part.stop - corner) // self.scale) + 1))
        cut = self.pixels[starts[0] : ends[0], starts[1] : ends[1]]
        large = enlarged(cut, self.scale, (cut.shape[0] * self.scale, cut.shape[1] * self.scale))
        rows, columns = (
            np.clip(np.arange(part.start, part.stop) - corner - start * self.scale, 0, length - 1)
            for part, corner, start, length in zip(around, self.corner, starts, large.shape, strict=False)
        )
        return large[rows[:, None], columns]


def _device_of(network: Any, device: torch.device | str | None) -> torch.device | str | None:
    """Where a network is run: where it is wanted, or where its parameters are."""
    if device is not None or not isinstance(network, torch.nn.Module):
        return device
    return next((parameter.device for parameter in network.parameters()), None)
