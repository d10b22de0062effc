"""Observe a network's output and feature maps, and where these lie in the input, without changing the network."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pcpad.errors import UserError, UserRuntimeError, UserTypeError, UserValueError

__all__ = [
    "MAIN",
    "Observed",
    "Picked",
    "Place",
    "UpTo",
    "choice",
    "fields_of",
    "first_not_finite",
    "observe",
    "pick",
    "places_of",
    "shared_copy",
    "strides_of",
]

MAIN = ("out", "logits")
"""Names of the main output in torchvision and transformers."""

OutputKey = str | int | Callable[[Any], Tensor] | None

_LARGEST_STRIDE = 64
# Networks raise these for image sizes that they do not support.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError, ArithmeticError)


class Observed(NamedTuple):
    """One run: the output, the feature maps by name in order of execution, and the result of `choice`."""

    output: Tensor
    maps: dict[str, Tensor]
    choice: str = ""


@dataclass(frozen=True)
class Place:
    """The position of a feature map or output within the input.

    Args:
        stride: Pixels of the input per pixel of the map; below 1 if the map is larger than the input.
        offset: Row and column of its first pixel within the map of the larger input.
        size: Height and width of the smaller input's map.
    """

    stride: Fraction
    offset: tuple[int, int]
    size: tuple[int, int]

    def cut(self, larger: Tensor) -> Tensor:
        """The part of the larger input's map (..., H, W) that corresponds to the smaller input."""
        (top, left), (height, width) = self.offset, self.size
        return larger[..., top : top + height, left : left + width]


def shared_copy(network: nn.Module) -> nn.Module:
    """Copy a network's modules in evaluation mode, but share its tensors.

    The copy can be converted and hooked, and takes no memory for weights; a forward pass in evaluation mode without
    gradients writes to no parameter or buffer. The original keeps its mode and hooks.

    Args:
        network: Any module; the wrapper of `torch.compile` is removed.

    Returns:
        The copy.

    Raises:
        UserTypeError: It cannot be copied.
    """
    network = getattr(network, "_orig_mod", network)
    shared: list[Any] = [*network.parameters(), *network.buffers()]
    # An attached LightningModule refers to its trainer, and so to everything that the trainer holds.
    shared += [vars(m)[name] for m in network.modules() for name in ("_trainer", "_fabric") if name in vars(m)]
    try:
        twin = copy.deepcopy(network, {id(item): item for item in shared})
    except Exception as error:
        message = f"Expected a network that `copy.deepcopy` can copy, but {type(network).__name__} fails: {error}"
        raise UserTypeError(message) from error
    for module in twin.modules():
        module._compiled_call_impl = None
    return twin.eval()


def pick(output: Any, key: OutputKey = None) -> Tensor:
    """Select one tensor of a network's output.

    Args:
        output: A tensor, or nested tuples, lists, dicts and objects of tensors.
        key: A dict's key, an attribute, a tuple's index, or a function of the output. None selects the tensor named
            `out` or `logits`, else the map (N, C, H, W) with the most pixels, else the largest vectors (N, K); of equal
            ones the first.

    Returns:
        The tensor.

    Raises:
        UserTypeError: There is no tensor, or it is neither a map nor one vector per image.
        UserValueError: There is no such key.

    Example:
        >>> pick({"aux": torch.zeros(1, 2, 4, 4), "out": torch.zeros(1, 2, 8, 8)}).shape
        torch.Size([1, 2, 8, 8])
        >>> pick((torch.zeros(1, 2), torch.zeros(1, 3)), 0).shape
        torch.Size([1, 2])
    """
    named = dict(_named(output))
    found: Any
    if callable(key):
        found = key(output)
    elif key is not None:
        if str(key) not in named:
            message = f"The network's output has no {key!r}: expected `output_key` to be one of {_listed(named)}"
            raise UserValueError(message)
        found = named[str(key)]
    else:
        found = _main(named)
        found = output if found is None else found
    if not isinstance(found, Tensor) or found.dim() not in (2, 4) or not found.is_floating_point():
        what = f"a {type(output).__name__}" if not named else f"a {type(output).__name__} of {_listed(named)}"
        message = (
            f"Expected the network to return maps (N, C, H, W) or vectors (N, K) of floats, but got {what}: select "
            "one with `output_key` (--output_key), a name, an index, or in Python a function of the output"
        )
        raise UserTypeError(message)
    return found


