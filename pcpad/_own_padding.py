"""Padding that modules do by themselves, where converting them cannot reach it: what their code calls."""

from __future__ import annotations

import dis
import itertools
import types
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BY_HAND", "borrows_padding", "calls_pad", "hands_on", "may_call", "padding_of_its_own", "takes_borders"]

BY_HAND = "it calls `pad` before a convolution without padding"
_PADS = [F.pad, torch.constant_pad_nd]
_PAD_LAYERS = tuple(
    getattr(nn.modules.padding, f"_{name}Nd")
    for name in ("ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad")
)
_CONVOLUTIONS = [function for home in (F, torch) for function in (home.conv1d, home.conv2d, home.conv3d)]
_CONVOLUTIONS += [torch.convolution]
# Calls into these do no padding that is unknown.
_KNOWN = ("torch.", "pcpad.functional.", "pcpad.layers.", "pcpad.panoptic.", "pcpad.masked.")
_READS = ("LOAD_ATTR", "LOAD_METHOD")
_DEPTH = 4  # of calls: from a forward to a helper, and to the helper's


def padding_of_its_own(module: nn.Module) -> str | None:
    """Why a module that is not one of torch's convolutions may pad by itself, as far as its class shows.

    Code is only read, not run: whether a line is reached with this module's settings is not known. So a call
    of `F.pad` counts only above a convolution that takes borders off, as it does where "same" padding is made by hand.

    Args:
        module: Any.

    Returns:
        The reason in words, or None.

    Example:
        >>> class Down(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(8, 8, 3, stride=2)
        ...     def forward(self, x):
        ...         return self.conv(F.pad(x, (0, 1, 0, 1)))
        >>> padding_of_its_own(Down())
        'it calls `pad` before a convolution without padding'
    """
    kind = type(module)
    if kind.__module__.startswith("torch.nn."):
        return None
    if _like_a_convolution(module):
        return "a convolution of its own kind, not exactly torch.nn's" if _any(module.padding) else None
    called = _calls(kind)  # type: ignore[arg-type]  # a class is hashable
    if "conv" in called:
        return "it calls a convolution as a function, whose padding is not seen"
    if "pad" in called and any(takes_borders(below) for below in module.modules()):
        return BY_HAND
    return None


def borrows_padding(kind: type) -> bool:
    """Whether modules of a class convolve with another layer's `padding`, as a function that pads with zeros.

    Adapters that add a convolution of their own to the layer's do that. Code is read as above.

    Args:
        kind: A class of modules.

    Example:
        >>> class Adapter(nn.Module):
        ...     def __init__(self, layer, delta):
        ...         super().__init__()
        ...         self.layer, self.delta = layer, delta
        ...     def forward(self, x):
        ...         return self.layer(x) + F.conv2d(x, self.delta, padding=self.layer.padding)
        >>> borrows_padding(Adapter)
        True
    """
    return not kind.__module__.startswith("torch.") and "borrowed" in _calls(kind)


def calls_pad(module: nn.Module) -> bool:
    """Whether the forward of a module calls `F.pad`, or makes a layer that pads, itself or by its own functions.

    Args:
        module: Any; for torch's own, no.
    """
    return not type(module).__module__.startswith("torch.") and "pad" in _calls(type(module))  # type: ignore[arg-type]


def may_call(kind: type, child: str) -> bool:
    """Whether a class's code may call a child where a forward pass in evaluation mode does not.

    That is in training, or by a method that `forward` does not use, such as `encode`. Code is read as above.

    Args:
        kind: A class of modules.
        child: The name of the attribute.

    Example:
        >>> class Half(nn.Module):
        ...     def forward(self, x):
        ...         return self.before(x) if self.training else self.pad(x)
        ...     def decode(self, x):
        ...         return self.after(x)
        >>> may_call(Half, "before"), may_call(Half, "after"), may_call(Half, "other")
        (True, True, False)
    """
    forward = {code for code, _ in _followed(kind.forward, kind)}  # type: ignore[attr-defined]
    bases = (base for base in reversed(kind.__mro__) if not base.__module__.startswith("torch."))
    own = {name: function for base in bases for name, function in vars(base).items() if name != "__init__"}
    for function in own.values():
        code = getattr(_plain(function), "__code__", None)
        read = {step.argval for step in _steps(code) if step.opname in _READS} if code is not None else set()
        if child in read and (code not in forward or "training" in read):
            return True
    return False


def hands_on(base: type, kind: type) -> bool:
    """Whether the forward that a subclass of `nn.ConvNd` defines convolves only by `nn.ConvNd`'s methods.

    That is by `super().forward(x)` or `self._conv_forward(x, weight, bias)`, so that a class placed after it is called.

    Args:
        base: A class that defines `forward` or `_conv_forward`.
        kind: The class of the layer, for the methods that are found by `self`.

    Example:
        >>> class Centered(nn.Conv2d):
        ...     def forward(self, x):
        ...         return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)
        >>> class ByHand(nn.Conv2d):
        ...     def forward(self, x):
        ...         return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)
        >>> hands_on(Centered, Centered), hands_on(ByHand, ByHand)
        (True, False)
    """
    own = [vars(base)[name] for name in _METHODS if name in vars(base)]
    calls = [_handed_on(function) for function in own]
    return all(calls) and not any(_calls_of(function, kind) for function in own)


_METHODS = ("forward", "_conv_forward")


