"""Find which of a network's values depend on which part of its input, by propagating NaN through it.

NaN reaches everything that is computed from it: no ReLU, zero weight or cancellation hides it, as they hide a gradient
or a small change. So one forward pass shows what a network *may* depend on, whatever its weights.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from pcpad.adaptation.observing import fields_of
from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Operation", "Probe", "Trace", "extent", "tensors"]

# Windowed operations: if the window covers the whole map, only a larger map can show the window's size.
_WINDOWED = ("convolution", "_pool2d", "_pool3d", "_pool1d", "upsample", "im2col", "col2im", "unfold")
# These copy or rearrange values of their input without combining any.
_MOVING = ("index", "gather", "select", "slice", "take", "narrow", "copy", "clone", "cat", "stack", "roll", "pad")


@dataclass(frozen=True)
class Operation:
    """One operation of a forward pass whose result depends on the NaNs of the input.

    Attributes:
        kind: Its name in PyTorch: `convolution`, `mean`, ….
        module: The name of the innermost module that called it, with its class.
        shapes: Shapes of the tensors that it returned.
        given: The shape of its first input.
        extents: For each axis of the first returned tensor, the first and last index with a NaN.
        whole: Whether all of its output depends on a part of its input.
        align_corners: Whether it resizes with `align_corners=True`.
    """

    kind: str
    module: str
    shapes: tuple[tuple[int, ...], ...]
    given: tuple[int, ...]
    extents: tuple[tuple[int, int], ...]
    whole: bool
    align_corners: bool


class Trace(TorchDispatchMode):
    """Records the operations that depend on NaNs of the input.

    An operation that spreads NaN over its whole output is recorded once, and its result is made finite, so that later
    operations are judged by themselves.

    Args:
        named: Names of the modules, by `id`.
        clean: Indices of further operations whose results are made finite.
    """

    def __init__(self, named: dict[int, str], clean: frozenset[int] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.named = named
        self.clean = clean
        self.operations: list[Operation] = []
        self._stack: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and record NaNs in its result."""
        kind = func.overloadpacket.__name__
        if "deform_conv2d" in kind:
            message = (
                f"{self._module} is a deformable convolution: its receptive field depends on its input, so no margin "
                "is guaranteed to be wide enough."
            )
            raise UserValueError(message)
        result = func(*args, **(kwargs or {}))
        if "empty" in kind:
            for value in tensors(result):  # uninitialized memory may contain NaN
                value.zero_()
            return result
        found = [value for value in tensors(result) if value.is_floating_point() and value.numel()]
        nans = [value.isnan() for value in found]
        if any(bool(nan.any()) for nan in nans):
            self._record(func, kind, args, kwargs or {}, found, nans)
        return result

    def _record(self, func: Any, kind: str, args: Any, kwargs: Any, found: list[Tensor], nans: list[Tensor]) -> None:
        inputs = [value for value in tensors([args, kwargs]) if value.is_floating_point()]
        aliases = any(value.data_ptr() == found[0].data_ptr() for value in inputs) and not func._schema.is_mutable
        local = aliases or any(word in kind for word in (*_WINDOWED, *_MOVING))
        whole = not local and all(bool(nan.all()) for nan in nans) and _is_partly_nan(inputs)
        names = [argument.name for argument in func._schema.arguments]
        align = dict(zip(names, args, strict=False)).get("align_corners", kwargs.get("align_corners"))
        operation = Operation(
            kind=kind,
            module=self._module,
            shapes=tuple(tuple(value.shape) for value in found),
            given=tuple(inputs[0].shape) if inputs else (),
            extents=tuple(extent(nans[0], axis) or (0, -1) for axis in range(nans[0].dim())),
            whole=whole,
            align_corners=bool(align),
        )
        if whole or len(self.operations) in self.clean:
            for value in found:
                value.nan_to_num_(nan=0.5)
                for one in inputs:
                    if one.shape == value.shape and one is not value:  # each position still depends on itself
                        value.masked_fill_(one.isnan(), float("nan"))
        self.operations.append(operation)

    @property
    def _module(self) -> str:
        return self._stack[-1] if self._stack else "the network"

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Track which module calls the operations."""

        def enter(module: nn.Module, args: Any) -> None:
            name, kind = self.named.get(id(module), ""), type(module).__name__
            self._stack.append(f"{name} ({kind})" if name else kind)

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            self._stack.pop()

        hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()


class Probe:
    """A network to run inputs through, without changing it.

    Args:
        network: A module, a method of one, or a function.
        device: The device of a function; a module runs on its parameters' device.
        dtype: The input type of a function; a module takes its parameters' type.

    Attributes:
        named: Names of its modules, by `id`.
        exact: Whether it can be run in float64.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Any],
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        owner = getattr(network, "__self__", network)
        self.module = owner if isinstance(owner, nn.Module) else None
        self.named: dict[int, str] = {}
        self.state: dict[str, Tensor] = {}
        self.device, self.dtype = torch.device(device or "cpu"), dtype or torch.float32
        self._call = network
        self.exact = False
        if self.module is None:
            return
        _refuse_training(self.module)
        self.named = {id(module): name for name, module in self.module.named_modules()}
        self.state = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        floats = [value for value in self.state.values() if value.is_floating_point()]
        if floats:
            self.device, self.dtype = floats[0].device, floats[0].dtype
        self._method = None if network is self.module else getattr(network, "__name__", None)
        scripted = isinstance(self.module, torch.jit.ScriptModule)
        self.exact = not scripted and (self._method is None or self._method == "forward")
        if self.exact and self.dtype in (torch.float16, torch.bfloat16):
            self.dtype = torch.float32  # half precision is slow or unsupported on CPUs

    def __call__(self, image: Tensor) -> Any:
        """Run the network, in the image's type if possible.

        oneDNN and cuDNN are off: their fast algorithms compute several positions at once, so that a NaN at one of them
        would seem to reach its neighbors.
        """
        with (
            _silent(),
            torch.no_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            torch.autocast(self.device.type, enabled=False),
            torch.compiler.set_stance("force_eager"),
        ):
            if self.module is None or not self.exact:
                return self._call(image)
            return torch.func.functional_call(self.module, self._state_as(image.dtype), (image,))

    def _state_as(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Parameters, and copies of the buffers, in that type; what the network writes to the copies is discarded."""
        state = {}
        for name, value in self.state.items():
            kept = value.detach()
            kept = kept.to(dtype) if kept.is_floating_point() else kept
            state[name] = kept if isinstance(value, nn.Parameter) else kept.clone()
        return state

    def trace(self, image: Tensor, clean: frozenset[int] = frozenset()) -> tuple[Trace, list[Tensor]]:
        """The operations that depend on the image's NaNs, and the tensors that the network returns."""
        trace = Trace(self.named, clean)
        with trace.watching():
            result = self(image)
        return trace, tensors(result)


def extent(nan: Tensor, axis: int) -> tuple[int, int] | None:
    """The first and last index along an axis that contain a true element; None without any."""
    others = [other for other in range(nan.dim()) if other != axis]
    places = (nan.any(dim=others) if others else nan).nonzero()
    return (int(places[0]), int(places[-1])) if len(places) else None


def tensors(value: Any) -> list[Tensor]:
    """All tensors in tuples, lists, dicts and data classes, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = list((fields_of(value) or {}).values())
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in tensors(part)]
    return []


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings: the network's own are shown when it is run for its results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_partly_nan(inputs: list[Tensor]) -> bool:
    """Whether some input contains NaN, and no input consists of NaN alone."""
    shares = [float(value.isnan().to(torch.float32).mean()) for value in inputs if value.numel()]
    return any(shares) and max(shares) < 1


def _refuse_training(module: nn.Module) -> None:
    random = ("BatchNorm", "Dropout", "DropPath", "DropBlock", "StochasticDepth")
    for name, part in module.named_modules():
        kind = type(part).__name__
        if part.training and any(word in kind for word in random) and "Frozen" not in kind:
            message = (
                f"{name or 'The network'} ({kind}) is in training mode, in which its output depends on the whole batch "
                "or on random numbers: call `network.eval()` first."
            )
            raise UserValueError(message)
