"""Changes in place, in a graph of `torch.fx`: recorded, and found for a tensor and all views of it."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn

__all__ = ["RecordingProxy", "changed_before", "changed_by", "is_view"]

_OPERATORS = (
    operator.iadd, operator.isub, operator.imul, operator.imatmul, operator.itruediv, operator.ifloordiv,
    operator.imod, operator.ipow, operator.iand, operator.ior, operator.ixor,
)  # fmt: skip
# Methods, functions and attributes whose result may share its memory with their first argument.
_VIEWS = {
    "T", "H", "mT", "mH", "real", "imag", "data", "alias", "as_strided", "chunk", "contiguous", "detach", "diagonal",
    "double", "dsplit", "expand", "expand_as", "flatten", "float", "getitem", "half", "hsplit", "movedim",
    "moveaxis", "narrow", "permute", "ravel", "reshape", "reshape_as", "requires_grad_", "select", "split",
    "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t", "tensor_split", "to", "transpose", "type", "type_as",
    "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as", "view_as_complex", "view_as_real", "vsplit",
}  # fmt: skip


class RecordingProxy(fx.Proxy):
    """Also records `x[…] = y`, which `torch.fx` refuses, and `x += y`, which it takes for a new tensor."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})


def _recorded(function: Any) -> Any:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _function in _OPERATORS:
    setattr(RecordingProxy, f"__{_function.__name__}__", _recorded(_function))


def changed_before(node: Any, user: Any, order: Mapping[Any, int], modules: Mapping[str, nn.Module]) -> bool:
    """Whether a tensor, or a view of it, is changed in place between its making and its use.

    Args:
        node: What makes the tensor.
        user: What uses it.
        order: The place of each node in the graph.
        modules: The network's modules by name.
    """
    return any(
        order[change] < order[user] and changed_by(change, modules) is alias
        for alias in _aliases(node)
        for change in alias.users
    )


def changed_by(node: Any, modules: Mapping[str, nn.Module]) -> Any:
    """The node whose tensor this node changes in place; None for one that changes none."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    if node.op == "call_module":
        return first if getattr(modules[node.target], "inplace", False) else None
    if node.op not in ("call_function", "call_method"):
        return None
    name = _name(node)
    if "out" in node.kwargs:
        return node.kwargs["out"]
    in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    named = node.target is operator.setitem or node.target in _OPERATORS or node.kwargs.get("inplace") is True
    return first if in_place or named else None


def _aliases(node: Any) -> Iterator[Any]:
    """A node and those whose tensors may share its memory."""
    yield node
    for user in node.users:
        if is_view(user, node):
            yield from _aliases(user)


def is_view(node: Any, of: Any) -> bool:
    """Whether a node's tensor may share its memory with another node's, and is no other function of it."""
    return node.op in ("call_function", "call_method") and node.args[:1] == (of,) and _result(node) in _VIEWS


def _result(node: Any) -> str:
    """The name of the function, or of the attribute that is read."""
    return str(node.args[1]) if node.target is getattr else _name(node)


def _name(node: Any) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