def _main(named: Mapping[str, Tensor]) -> Tensor | None:
    """Guess the main output from names and sizes."""
    maps = [tensor for tensor in named.values() if tensor.dim() == 4]
    vectors = [tensor for tensor in named.values() if tensor.dim() == 2]
    for name in MAIN:
        if name in named and named[name].dim() in (2, 4):
            return named[name]
    if maps:
        return max(maps, key=lambda tensor: tensor.shape[-2] * tensor.shape[-1])
    return max(vectors, key=Tensor.numel, default=None)


def choice(output: Any, key: OutputKey = None) -> str:
    """Describe which of several tensors `pick` selects, and list the others.

    Args:
        output: See `pick`.
        key: See `pick`.

    Returns:
        A line; empty if there is only one tensor, or if a function selects it.
    """
    named = dict(_named(output))
    if len(named) < 2 or callable(key):
        return ""
    taken = pick(output, key)
    mine = {name: tensor for name, tensor in named.items() if tensor is taken}
    return f"{_listed(mine)}; there are also {_listed({n: t for n, t in named.items() if n not in mine})}"


def fields_of(output: Any) -> Mapping[str, Any] | None:
    """An object's attributes by name, also of data classes with slots; None if it has none.

    Args:
        output: A network's output, or a part of it.
    """
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return vars(output) if hasattr(output, "__dict__") else None


