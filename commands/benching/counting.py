"""Count a call's arithmetic kernels and the bytes they move, which other processes do not disturb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pcpad import _border

__all__ = ["Counts", "as_on_a_gpu", "count"]

# Memory without values, and questions about tensors.
_NOTHING = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "is_same_size", "sym_size"}
_NOTHING |= {"lift_fresh", "resize_", "set_", "_unsafe_view", "record_stream", "promote_types"}
# What writes its first argument without reading it.
_WRITES_ONLY = {"copy_", "fill_", "zero_"}
# One operation for the dispatcher, two launches: zeros, and the input put into them.
_TWO = {"constant_pad_nd"}


@dataclass
class Counts:
    """The counts of some calls.

    Args:
        kernels: How often each operation ran that computes or copies; views and empty memory are none.
        bytes: Read and written by these, broadcast axes once.
        waits: How often a value was read back, for which a GPU's queue is waited for.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    waits: int = 0

    @property
    def total(self) -> int:
        """Kernels of all kinds."""
        return self.kernels.total()


class _Counting(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.counts = counts

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name == "_local_scalar_dense":
            self.counts.waits += 1
        elif name not in _NOTHING and not _is_view(func):
            self.counts.kernels[name] += 2 if name in _TWO else 1
            self.counts.bytes += _bytes(func, name, args, kwargs, result)
            self.counts.waits += name == "nonzero"
        return result


def _is_view(func: Any) -> bool:
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _bytes(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    written_only = {argument.name for argument in func._schema.arguments if argument.is_out}
    read = list(args[1:] if name in _WRITES_ONLY else args)
    read += [value for key, value in kwargs.items() if key not in written_only]
    tensors = {id(t): t for t in tree_leaves(read) if isinstance(t, Tensor)}.values()
    return sum(map(_size, [*tensors, *(t for t in tree_leaves(result) if isinstance(t, Tensor))]))


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor's elements; an expanded axis counts once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride or not size else 1
    return elements * tensor.element_size()


def count(call: Callable[[], object]) -> Counts:
    """Run a function once and count its operations, including those of a backward pass.

    Args:
        call: What to run. What is kept between calls has to be there already for its count: call it once before.

    Returns:
        What was counted.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3)
        >>> counts = count(lambda: (x.t() * 2).sum())
        >>> dict(counts.kernels), counts.bytes
        ({'mul': 1, 'sum': 1}, 76)
    """
    counts = Counts()
    with _Counting(counts):
        call()
    return counts


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Have partial convolution take its GPU code paths for CPU tensors, to count them."""
    with mock.patch.object(_border, "on_cpu", return_value=False):
        yield
