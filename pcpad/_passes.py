"""The zeros that reach convolutions, as forward passes at several sizes show them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from pcpad._observed import (
    ASKING,
    BY_SIZE,
    CHANGED,
    CONVOLUTIONS,
    ELSEWHERE,
    PADS,
    Observed,
    Zeros,
    added,
    arguments_of_pad,
    as_pairs,
    weights_of,
)
from pcpad.errors import UserValueError

__all__ = ["bare_copy", "guessed", "run"]

_LARGER = (1, 3, 32)  # by how much examples are grown: odd ones tell whether a padding depends on the size


def bare_copy(model: nn.Module) -> nn.Module | None:
    """A copy without values and hooks, in evaluation mode; None if there is none.

    Args:
        model: The network.
    """
    memo: dict[int, Any] = {}
    try:
        for tensor in (*model.parameters(), *model.buffers()):
            empty = torch.empty_like(tensor, device="meta")
            memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
        bare = copy.deepcopy(model, memo)
    except Exception:  # of any kind: uninitialized parameters, classes that copy themselves
        return None
    for module in bare.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            getattr(module, hooks).clear()
    return bare.eval()


def guessed(module: nn.Module) -> Observed | None:
    """Observe the forward of a module that pads, on an input that its first convolution takes; on an image without one.

    Args:
        module: On the device "meta".

    Returns:
        What was seen; None if it does not run.
    """
    first = next((part for part in module.modules() if isinstance(part, CONVOLUTIONS)), None)
    if first is None:
        return run(module, torch.empty((1, 3, 32, 32), device="meta"), exact=False)
    shape = (1, first.in_channels, *[32] * len(first.kernel_size))
    return run(module, torch.empty(shape, device="meta", dtype=first.weight.dtype), exact=False)


def run(model: nn.Module, example: Any, *, exact: bool = True) -> Observed | None:
    """Observe forward passes of the example and larger ones; None if the example fails.

    Args:
        model: The network.
        example: What it takes.
        exact: Whether the example is the user's own, for the user's network.

    Returns:
        What was seen.

    Raises:
        ValueError: The network does not take the user's example.
    """
    bare = model if not exact else bare_copy(model)
    observed = None
    if bare is not None:
        try:
            observed = _pass(bare, tree_map_only(Tensor, lambda t: t.to("meta"), example))
        except Exception:  # of any kind: much code cannot run without numbers
            observed = None
    if observed is None and exact:
        bare, observed = model, _real_pass(model, example)
    if observed is None or bare is None:
        return None
    if not any(zeros is not None for calls in observed.zeros.values() for zeros in calls):
        return observed
    for more in _LARGER:
        try:
            other = _pass(bare, _grown(example, more, meta=bare is not model or not exact))
        except Exception:  # a network of one size
            continue
        for name, calls in observed.zeros.items():
            if other.zeros.get(name) != calls and any(zeros is not None for zeros in calls):
                observed.zeros[name] = [BY_SIZE]
    return observed


def _real_pass(model: nn.Module, example: Any) -> Observed:
    try:
        return _pass(model, example)
    except Exception as error:  # of any kind: it is the network's
        came = tree_map_only(Tensor, lambda t: tuple(t.shape), example)
        message = (
            f"The network does not take `example` ({came}): {type(error).__name__}: {error}. Expected what its forward "
            "takes: a tensor, a tuple of arguments, or a dict of named ones. Nothing has been converted."
        )
        raise UserValueError(message) from error


def _grown(example: Any, more: int, *, meta: bool) -> Any:
    """The example with larger axes after the second one."""

    def grow(tensor: Tensor) -> Tensor:
        if tensor.dim() < 3:
            return tensor.to("meta") if meta else tensor
        size = (*tensor.shape[:2], *(length + more for length in tensor.shape[2:]))
        return tensor.new_empty(size, device="meta") if meta else tensor.new_zeros(size)

    return tree_map_only(Tensor, grow, example)


def _pass(model: nn.Module, example: Any) -> Observed:
    observed, stack = Observed(), [""]
    names = {module: name for name, module in model.named_modules()}
    training = {module: module.training for module in model.modules()}
    recorder = _Recorder(observed, stack, names)
    handles = []
    for module in names:
        handles.append(module.register_forward_pre_hook(recorder.enter, with_kwargs=True))
        handles.append(module.register_forward_hook(recorder.leave, always_call=True))
    try:
        with torch.no_grad(), recorder:
            model.eval()
            if isinstance(example, dict):
                output = model(**example)
            else:
                output = model(*example) if isinstance(example, tuple | list) else model(example)
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                observed.returned.update(recorder.padded.get(tensor, _Padded()).holders)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    return observed


class _Padded(NamedTuple):
    """What is known of a tensor that was padded.

    Args:
        padding: Amounts, mode and value of each padding.
        holders: The modules that padded.
        changed: Whether one of the tensors was changed before the next padding.
        version: Of the tensor when it was made; a change in place counts it up, by a view of it too.
    """

    padding: tuple[Any, ...] = ()
    holders: tuple[str, ...] = ()
    changed: bool = False
    version: int | None = None


class _Recorder(TorchFunctionMode):
    """Notes every tensor that zeros were put around, and where it goes."""

    def __init__(self, observed: Observed, stack: list[str], names: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.observed, self.stack, self.names = observed, stack, names
        self.padded: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        name = self.names[module]
        self.stack.append(name)
        self.observed.seen.add(name)
        self.observed.called.add(name)
        if isinstance(module, CONVOLUTIONS):
            source = args[0] if args else kwargs["input"]
            known = self._known(source)
            zeros = _sum(known.padding, len(module.kernel_size))
            self.observed.zeros.setdefault(name, []).append(CHANGED if known.changed and zeros else zeros)
            for holder in known.holders:
                self.observed.reached.setdefault(holder, set()).add(name)

    def leave(self, module: Any, args: Any, output: Any) -> None:
        if self.stack[-1] == self.names[module]:
            self.stack.pop()
        cost = _cost(module, args, output)
        if cost:
            total = self.observed.multiply_adds
            total[self.names[module]] = total.get(self.names[module], 0) + cost

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        holder = self.stack[-1]
        is_pad = any(func is pad for pad in PADS)
        inputs = list(self._inputs(args, kwargs))
        if not is_pad and inputs and getattr(func, "__name__", "") not in ASKING:
            here = next((module for module, name in self.names.items() if name == holder), None)
            if not isinstance(here, CONVOLUTIONS):
                self._note_elsewhere(inputs, output)
        if is_pad and isinstance(output, Tensor):
            source = args[0] if args else kwargs["input"]
            known = self._known(source)
            more = arguments_of_pad(args[1:], {k: v for k, v in kwargs.items() if k != "input"}, func)
            padding, holders = (*known.padding, more), (*known.holders, holder)
            self.padded[output] = _Padded(padding, holders, known.changed, _version(output))
            self.observed.reached.setdefault(holder, set())
        return output

    def _known(self, tensor: Tensor) -> _Padded:
        known: _Padded = self.padded.get(tensor, _Padded())
        return known._replace(changed=known.changed or (bool(known.padding) and known.version != _version(tensor)))

    def _note_elsewhere(self, inputs: list[Tensor], output: Any) -> None:
        for tensor in inputs:
            known = self.padded.get(tensor, _Padded())  # one that is named twice is gone the second time
            for origin in known.holders:
                self.observed.elsewhere[origin] = ELSEWHERE
                if origin not in self.stack:
                    self.observed.handed.add(origin)
            # Of `contiguous` and the like, in which `torch.fx` sees a new tensor.
            if output is tensor and known.version == _version(tensor):
                self.padded.pop(tensor, None)

    def _inputs(self, args: Any, kwargs: Any) -> Iterator[Tensor]:
        return (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf in self.padded)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _sum(padding: Any, dims: int) -> Zeros:
    zeros: Zeros = None
    for amounts, mode, value in padding:
        zeros = added(zeros, as_pairs(amounts, mode, value, dims))
    return zeros


def _cost(module: Any, args: Any, output: Any) -> int:
    """Multiplications with a weight in one call of a convolution or linear layer."""
    if not isinstance(output, Tensor):
        return 0
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    taps = weights_of(module)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return args[0].numel() * taps // module.in_channels if args else 0
    return output.numel() * taps // module.out_channels if taps else 0
