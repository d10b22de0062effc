"""What of a network's values depends on what of its input, found by sending NaN through it.

A NaN reaches everything that is computed from it: neither a ReLU nor a weight of zero nor a cancellation hides it, as
they hide a gradient or a small change. So one forward pass shows what a network *may* look at, whatever its values.
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

# These look at a window: where it is as large as the map, the map was too small to tell, and a larger one will.
_WINDOWED = ("convolution", "_pool2d", "_pool3d", "_pool1d", "upsample", "im2col", "col2im", "unfold")
# These return some of their input's values, mixing none.
_MOVING = ("index", "gather", "select", "slice", "take", "narrow", "copy", "clone", "cat", "stack", "roll", "pad")


@dataclass(frozen=True)
class Operation:
    """One operation of a forward pass whose result depends on the NaNs of the input.

    Attributes:
        kind: Its name in PyTorch: `convolution`, `mean`, ….
        module: The name of the innermost module that called it, with its class.
        shapes: Of the tensors it returned.
        given: The shape of its first input.
        extents: Of the first tensor it returned: for each axis the first and last index with a NaN.
        whole: Whether a part of its input made all of its output depend on it.
        align_corners: Whether it resizes by the corners' centers.
    """

    kind: str
    module: str
    shapes: tuple[tuple[int, ...], ...]
    given: tuple[int, ...]
    extents: tuple[tuple[int, int], ...]
    whole: bool
    align_corners: bool


class Trace(TorchDispatchMode):
    """Records what depends on NaNs of the input, operation by operation.

    What an operation spreads over its whole output is recorded once: its result is made finite, so that what follows
    is seen by itself.

    Args:
        named: Names of the modules, by `id`.
        clean: Operations whose results are made finite, by their number.
    """

    def __init__(self, named: dict[int, str], clean: frozenset[int] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.named = named
        self.clean = clean
        self.operations: list[Operation] = []
        self._stack: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and look at what it returned."""
        kind = func.overloadpacket.__name__
        if "deform_conv2d" in kind:
            message = (
                f"{self._module} is a deformable convolution: its receptive field depends on its input, so that no "
                "margin is sure to be wide enough."
            )
            raise UserValueError(message)
        result = func(*args, **(kwargs or {}))
        if "empty" in kind:
            for value in tensors(result):  # whatever was in memory, NaNs too
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
                    if one.shape == value.shape and one is not value:  # each place still looks at itself
                        value.masked_fill_(one.isnan(), float("nan"))
        self.operations.append(operation)

    @property
    def _module(self) -> str:
        return self._stack[-1] if self._stack else "the network"

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Know within which module operations are called."""

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
    """A network to try inputs on, left as it was.

    Args:
        network: A module, a method of one, or a function.
        device: Where a function runs; a module runs where its parameters are.
        dtype: Of what a function takes; a module takes its parameters' type.

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
            self.dtype = torch.float32  # what is slow or missing in them on a CPU is not asked for

    def __call__(self, image: Tensor) -> Any:
        """What the network returns; in the image's type where it can be run in it.

        Without oneDNN and cuDNN: their fast algorithms compute several places at once, and a NaN at one of them
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
        """Parameters in that type, and copies of the buffers: what the network writes to these is forgotten."""
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
    """First and last index along an axis with a true element anywhere; None where there is none."""
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
    """Without warnings: the network's own are heard when it is run for its results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_partly_nan(inputs: list[Tensor]) -> bool:
    """Whether some input has NaNs, and none has nothing else."""
    shares = [float(value.isnan().to(torch.float32).mean()) for value in inputs if value.numel()]
    return any(shares) and max(shares) < 1


def _refuse_training(module: nn.Module) -> None:
    random = ("BatchNorm", "Dropout", "DropPath", "DropBlock", "StochasticDepth")
    for name, part in module.named_modules():
        kind = type(part).__name__
        if part.training and any(word in kind for word in random) and "Frozen" not in kind:
            message = (
                f"{name or 'The network'} ({kind}) is in training mode, in which what it computes depends on the whole "
                "batch or on chance: call `network.eval()` first."
            )
            raise UserValueError(message)
