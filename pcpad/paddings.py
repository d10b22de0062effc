"""The registry of paddings: what each does, the smallest input it takes, and its name everywhere.

Most paddings fill the border with values: a function `pad(x, pads) -> padded x`, with `pads` in the order of
`torch.nn.functional.pad` (before and after, the last axis first). Registering one makes its name valid everywhere: in
`convert_padding`, in every network and task that takes a `padding` or `fallback`, and in the command.
`partial`, `zeros` and `explicit` are convolutions of their own (those of `pcpad.layers` and `torch.nn`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad._border import is_ordinary, kept_calls
from pcpad.errors import UserTypeError, UserValueError, did_you_mean

__all__ = [
    "check_padding",
    "pad_function",
    "padding_descriptions",
    "padding_names",
    "register_padding",
    "smallest_size",
]

PadFunction = Callable[[Tensor, Sequence[int]], Tensor]

_CONVOLUTIONS = {
    "partial": "Leave the border out of the sum and rescale by how many taps are left.",
    "zeros": "Fill the border with zeros.",
    "explicit": "Learn eight more filters per 2D convolution, for the sides and corners.",
}


class _Padding(NamedTuple):
    function: PadFunction
    smallest: Callable[[int, int], int] | None


_REGISTERED: dict[str, _Padding] = {}


def register_padding(
    name: str, *, smallest: int | Callable[[int, int], int] | None = None
) -> Callable[[PadFunction], PadFunction]:
    """Make the decorated `pad(x, pads)` a padding.

    Args:
        name: What it is called.
        smallest: The least length of an axis that is padded: a number, or a function of how much is added before and
            after. An axis that is not padded may have any length. On axes that are too short a layer's `fallback`
            is applied first, and the decorated function gets zeros for them in `pads`; without `fallback` the layer
            raises an error. None if the function takes axes of any length.

    Returns:
        The decorator. The first line of the function's docstring describes the padding in help texts.

    Raises:
        ValueError: The name is taken.
        TypeError: The name is not a string.

    Example:
        >>> @register_padding("symmetric", smallest=lambda before, after: max(before, after))
        ... def symmetric(x, pads):
        ...     "Mirror the input at its border and repeat the border itself."
        ...     for axis, (before, after) in enumerate(zip(pads[::2], pads[1::2]), start=1):
        ...         first, last = x.narrow(-axis, 0, before), x.narrow(-axis, x.shape[-axis] - after, after)
        ...         x = torch.cat([first.flip(-axis), x, last.flip(-axis)], dim=-axis)
        ...     return x
        >>> symmetric(torch.tensor([1, 2, 3]), (2, 1))
        tensor([2, 1, 1, 2, 3, 3])
        >>> smallest_size("symmetric", (2, 1)), "symmetric" in padding_names()
        ((2,), True)
    """
    if not isinstance(name, str):
        message = f'Expected the padding\'s name, as in `@register_padding("symmetric")`, but got {name!r}.'
        raise UserTypeError(message)
    if name in padding_names():
        message = f"A padding named {name!r} is registered already."
        raise UserValueError(message)

    def register(function: PadFunction) -> PadFunction:
        least = smallest if smallest is None or callable(smallest) else lambda _before, _after: smallest
        _REGISTERED[name] = _Padding(function, least)
        return function

    return register


def padding_names() -> tuple[str, ...]:
    """Every padding's name, in the order of registration; those that are convolutions of their own come first."""
    return (*_CONVOLUTIONS, *_REGISTERED)


def padding_descriptions() -> dict[str, str]:
    """Every padding's name, with a one-line description.

    Example:
        >>> padding_descriptions()["replicate"]
        "Repeat the border's values outwards."
    """
    documented = {name: (padding.function.__doc__ or "").strip() for name, padding in _REGISTERED.items()}
    return _CONVOLUTIONS | {name: text.partition("\n")[0] for name, text in documented.items()}


def check_padding(name: str) -> None:
    """Refuse an unknown padding.

    Raises:
        ValueError: There is none of that name; the message suggests the nearest one.
    """
    if name not in padding_names():
        hint = did_you_mean(name, padding_names(), form="{!r}")
        message = f"Unknown padding {name!r}: expected one of {', '.join(padding_names())}.{hint}"
        raise UserValueError(message)


