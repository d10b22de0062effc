"""A network's receptive field: its margin, the alignment of tiles, and what makes it unbounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, lcm
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.adaptation.dependence import Probe, extent, tensors
from pcpad.adaptation.obstacles import circular_paddings, fixed_size, over_all
from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pcpad.adaptation.dependence import Operation

__all__ = ["Reach", "receptive_field"]

# Lengths of strips; the first suits strides that are powers of two, the others those with factors of 3, 5 and 7.
_LENGTHS = (512, 480, 672)
_WIDTHS = (32, 64, 128, 256)
_LONGEST = 4096
_USUAL_STRIDE = 64  # a stride that does not divide a strip's length is found as a larger one
_FURTHER = "looks further than"
_AXES = ("height", "width")
# How far tiles and the whole may differ, relative to the largest value; float32's rounding errors grow with depth.
_TOLERANCE = {torch.float64: 1e-10}
_MOST_PARAMETERS_IN_FLOAT64 = 1 << 26


@dataclass(frozen=True)
class Reach:
    """A network's receptive field, each value as (vertical, horizontal).

    Attributes:
        margin: Pixels beyond an aligned tile, on each side, on which the tile's output depends; rounded up to a
            multiple of the alignment.
        alignment: Tiles must start at multiples of this many pixels: only shifts by such multiples shift the output
            equally.
        obstacles: What depends on more of the image than any margin covers: the module's name and what it does. The
            margin is that of the rest of the network.
        scale: Pixels of output per pixel of image.
        difference: The largest difference between a part of an image that is run by itself with this margin and the
            same part of the whole, relative to the largest value.
    """

    margin: tuple[int, int]
    alignment: tuple[int, int] = (1, 1)
    obstacles: tuple[str, ...] = ()
    scale: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    difference: float = 0.0


@torch.no_grad()
def receptive_field(
    network: Callable[[Tensor], Any],
    image: Tensor | Sequence[int] | None = None,
    *,
    channels: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Reach:
    """Find a network's receptive field by running it.

    NaN is propagated through the network: values that become NaN depend on it, whatever the weights. The inputs are
    narrow strips, one along each axis, which cost about as much as one image of 1000 x 1000 pixels. Then parts of a
    strip are compared with the whole, which also detects what NaN does not show: position encodings, and sizes that the
    strides do not divide.

    Args:
        network: Maps images (N, C, H, W) to one or more tensors, in evaluation mode; it is not changed. A network that
            refuses NaN cannot be traced: pass the network within it.
        image: (N, C, H, W), or its size (H, W), or None. A size that is not a multiple of the alignment may be an
            obstacle, which is checked for this size only. Differences are measured with the image's values, if given.
        channels: Channels of images; if None, the image's, or those that the network's first convolution takes.
        device: The network's device, if it is a function and not a module.
        dtype: The type of its input, if it is a function; float32 if None.

    Returns:
        The receptive field.

    Raises:
        ValueError: The network cannot be run on such images, is in training mode, or its output is not finite.
        TypeError: The network cannot be called, or returns no tensor.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, 2))
        >>> reach = receptive_field(network.eval())
        >>> reach.margin, reach.alignment, reach.obstacles
        ((2, 2), (2, 2), ())
    """
    if not callable(network):
        message = f"Expected argument `network` to be a module or a function, but got {type(network).__name__}"
        raise UserTypeError(message)
    picture = image if isinstance(image, Tensor) else None
    if picture is not None:
        device, dtype = device or picture.device, dtype or (picture.dtype if picture.is_floating_point() else None)
    probe = Probe(network, device, dtype)
    size = None if image is None else tuple(image.shape[2:]) if isinstance(image, Tensor) else tuple(image)
    if size is not None and (len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size)):
        message = f"Expected argument `image` to be (N, C, H, W) or a size (H, W), but got {size}"
        raise UserValueError(message)
    if channels is None:
        channels = picture.shape[1] if picture is not None else _first_channels(probe.module)
    found = [_along(probe, axis, channels, picture, size and size[axis]) for axis in (0, 1)]
    obstacles = dict.fromkeys(obstacle for each in found for obstacle in each.obstacles)
    return Reach(
        (found[0].margin, found[1].margin),
        (found[0].alignment, found[1].alignment),
        tuple(obstacles),
        (found[0].scale, found[1].scale),
        max(each.difference for each in found),
    )


def _along(probe: Probe, axis: int, channels: int, picture: Tensor | None, side: int | None) -> _Axis:
    """Measure one axis, with strips whose length the strides divide."""
    first = _Axis(probe, axis, channels, picture, _LENGTHS[0]).measure(side)
    if first.alignment <= _USUAL_STRIDE or not first.moves:
        return first
    for length in _LENGTHS[1:]:
        try:
            other = _Axis(probe, axis, channels, picture, length).measure(side)
        except UserValueError:
            continue  # a network with a stride of 128 refuses them
        if not other.moves:
            return other
    return first


@dataclass
class _Axis:
    """The measurements along one axis."""

    probe: Probe
    axis: int
    channels: int
    picture: Tensor | None
    length: int
    width: int = 0
    margin: int = 0
    alignment: int = 1
    scale: Fraction = Fraction(1)
    difference: float = 0.0
    tolerance: float = 1e-4
    obstacles: list[str] = field(default_factory=list)
    moves: bool = False  # whether its output depends on the position, without another reason
    clean: frozenset[int] = frozenset()
    # For each recorded operation, and for each output: the axis along which it grows with the strip, and the pixels
    # of the strip per step along it.
    steps: list[tuple[int, Fraction] | None] = field(default_factory=list)
    outputs: list[tuple[int, Fraction] | None] = field(default_factory=list)

    def measure(self, side: int | None) -> _Axis:
        """Compute all fields, for images of this side."""
        self._choose_width(self.length)
        self._compare_sizes()
        self._find_margin()
        self._compare_values(side)
        return self

    def strip(self, length: int) -> Tensor:
        """A narrow image of this length along the axis."""
        shape = (length, self.width) if self.axis == 0 else (self.width, length)
        if self.picture is None:
            chance = torch.Generator().manual_seed(0)
            fine = torch.rand(1, self.channels, *shape, generator=chance)
            coarse = torch.rand(1, self.channels, *(max(1, side // 64) for side in shape), generator=chance)
            image = 0.3 * fine + 0.7 * F.interpolate(coarse, size=shape, mode="bilinear", align_corners=False)
        else:
            rows, columns = (
                torch.arange(side) % (2 * there)  # mirrored repeats
                for side, there in zip(shape, self.picture.shape[2:], strict=True)
            )
            tall, wide = self.picture.shape[2:]
            rows, columns = torch.minimum(rows, 2 * tall - 1 - rows), torch.minimum(columns, 2 * wide - 1 - columns)
            image = self.picture[:1].detach()[:, :, rows.to(self.picture.device)][..., columns.to(self.picture.device)]
            image = image.to(torch.float32) / (1 if image.is_floating_point() else 255)
        return image.to(self.probe.device, self.probe.dtype)

    def nan_strip(self, length: int, first: int, count: int) -> Tensor:
        """A strip in which `count` rows (or columns) from `first` on are NaN."""
        return _with_nan(self.strip(length), self.axis + 2, first, count)

    def _choose_width(self, length: int) -> None:
        """Choose the narrowest strip that the network can be run on."""
        self.length = length
        for width in _WIDTHS:
            self.width = width
            try:
                result = self._run(self.strip(length))
            except UserValueError:
                if width == _WIDTHS[-1]:
                    raise
                continue
            if not result:
                message = "Expected the network to return a tensor, or tensors in a tuple or dict, but got none."
                raise UserTypeError(message)
            if not all(bool(value.isfinite().all()) for value in result if value.is_floating_point()):
                message = "The network's output is not finite: its weights are broken, or the precision is too low."
                raise UserValueError(message)
            return

    def _run(self, image: Tensor) -> list[Tensor]:
        try:
            return tensors(self.probe(image))
        except Exception as error:
            message = (
                f"The network fails on an image of {tuple(image.shape)} with {type(error).__name__}: {error}\n"
                "A margin can be computed for networks that take images of any size that their strides divide."
            )
            raise UserValueError(message) from error

    def _trace(self, length: int, first: int, count: int) -> tuple[list[Operation], list[Tensor]]:
        try:
            trace, outputs = self.probe.trace(self.nan_strip(length, first, count), self.clean)
        except UserValueError:
            raise
        except Exception as error:
            message = (
                f"The network cannot be traced with NaN; it fails with {type(error).__name__}: {error}\nPass "
                "the network without such checks, or the margin in pixels."
            )
            raise UserValueError(message) from error
        return trace.operations, outputs

    def _compare_sizes(self) -> None:
        """Find the strides from how sizes grow with the image's, and the operations whose output does not grow."""
        self.obstacles, self.clean = [], frozenset()
        while True:
            (short, outputs), (long, more) = (
                self._trace(side, side // 2, 1) for side in (self.length, 2 * self.length)
            )
            if [each.kind for each in short] != [each.kind for each in long]:
                if self.length < _LONGEST // 2:  # a window may have covered all of the shorter strip
                    self.length *= 2
                    continue
                self._name("the network", "runs other operations on larger images")
                short = long = []
            self.steps = [self._step(*pair) for pair in zip(short, long, strict=True)]
            fixed = {
                index
                for index, (one, two) in enumerate(zip(short, long, strict=True))
                if not one.whole and self.steps[index] is None and one.given != two.given
            }
            if fixed <= self.clean:
                break
            self.clean |= {min(fixed - self.clean)}  # one at a time: later operations may be fixed by this one alone
        self.outputs = [
            self._growth(tuple(one.shape), tuple(two.shape)) for one, two in zip(outputs, more, strict=True)
        ]
        known = [step for step in [*self.steps, *self.outputs] if step is not None]
        self.alignment = lcm(1, *(step.numerator for _, step in known))
        spatial = [step for step in self.outputs if step is not None]
        self.scale = 1 / spatial[0][1] if spatial else Fraction(1)
        for index, operation in enumerate(long):
            if operation.whole:
                self._name(operation.module, over_all(operation.kind))
            elif index in self.clean:
                self._name(operation.module, fixed_size(operation.shapes[0]))
            elif operation.align_corners:
                self._name(operation.module, "resizes with align_corners=True, by a factor that depends on the size")

    def _growth(self, small: tuple[int, ...], large: tuple[int, ...]) -> tuple[int, Fraction] | None:
        if len(small) != len(large):
            return None
        grown = [
            (axis, Fraction(self.length, two - one))
            for axis, (one, two) in enumerate(zip(small, large, strict=True))
            if one < two <= 3 * one  # about doubled; quadratic growth has no stride
        ]
        return grown[0] if grown else None

    def _step(self, small: Operation, large: Operation) -> tuple[int, Fraction] | None:
        return self._growth(small.shapes[0], large.shapes[0])

    def _name(self, module: str, what: str) -> None:
        text = f"{module}: {what}"
        if text not in self.obstacles:
            self.obstacles.append(text)

    def _find_margin(self) -> None:
        """Lengthen the strip until NaNs in its middle no longer reach its ends; then put them at its ends."""
        step = self.alignment
        length = self.length = -(-self.length // (2 * step)) * 2 * step
        longest = _LONGEST // 4 if self.obstacles else _LONGEST  # no margin suffices anyway
        while True:
            middle = length // 2 // step * step
            margin, ends = self._seen(length, middle)
            if not any(ends):
                break
            if 2 * length > longest:
                self._name("the network", f"{_FURTHER} {length // 2} pixels along the {_AXES[self.axis]}")
                break
            length *= 2
        self.margin = margin
        self.length = length
        for first, opposite in ((0, 1), (length - step, 0)):
            margin, ends = self._seen(length, first)
            if ends[opposite] and not any(_FURTHER in obstacle for obstacle in self.obstacles):
                for name in circular_paddings(self.probe.module) or ["the network"]:
                    self._name(name, "connects each border with the opposite one")
            else:
                self.margin = max(self.margin, margin)

    def _seen(self, length: int, first: int) -> tuple[int, tuple[bool, bool]]:
        """How far NaNs spread from an aligned block, and whether they reach the strip's two ends."""
        operations, outputs = self._trace(length, first, self.alignment)
        seen = []  # (first and last index, length, pixels per step)
        for output, step in zip(outputs, self.outputs, strict=True):
            if step is not None and output.is_floating_point():
                found = extent(output.isnan(), step[0])
                if found is not None:
                    seen.append((found, output.shape[step[0]], step[1]))
        if not any(step is not None for step in self.outputs) and len(operations) == len(self.steps):
            # A classifier, for example: use its feature maps.
            for operation, step in zip(operations, self.steps, strict=True):
                if step is not None and not operation.whole:
                    seen.append((operation.extents[step[0]], operation.shapes[0][step[0]], step[1]))
        before = max((first - low * step for (low, _), _, step in seen), default=0)
        after = max(((high + 1) * step - first - self.alignment for (_, high), _, step in seen), default=0)
        ends = (any(low == 0 for (low, _), _, _ in seen), any(high == count - 1 for (_, high), count, _ in seen))
        steps = ceil(max(Fraction(0), before, after) / self.alignment)
        return steps * self.alignment, ends

    def _compare_values(self, side: int | None) -> None:
        """Compare parts of a strip with the whole, as in tiling."""
        if not any(step is not None for step in self.outputs):
            return
        step, dtype = self.alignment, self._finest_type()
        halo = self.margin
        length = max(2 * halo + 6 * step, -(-min(_LENGTHS) // step) * step)
        if length > 2 * _LONGEST or any(_FURTHER in obstacle for obstacle in self.obstacles):
            halo, length = 0, self.length
        rest = 0 if side is None else side % step
        for more in dict.fromkeys([0, rest]):
            found = self._difference(self.strip(length + more).to(dtype), length, halo)
            self.difference = max(self.difference, found)
            if found <= self.tolerance or self.obstacles:
                continue
            if more == 0:
                self.moves = True
                self._name("the network", f"its output depends on the position (by {found:.1g} of the largest value)")
            else:
                text = (
                    f"a {_AXES[self.axis]} of {side}, which is no multiple of {step}, changes its whole output "
                    f"(by {found:.1g} of the largest value)"
                )
                self._name("the network", text)

    def _finest_type(self) -> torch.dtype:
        """Float64 if the network can be run in it; sets the tolerance of the comparison too."""
        probe = self.probe
        dtypes = [probe.dtype]
        if probe.exact and sum(value.numel() for value in probe.state.values()) < _MOST_PARAMETERS_IN_FLOAT64:
            dtypes.insert(0, torch.float64)
        for dtype in dtypes:
            try:
                outputs = self._run(self.strip(self.length).to(dtype))
            except UserValueError:  # it may call `.float()` on its input
                if dtype == dtypes[-1]:
                    raise
                continue
            kinds = {output.dtype for output in outputs if output.is_floating_point()}
            self.tolerance = max((_TOLERANCE.get(kind, 1e-4) for kind in kinds), default=1e-4)
            break
        return dtype

    def _difference(self, image: Tensor, length: int, halo: int) -> float:
        """The largest difference between the whole and two of its parts, one up to the end and one from the start."""
        step, axis = self.alignment, self.axis + 2
        whole = self._run(image)
        largest = 0.0
        # Cut off two steps, or with obstacles about half of the strip: their effect depends on how much is left.
        off = max(2, (length // step - 2 * halo // step) // 2) * step if self.obstacles else 2 * step
        off = min(off, length - halo - step)
        for start, stop in ((off, image.shape[axis]), (0, length - off)):
            part = self._run(image.narrow(axis, start, stop - start))
            for one, two, grown in zip(whole, part, self.outputs, strict=True):
                if grown is None:
                    continue
                along, pixels = grown
                skip = 0 if start == 0 else int(halo / pixels)
                keep = two.shape[along] - skip - (int(halo / pixels) if start == 0 else 0)
                if start and int(start / pixels) + two.shape[along] != one.shape[along]:
                    return 1.0  # the sizes differ
                if keep <= 0:
                    continue
                expected = one.narrow(along, int(start / pixels) + skip, keep)
                error = (expected - two.narrow(along, skip, keep)).abs().max()
                largest = max(largest, float(error / one.abs().max().clamp_min(torch.finfo(one.dtype).tiny)))
        return largest


def _with_nan(image: Tensor, axis: int, first: int, count: int) -> Tensor:
    image.narrow(axis, first, count).fill_(float("nan"))
    return image


def _first_channels(module: nn.Module | None) -> int:
    for part in module.modules() if module is not None else ():
        if isinstance(part, nn.modules.conv._ConvNd):
            return part.in_channels
    return 3