def _named(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Floating-point tensors with their paths: `out`, `0`, `0.out`."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield name, output
        return
    parts: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        parts = output
    elif isinstance(output, tuple | list):
        parts = dict(enumerate(output)) | dict(getattr(output, "_asdict", dict)())
    else:
        parts = fields_of(output) or {}
    for key, value in parts.items():
        yield from _named(value, f"{name}.{key}" if name else str(key))


def _listed(named: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name or 'the tensor'} {tuple(tensor.shape)}" for name, tensor in named.items()) or "no tensor"


def observe(
    network: nn.Module,
    images: Tensor,
    keys: Collection[str] | None = (),
    output_key: OutputKey = None,
    cut: tuple[str, Callable[[Tensor], Tensor]] | None = None,
) -> Observed:
    """Run a network once, and keep its output and feature maps.

    Args:
        network: A `shared_copy`.
        images: (N, C, H, W).
        keys: Names of the feature maps to keep, as in an earlier run: the module's name, followed by the number of the
            call if the module is called more than once. None keeps all.
        output_key: See `pick`.
        cut: The name of a map, and a function whose result replaces it in the rest of the network.

    Returns:
        Output and maps.

    Raises:
        UserRuntimeError: The network fails; the message says at which size.
    """
    maps: dict[str, Tensor] = {}
    with _hooked(network, maps, keys, cut), torch.no_grad():
        try:
            output = network(images)
        except UserError:
            raise
        except _FAILURES as error:
            size, reason = "×".join(map(str, images.shape[-2:])), _reason(error)
            message = f"The network fails on images of {size} pixels: {type(error).__name__}: {reason}"
            raise UserRuntimeError(message) from error
    return Observed(pick(output, output_key), maps, choice(output, output_key))


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextmanager
def _hooked(
    network: nn.Module,
    maps: dict[str, Tensor],
    keys: Collection[str] | None,
    cut: tuple[str, Callable[[Tensor], Tensor]] | None,
) -> Iterator[None]:
    calls: dict[str, int] = {}
    wanted = None if keys is None else {_module_of(key) for key in [*keys, *(cut[:1] if cut else ())]}

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            key = name if calls[name] == 1 else f"{name} (call {calls[name]})"
            if isinstance(output, Tensor) and output.dim() == 4 and output.is_floating_point():
                if keys is None or key in keys:
                    maps.pop(key, None)
                    maps[key] = output
                if cut is not None and key == cut[0]:
                    return cut[1](output)
            return None

        return hook

    named = [(name, module) for name, module in network.named_modules() if name]
    handles = [m.register_forward_hook(hook_of(name)) for name, m in named if wanted is None or name in wanted]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module_of(key: str) -> str:
    return key.rpartition(" (call ")[0] or key


def strides_of(smaller: Observed, larger: Observed, step: int) -> tuple[dict[str, Fraction], int]:
    """The stride of each map in pixels of the input, and the least common multiple of the strides.

    Args:
        smaller: A run on images of any size.
        larger: A run on images that are `step` pixels higher and wider.
        step: A multiple of all strides, such as 64.

    Returns:
        Strides by the map's name, `""` for the output, without maps that do not grow with the input, and their least
        common multiple: shifts by its multiples are whole pixels of every map.
    """
    found: dict[str, Fraction] = {}
    pairs = {"": (smaller.output, larger.output)}
    pairs |= {key: (value, larger.maps[key]) for key, value in smaller.maps.items() if key in larger.maps}
    for key, (before, after) in pairs.items():
        grown = {after.shape[axis] - before.shape[axis] for axis in (-2, -1)} if before.dim() == 4 else {0}
        if len(grown) == 1 and min(grown) > 0:
            stride = Fraction(step, grown.pop())
            if stride.denominator == 1 or stride.numerator == 1:
                found[key] = stride
    whole = [stride.numerator for stride in found.values() if stride.numerator <= _LARGEST_STRIDE]
    return found, lcm(*whole) if whole else 1


def places_of(smaller: Observed, larger: Observed, strides: Mapping[str, Fraction], context: int) -> dict[str, Place]:
    """Where the smaller input's maps lie within the larger input's.

    Args:
        smaller: A run on crops.
        larger: A run on the same crops with `context` more pixels on each side.
        strides: See `strides_of`.
        context: A multiple of all strides.

    Returns:
        Places by the map's name, `""` for the output. Maps whose sizes do not match are left out.
    """
    found = {}
    for key, stride in strides.items():
        before, after = (run.maps.get(key) if key else run.output for run in (smaller, larger))
        if before is None or after is None or min(before.shape[-2:]) < 2:
            continue
        offset, size = context / stride, (before.shape[-2], before.shape[-1])
        larger_size = tuple(length + 2 * offset for length in size)
        if offset.denominator == 1 and tuple(after.shape[-2:]) == larger_size:
            found[key] = Place(stride, (int(offset), int(offset)), size)
    return found


def first_not_finite(network: nn.Module, images: Tensor) -> str:
    """The first module whose output is not finite; empty if all are finite.

    Args:
        network: A `shared_copy`.
        images: (N, C, H, W) floats.
    """
    for key, value in observe(network, images, None, output_key=lambda _: images).maps.items():
        if not bool(value.isfinite().all()):
            return key
    return ""


class Picked(nn.Module):
    """A network that returns one tensor of its output.

    Args:
        network: A `shared_copy`.
        key: See `pick`.
    """

    def __init__(self, network: nn.Module, key: OutputKey) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, images: Tensor) -> Tensor:
        """The tensor that `pick` selects, for images (N, C, H, W)."""
        return pick(self.network(images), self.key)


class UpTo(nn.Module):
    """A network that returns one of its feature maps.

    Args:
        network: A `shared_copy`.
        key: The map's name.
    """

    def __init__(self, network: nn.Module, key: str) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, images: Tensor) -> Tensor:
        """The map for images (N, C, H, W), with gradients; later layers are not run."""
        maps: dict[str, Tensor] = {}

        def stop(_: Tensor) -> Tensor:
            raise _Reached

        with _hooked(self.network, maps, [self.key], (self.key, stop)), suppress(_Reached):
            self.network(images)
        return maps[self.key]


class _Reached(Exception):
    """The requested map has been computed."""
