"""Batch norm folded into the convolution before it, the padding's ratio kept: for evaluation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, overload

from torch import fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pcpad import layers
from pcpad._other_layers import Guarded
from pcpad.errors import UserTypeError, UserValueError

__all__ = ["FusionReport", "fuse_padding"]

Model = TypeVar("Model", bound=nn.Module)

_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(layers.PartialConv1d, layers.PartialConv2d, layers.PartialConv3d),
    *(layers.PaddedConv1d, layers.PaddedConv2d, layers.PaddedConv3d),
)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Batch norms of timm that apply `drop` and `act` themselves, which are left in their place.
_WITH_ACTIVATION = ("BatchNormAct2d",)
_LEAVES = (Guarded, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class FusedRow(NamedTuple):
    """One batch norm of a report.

    Args:
        norm: Where it is.
        convolution: The convolution that it follows; empty if it follows none.
        why: Why it was left; empty if it was fused.
    """

    norm: str
    convolution: str
    why: str


@dataclass(frozen=True)
class FusionReport:
    """The result of fusion: a row for each batch norm. Printed, it is a table."""

    rows: tuple[FusedRow, ...]

    @property
    def fused(self) -> tuple[FusedRow, ...]:
        """The batch norms that were fused."""
        return tuple(row for row in self.rows if not row.why)

    @property
    def left(self) -> tuple[FusedRow, ...]:
        """The batch norms that were left, each with the reason."""
        return tuple(row for row in self.rows if row.why)

    def __str__(self) -> str:
        lines = [f"{len(self.fused)} batch norms fused, {len(self.left)} left as they are"]
        lines += [f"  {row.norm} -> {row.convolution}" for row in self.fused]
        lines += [f"  {row.norm}: {row.why}" for row in self.left]
        return "\n".join(lines)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


@overload
def fuse_padding(model: Model, *, inplace: bool = ..., return_report: Literal[False] = ...) -> Model: ...


@overload
def fuse_padding(model: Model, *, inplace: bool = ..., return_report: Literal[True]) -> tuple[Model, FusionReport]: ...


def fuse_padding(
    model: Model, *, inplace: bool = False, return_report: bool = False
) -> Model | tuple[Model, FusionReport]:
    """Fold each batch norm into the convolution before it, for evaluation.

    `γ·(W·x·r + b - μ)/σ + β` is a partial convolution again, with another weight and bias: one pass applies its ratio
    and bias, where it applied the ratio alone before. It is computed in float64. The result keeps the network's
    classes and code; batch norms that were fused become `nn.Identity`, so its state no longer fits the network's.

    Left as they are: batch norms that do not directly follow a convolution of this package or of `torch.nn`; where the
    convolution's output is also used elsewhere, or either module is called more than once, hooked or parametrized; and
    convolutions whose windows may lie in the padding entirely, whose outputs are 0 before a batch norm shifts them.

    Args:
        model: A network in evaluation mode that `torch.fx` can trace.
        inplace: Change the network itself; by default a copy is changed.
        return_report: Also return a `FusionReport`.

    Returns:
        The network, or the network and the report.

    Raises:
        ValueError: If a part of the network is in training mode.
        TypeError: If `torch.fx` cannot trace the network. Nothing has been changed then.

    Example:
        >>> from pcpad import PartialConv2d
        >>> network = nn.Sequential(PartialConv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> print(fuse_padding(network, return_report=True)[1])
        1 batch norms fused, 0 left as they are
          1 -> 0
    """
    training = next((name or "the network" for name, module in model.named_modules() if module.training), None)
    if training is not None:
        message = (
            f"Expected a network in evaluation mode, but {training} is in training mode, where batch norm depends on "
            "the batch. Call `.eval()` first."
        )
        raise UserValueError(message)
    graph = _trace(model)
    target = model if inplace else copy.deepcopy(model)
    modules = dict(target.named_modules())
    rows: list[FusedRow] = []
    for node in graph.nodes:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            before = node.args[0] if node.args else None
            name, why = _convolution_before(node, before, graph, modules)
            if not why:
                why = _fuse(target, name, str(node.target), modules)
            rows.append(FusedRow(str(node.target), name, why))
    return (target, FusionReport(tuple(rows))) if return_report else target


def _trace(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(copy.deepcopy(model))
    except Exception as error:  # of any kind: other people's code gets proxies in place of tensors
        message = (
            f"Cannot tell which batch norm follows which convolution: torch.fx cannot trace this "
            f"{type(model).__name__} ({type(error).__name__}: {str(error).partition('.')[0]}). {_traceable(model)}"
        )
        raise UserTypeError(message) from error


def _traceable(model: nn.Module) -> str:
    """The largest parts with a batch norm that can be traced, of a network that cannot."""
    parts: list[str] = []
    waiting = list(model.named_children())
    while waiting:
        name, part = waiting.pop(0)
        norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in part.modules())
        if not norms or next(part.children(), None) is None:
            continue
        try:
            _Tracer().trace(copy.deepcopy(part))
            parts.append(name)
        except Exception:  # as above
            waiting += [(f"{name}.{child}", module) for child, module in part.named_children()]
    if not parts:
        return "Nor can any part of it."
    named = ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")
    return (
        f"Where the network calls them as wholes, its parts can be fused in place: {named}, as in "
        f"`fuse_padding(model.get_submodule({parts[0]!r}), inplace=True)`."
    )


def _convolution_before(node: Any, before: Any, graph: fx.Graph, modules: dict[str, nn.Module]) -> tuple[str, str]:
    """The name of the convolution that a norm follows, and why it cannot be fused with it."""
    if not isinstance(before, fx.Node) or before.op != "call_module":
        return "", "it follows no convolution"
    name, norm = str(before.target), modules[str(node.target)]
    layer: Any = modules[name]
    if not isinstance(layer, nn.modules.conv._ConvNd):
        return "", "it follows no convolution"
    if type(layer) not in _CONVOLUTIONS or not (type(norm) in _NORMS or _activates(norm)):
        odd = norm if type(layer) in _CONVOLUTIONS else layer
        return name, f"{type(odd).__name__} is of an unknown class"
    if len(before.users) > 1:
        return name, "what the convolution returns is used elsewhere too"
    if len(before.args) + len(before.kwargs) > 1 or getattr(layer, "return_mask", False):
        return name, "the convolution is called with a mask"
    for module, called in ((layer, before), (norm, node)):
        if sum(modules.get(str(n.target)) is module for n in graph.nodes if n.op == "call_module") > 1:
            return name, "it is called more than once"
        if any(n.op == "get_attr" and str(n.target).startswith(f"{called.target}.") for n in graph.nodes):
            return name, "its parameters are used elsewhere too"
        if any(getattr(module, hooks) for hooks in _HOOKS) or parametrize.is_parametrized(module):
            return name, "it has hooks or parametrizations"
    if norm.running_mean is None:
        return name, "it has no running statistics"
    return name, ""


def _activates(norm: nn.Module) -> bool:
    kind = type(norm)
    return kind.__name__ in _WITH_ACTIVATION and kind.__module__.startswith("timm.layers.")


def _fuse(model: nn.Module, name: str, norm_name: str, modules: dict[str, nn.Module]) -> str:
    """Fuse a convolution with the norm after it; why not, if it refuses."""
    layer: Any = modules[name]
    norm: Any = modules[norm_name]
    dtype, trained = layer.weight.dtype, layer.weight.requires_grad
    try:
        fused = fuse_conv_bn_eval(copy.deepcopy(layer).double(), copy.deepcopy(norm).double())
    except UserTypeError as error:
        return str(error)
    for parameter in fused.to(dtype).parameters():
        parameter.requires_grad_(trained)
    _put(model, name, fused)
    _put(model, norm_name, nn.Sequential(norm.drop, norm.act).eval() if _activates(norm) else nn.Identity().eval())
    return ""


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Under every name that the module there has."""
    old = model.get_submodule(name)
    for parent in model.modules():
        for child, value in list(parent._modules.items()):  # `named_children` has each module once
            if value is old:
                setattr(parent, child, module)