def _handed_on(function: Any) -> bool:
    """Whether a function calls its class's convolution, always by `super()` or `self`."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = [step for step in _steps(code) if step.opname not in ("PRECALL", "CACHE", "PUSH_NULL", "COPY_FREE_VARS")]
    names = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
    found = False
    for before, step in itertools.pairwise(steps):
        if step.argval in _METHODS and step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER")):
            by_super = step.opname.startswith("LOAD_SUPER") or (before.opname.startswith("CALL") and "super" in names)
            if not (by_super or (_is_self(before) and step.argval == "_conv_forward")):
                return False
            found = True
    return found


def _like_a_convolution(module: nn.Module) -> bool:
    """Whether it has a convolution's attributes, as torchvision's `DeformConv2d` and quantized ones do."""
    if not (hasattr(module, "kernel_size") and hasattr(module, "padding")):
        return False
    weight = module._parameters.get("weight")
    return "conv" in type(module).__name__.lower() or (weight is not None and weight.dim() > 2)


def _any(padding: object) -> bool:
    if isinstance(padding, str):
        return padding.lower() != "valid"
    return any(padding) if isinstance(padding, tuple | list) else bool(padding)


def takes_borders(module: nn.Module) -> bool:
    """Whether it is a convolution without padding whose windows overlap; those of patches do not.

    Args:
        module: Any.
    """
    if getattr(module, "zeros_before", None):
        return False  # it puts its own border where somebody pads with zeros
    if not isinstance(module, nn.modules.conv._ConvNd) or isinstance(module, nn.modules.conv._ConvTransposeNd):
        return False
    sides = zip(module.kernel_size, module.stride, strict=False)
    return not _any(module.padding) and any(kernel > stride for kernel, stride in sides)


@lru_cache(maxsize=4096)
def _calls(kind: type) -> frozenset[str]:
    return _calls_of(kind.forward, kind)  # type: ignore[attr-defined]


def _calls_of(forward: Any, kind: type) -> frozenset[str]:
    """What the forward of a class does, itself or through its own functions: `pad`, `conv`, or `conv` "borrowed"."""
    found: set[str] = set()
    for code, values in _followed(forward, kind):
        for value in values:
            if any(value is one for one in _PADS) or (_is_layer(value) and issubclass(value, _PAD_LAYERS)):
                found.add("pad")
            elif any(value is one for one in _CONVOLUTIONS):
                found |= {"conv", "borrowed"} if _reads_padding_of_another(code) else {"conv"}
    return frozenset(found)


def _followed(forward: Any, kind: type) -> Iterator[tuple[types.CodeType, list[object]]]:
    """The code of a class's forward and of its own functions, and the functions that each names."""
    seen: set[types.CodeType] = set()
    queue: list[tuple[Any, type, int]] = [(forward, kind, 0)]
    while queue:
        function, kind, depth = queue.pop()
        function = _plain(function)
        code = getattr(function, "__code__", None)
        home = getattr(function, "__module__", None) or ""
        if code is None or code in seen or f"{home}.".startswith(_KNOWN):
            continue
        seen.add(code)
        values = list(_named(function, kind))
        yield code, values
        for value in values if depth < _DEPTH else ():
            if isinstance(value, types.FunctionType | types.MethodType):
                queue.append((value, kind, depth + 1))
            elif _is_layer(value) and not value.__module__.startswith("torch."):
                queue.append((value.forward, value, depth + 1))


def _is_layer(value: object) -> TypeGuard[type[nn.Module]]:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _plain(function: Any) -> Any:
    """A function without what a class or a decorator put around it."""
    function = getattr(function, "__func__", function)  # of static and class methods
    return getattr(function, "__wrapped__", function)


def _reads_padding_of_another(code: types.CodeType) -> bool:
    """Whether it reads the attribute `padding` of anything but `self`."""
    steps = list(_steps(code))
    return any(
        step.opname == "LOAD_ATTR" and step.argval == "padding" and not _is_self(before)
        for before, step in itertools.pairwise(steps)
    )


def _self_of(function: Any, kind: type) -> str:
    """The name by which a method knows its module; `self` for other functions, which may be handed it."""
    own = next((vars(base)[function.__name__] for base in kind.__mro__ if function.__name__ in vars(base)), None)
    is_method = _plain(own) is function and not isinstance(own, staticmethod) and function.__code__.co_argcount
    return function.__code__.co_varnames[0] if is_method else "self"


def _is_self(step: dis.Instruction, name: str = "self") -> bool:
    if not step.opname.startswith("LOAD_FAST"):
        return False
    # From Python 3.13 on one instruction may load two names.
    is_self: bool = (step.argval[-1] if isinstance(step.argval, tuple) else step.argval) == name
    return is_self


def _named(function: Any, kind: type) -> Iterator[object]:
    """The functions that a function's code names: `pad`, `F.pad`, `torch.nn.functional.pad`, `self.helper`."""
    held: object = None
    first = _self_of(function, kind)
    for step in _steps(function.__code__):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            held = function.__globals__.get(step.argval)
        elif _is_self(step, first):
            held = kind
        elif step.opname in _READS and isinstance(held, types.ModuleType | type):
            held = vars(held).get(step.argval) if held is not kind else _of_class(kind, step.argval)
        else:
            held = None
        if held is not kind and callable(held):
            yield held


def _of_class(kind: type, name: str) -> Callable[..., Any] | None:
    found = (_plain(vars(base)[name]) for base in kind.__mro__ if name in vars(base))
    return next((function for function in found if isinstance(function, types.FunctionType)), None)


def _steps(code: types.CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for inner in code.co_consts:  # comprehensions and functions within
        if isinstance(inner, types.CodeType):
            yield from _steps(inner)