def pad_function(name: str) -> PadFunction:
    """The function registered under `name`.

    Raises:
        ValueError: There is none.
    """
    return _registered(name).function


def _registered(name: str) -> _Padding:
    if name not in _REGISTERED:
        check_padding(name)
        message = f"The padding {name!r} is a convolution of its own, not a function that pads."
        raise UserValueError(message)
    return _REGISTERED[name]


def smallest_size(name: str, pads: Sequence[int]) -> tuple[int, ...] | None:
    """The smallest input that a padding takes.

    Args:
        name: Any padding's.
        pads: How much is added, in the order of `torch.nn.functional.pad`.

    Returns:
        The least length of each spatial axis, the first one first; None if any size will do.

    Raises:
        ValueError: There is no such padding.

    Example:
        >>> smallest_size("reflect", [3, 3, 0, 0]), smallest_size("circular", [3, 3, 1, 2])
        ((0, 4), (2, 3))
        >>> [name for name in padding_names()[:8] if smallest_size(name, [1, 1])]  # those that `fallback` matters to
        ['reflect', 'circular']
    """
    smallest = _registered(name).smallest if name not in _CONVOLUTIONS else None
    if smallest is None:
        return None
    pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    return tuple(smallest(before, after) if before or after else 0 for before, after in pairs)


@register_padding("reflect", smallest=lambda before, after: max(before, after) + 1)
def reflect(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Mirror the input at its border without repeating the border itself; needs more input than padding."""
    return F.pad(x, list(pads), mode="reflect")


@register_padding("replicate")
def replicate(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Repeat the border's values outwards."""
    return F.pad(x, list(pads), mode="replicate")


@register_padding("circular", smallest=max)
def circular(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Continue with the opposite side's values; needs as much input as padding."""
    return F.pad(x, list(pads), mode="circular")


@register_padding("mean")
def mean(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Fill the border with local means of the interior (Nguyen et al. 2019, distribution padding).

    Means over windows of `2p + 1` (at most the input) are stretched linearly to the padded size, and the input
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
    inside: tuple[Any, ...] = (
        ...,
        *(slice(pair[0], pair[0] + length) for pair, length in zip(pairs, size, strict=True)),
    )
    border[inside] = x
    return border


@register_padding("extrapolate")
def extrapolate(x: Tensor, pads: Sequence[int]) -> Tensor:
    """Continue each line by its last two values, one axis after the other; a line of one value is repeated."""
    for axis, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
        length = x.shape[-axis]
        first = _continue(x, axis, 0, min(1, length - 1), range(before, 0, -1))
        last = _continue(x, axis, length - 1, max(length - 2, 0), range(1, after + 1))
        x = torch.cat([first, x, last], dim=-axis)
    return x


def _continue(x: Tensor, axis: int, edge: int, inner: int, steps: range) -> Tensor:
    """Samples this many steps beyond `edge` on the line from `inner`; `axis` counts from the last, 1."""
    at_edge, before = x.narrow(-axis, edge, 1), x.narrow(-axis, inner, 1)
    if not steps:
        return x.narrow(-axis, edge, 0)
    weights = _weights(x, steps).view(-1, *[1] * (axis - 1))
    return torch.lerp(before, at_edge, weights)  # at_edge + (at_edge - before) * steps


def _weights(x: Tensor, steps: range) -> Tensor:
    """1 more than the steps, in the dtype and on the device of `x`."""
    stream = 0
    if x.is_cuda:
        if torch.cuda.is_current_stream_capturing():
            return _made_weights(steps, x.dtype, x.device)
        stream = torch.cuda.current_stream(x.device).cuda_stream
    ordinary = not torch.compiler.is_compiling() and torch._C._get_tracing_state() is None and is_ordinary(x)
    return _kept_weights(steps, x.dtype, x.device, stream) if ordinary else _made_weights(steps, x.dtype, x.device)


def _made_weights(steps: range, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.arange(steps.start + 1, steps.stop + 1, steps.step, device=device).to(dtype)


@kept_calls(256)
def _kept_weights(steps: range, dtype: torch.dtype, device: torch.device, _stream: int) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return _made_weights(steps, dtype, device)
