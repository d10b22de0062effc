"""The registry of padding schemes that fill the border with values, one function each.

A scheme is ``pad(x, pads) -> x padded``, with ``pads`` in the order of ``torch.nn.functional.pad``: before and
after, the last axis first. Registering one makes it a padding name everywhere: in ``convert_padding``, in the
tasks and in the command. ``zeros``, ``partial`` and ``explicit`` are no such functions: they are convolutions
of their own (``torch.nn``'s and those of :mod:`pcpad.layers`).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    PadFunction = Callable[[Tensor, Sequence[int]], Tensor]

__all__ = ["check_padding", "pad_function", "padding_names", "register_padding"]

_FUNCTIONS: dict[str, PadFunction] = {}
_CONVOLUTIONS = ("partial", "zeros", "explicit")


def register_padding(name: str) -> Callable[[PadFunction], PadFunction]:
    """Make the decorated ``pad(x, pads)`` available under ``name``.

    Raises:
        ValueError: if the name is taken.
    """
    if name in padding_names():
        msg = f"A padding named {name!r} is registered already."
        raise UserValueError(msg)

    def register(function: PadFunction) -> PadFunction:
        _FUNCTIONS[name] = function
        return function

    return register


def padding_names() -> tuple[str, ...]:
    """Every padding's name."""
    return (*_CONVOLUTIONS, *_FUNCTIONS)


def check_padding(name: str) -> None:
    """Refuse an unknown padding.

    Raises:
        ValueError: naming the nearest known one.
    """
    if name not in padding_names():
        near = difflib.get_close_matches(str(name), padding_names(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        msg = f"Unknown padding {name!r}: expected one of {', '.join(padding_names())}.{hint}"
        raise UserValueError(msg)


def pad_function(name: str) -> PadFunction:
    """The function registered under ``name``.

    Raises:
        ValueError: if there is none.
    """
    check_padding(name)
    if name not in _FUNCTIONS:
        msg = f"The padding {name!r} is a convolution of its own, not a function that pads."
        raise UserValueError(msg)
    return _FUNCTIONS[name]


def too_small(name: str, size: Sequence[int], pads: Sequence[int]) -> list[int]:
    """The axes (0 is the first spatial one) that are too small to be padded by reflection or wrapping."""
    least = {"reflect": 1, "circular": 0}
    if name not in least:
        return []
    pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    return [axis for axis, pair in enumerate(pairs) if max(pair) + least[name] > size[axis]]


@register_padding("reflect")
def reflect(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Mirror the input at its border without repeating the border itself; needs more input than padding."""
    return F.pad(x, list(pads), mode="reflect")


@register_padding("replicate")
def replicate(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Repeat the border's values outwards."""
    return F.pad(x, list(pads), mode="replicate")


@register_padding("circular")
def circular(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Continue with the opposite side's values; needs as much input as padding."""
    return F.pad(x, list(pads), mode="circular")


@register_padding("mean")
def mean(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Fill the border with local means of the interior (Nguyen et al. 2019, distribution padding).

    Means over windows of ``2p + 1`` (at most the input) are stretched linearly to the padded size, and the input
    is laid over them; no gradient flows through the means.
    """
    dims = len(pads) // 2
    size = x.shape[-dims:]
    pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    window = [min(2 * max(pair) + 1, length) for pair, length in zip(pairs, size, strict=True)]
    padded = [length + sum(pair) for pair, length in zip(pairs, size, strict=True)]
    # In float32: a CPU has no 3D pooling in half precision, and the means are the better for it.
    batch = x.detach().to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, x.shape[-dims - 1], *size)
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[dims]
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dims]
    border = F.interpolate(pool(batch, window, stride=1), size=padded, mode=mode, align_corners=False)
    border = border.reshape(*x.shape[:-dims], *padded).to(x.dtype)
    inside = torch.zeros(padded, dtype=torch.bool, device=x.device)
    inside[tuple(slice(pair[0], pair[0] + length) for pair, length in zip(pairs, size, strict=True))] = True
    return torch.where(inside, F.pad(x, list(pads)), border)


@register_padding("extrapolate")
def extrapolate(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Continue each line by its last two values, one axis after the other; a line of one value is repeated."""
    for axis, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
        length = x.shape[-axis]
        ends = [(0, min(1, length - 1), before), (length - 1, max(length - 2, 0), after)]
        first, last = (_continue(x, axis, edge, inner, count) for edge, inner, count in ends)
        x = torch.cat([first.flip(-axis), x, last], dim=-axis)
    return x


def _continue(x: Tensor, axis: int, edge: int, inner: int, count: int) -> Tensor:
    """``count`` samples beyond ``edge`` on the line from ``inner``, nearest first; ``axis`` counts from the last, 1."""
    at_edge = x.narrow(-axis, edge, 1)
    slope = at_edge - x.narrow(-axis, inner, 1)
    steps = torch.arange(1, count + 1, device=x.device, dtype=x.dtype)
    return at_edge + slope * steps.view(-1, *[1] * (axis - 1))
