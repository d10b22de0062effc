"""The zeros that reach convolutions, as `torch.fx` sees them: for inputs of every size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn

from pcpad._in_place import RecordingProxy, changed_before, is_view
from pcpad._observed import (
    ASKING,
    CHANGED,
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
        try:
            name = self.path_of_module(m)
        except NameError:  # made in a forward, such as `nn.ZeroPad2d(1)(x)`: followed as a function
            return forward(*args, **kwargs)
        self.called.add(name)
        if not self.is_leaf_module(m, name):
            self.followed.add(name)
        return super().call_module(m, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return RecordingProxy(node, self)

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
    observed = Observed(seen=tracer.followed, called=tracer.called)
    flow = _Flow(graph, dict(model.named_modules()))
    for node in graph.nodes:
        module = flow.modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, CONVOLUTIONS):
            zeros, origins = flow.zeros_before(node, len(module.kernel_size))
            observed.zeros.setdefault(node.target, []).append(zeros)
            for origin in origins:
                observed.reached.setdefault(origin, set()).add(node.target)
        elif flow.padding(node) is not None:
            if not all(map(flow.takes_padding, node.users)):
                observed.elsewhere[_holder(node)] = ELSEWHERE
            observed.reached.setdefault(_holder(node), set())
            for end in flow.ends(node):
                if end.op == "output":
                    observed.returned.add(_holder(node))
                elif not _is_within(_holder(end), _holder(node)):
                    observed.handed.add(_holder(node))
    return observed


def _holder(node: Any) -> str:
    """The module whose code a node comes from; a module that pads is its own."""
    if node.op == "call_module":
        return str(node.target)
    path: str = list(node.meta.get("nn_module_stack") or {"": None})[-1]
    return path


def _is_within(name: str, outer: str) -> bool:
    return not outer or name == outer or name.startswith(f"{outer}.")


class _Flow:
    """Where padded tensors go in a graph."""

    def __init__(self, graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self.order = {node: at for at, node in enumerate(graph.nodes)}

    def padding(self, node: Any) -> tuple[Any, str, Any] | None:
        """Amounts in the order of `F.pad`, mode and value of a node that pads; None for others."""
        if node.op == "call_module":
            module: Any = self.modules[node.target]
            return (module.padding, "constant", 0) if zeros_by_module(module) else None
        if node.op == "call_function" and any(node.target is pad for pad in PADS):
            return arguments_of_pad(node.args[1:], node.kwargs, node.target)
        return None

    def takes_padding(self, node: Any) -> bool:
        """Whether a node convolves or pads what it takes, or asks for its size."""
        if node.op == "call_module":
            module = self.modules[node.target]
            return isinstance(module, (*CONVOLUTIONS, nn.Identity)) or zeros_by_module(module)
        if node.op == "call_function":
            return any(node.target is pad for pad in PADS) or (node.target is getattr and node.args[1:] == ("shape",))
        return node.op == "call_method" and node.target in ASKING

    def ends(self, node: Any) -> Iterator[Any]:
        """What takes a padded value in the end, behind paddings and views of it, other than convolutions."""
        for user in node.users:
            module = self.modules.get(user.target) if user.op == "call_module" else None
            if isinstance(module, nn.Identity) or self.padding(user) is not None or is_view(user, node):
                yield from self.ends(user)
            elif not self.takes_padding(user):
                yield user

    def zeros_before(self, user: Any, dims: int) -> tuple[Zeros, list[str]]:
        """The zeros around the value that a node takes, and the modules that put them there."""
        node = user.args[0] if user.args else user.kwargs.get("input")
        if not isinstance(node, fx.Node):
            return None, []
        if node.op == "call_module" and isinstance(self.modules[str(node.target)], nn.Identity):
            return self.zeros_before(node, dims)
        padding = self.padding(node)
        if padding is None:
            return None, []
        inner, origins = self.zeros_before(node, dims)
        zeros = added(inner, as_pairs(*padding, dims))
        changed = zeros is not None and changed_before(node, user, self.order, self.modules)
        return CHANGED if changed else zeros, [*origins, _holder(node)]
