"""The zeros that reach convolutions, as `torch.fx` sees them: for inputs of every size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from pcpad._observed import (
    ASKING,
    CONVOLUTIONS,
    ELSEWHERE,
    PADS,
    Observed,
    Zeros,
    added,
    arguments_of_pad,
    as_pairs,
    zeros_by_module,
)
from pcpad._own_padding import calls_pad

__all__ = ["traced"]


class _Tracer(fx.Tracer):
    """Follows every module that may pad, and notes which modules are called, and which of these are followed."""

    def __init__(self) -> None:
        super().__init__()
        self.called = {""}
        self.followed = {""}

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        name = self.path_of_module(m)
        self.called.add(name)
        if not self.is_leaf_module(m, name):
            self.followed.add(name)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name) or isinstance(m, CONVOLUTIONS):
            return True
        return not calls_pad(m) and not any(m.children())


def traced(model: nn.Module) -> Observed | None:
    """Find the zeros that reach convolutions with `torch.fx`.

    Args:
        model: A copy in evaluation mode: its code is run with proxies in place of tensors, which it may keep.

    Returns:
        What was seen; None where it cannot be traced.
    """
    try:
        tracer = _Tracer()
        graph = tracer.trace(model)
    except Exception:  # of any kind: other people's code gets proxies in place of tensors
        return None
    modules, observed = dict(model.named_modules()), Observed()
    observed.seen, observed.called = tracer.followed, tracer.called
    for node in graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, CONVOLUTIONS):
            source = node.args[0] if node.args else node.kwargs["input"]
            zeros, origins = _zeros_of_node(source, modules, len(module.kernel_size))
            observed.zeros.setdefault(node.target, []).append(zeros)
            for origin in origins:
                observed.reached.setdefault(origin, set()).add(node.target)
        elif _padding_of_node(node, modules) is not None:
            if not all(_takes_padding(user, modules) for user in node.users):
                observed.elsewhere[_holder(node)] = ELSEWHERE
            observed.reached.setdefault(_holder(node), set())
    return observed


def _padding_of_node(node: Any, modules: Mapping[str, nn.Module]) -> tuple[Any, str, Any] | None:
    """Amounts in the order of `F.pad`, mode and value of a node that pads; None for others."""
    if node.op == "call_module":
        module = modules[node.target]
        return (module.padding, "constant", 0) if zeros_by_module(module) else None
    if node.op == "call_function" and any(node.target is pad for pad in PADS):
        return arguments_of_pad(node.args[1:], node.kwargs, node.target)
    return None


def _holder(node: Any) -> str:
    """The module whose code a node comes from; a module that pads is its own."""
    if node.op == "call_module":
        return str(node.target)
    path: str = list(node.meta.get("nn_module_stack") or {"": None})[-1]
    return path


def _takes_padding(node: Any, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[node.target]
        return isinstance(module, (*CONVOLUTIONS, nn.Identity)) or zeros_by_module(module)
    if node.op == "call_function":
        return any(node.target is pad for pad in PADS) or (node.target is getattr and node.args[1:] == ("shape",))
    return node.op == "call_method" and node.target in ASKING


def _zeros_of_node(node: Any, modules: Mapping[str, nn.Module], dims: int) -> tuple[Zeros, list[str]]:
    """The zeros around a node's value, and the modules that put them there."""
    if node.op == "call_module" and isinstance(modules[node.target], nn.Identity):
        return _zeros_of_node(node.args[0], modules, dims)
    padding = _padding_of_node(node, modules)
    if padding is None:
        return None, []
    methods = (str(user.target) for user in node.users if user.op == "call_method")
    if any(method.endswith("_") and not method.endswith("__") for method in methods):
        return "its input comes with zeros around it, and is then changed in place", [_holder(node)]
    inner, origins = _zeros_of_node(node.args[0], modules, dims) if node.args else (None, [])
    return added(inner, as_pairs(*padding, dims)), [*origins, _holder(node)]
