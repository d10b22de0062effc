"""Which modules of a network a conversion is for, and why the others are left."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from pcpad import layers
from pcpad._conversion_report import (
    CROPS,
    HANDED,
    NO_PADDING,
    OUTSIDE,
    OWN_KIND,
    POOLS,
    REPLACED,
    UNSEEN,
    UNUSED,
    LayerRow,
)
from pcpad._observed import CHANGED, Observed, Zeros, weights_of
from pcpad._other_convolutions import BY_CONFIG, own_class, pads_by_config, rule_of
from pcpad._other_layers import Guarded, lost_under, pads
from pcpad._outside_padding import takes_borders_within
from pcpad._own_padding import BY_HAND, calls_pad, may_call, padding_of_its_own

__all__ = ["EXTRAS", "add_configured", "own_of", "padding_of", "pool_pads", "what_to_convert"]

_PLAIN: tuple[type, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PARTIAL: tuple[type, ...] = (layers.PartialConv1d, layers.PartialConv2d, layers.PartialConv3d)
# What a conversion sets in a layer, which a plain convolution does not have.
EXTRAS = ("return_mask", "exponent", "fallback", "zeros_before")
_OUR_ATTRIBUTES = (*EXTRAS, "border_weight", "rule")  # with what else layers of this package look up in themselves
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # what is in these may be called by who holds them
_OURS = {*_PARTIAL, layers.PaddedConv1d, layers.PaddedConv2d, layers.PaddedConv3d, layers.ExplicitPadConv2d}


def what_to_convert(
    model: nn.Module, padding: str, count_include_pad: bool | None, outside: Observed
) -> tuple[list[tuple[LayerRow, nn.modules.conv._ConvNd]], list[LayerRow]]:
    """The convolutions to convert, each with its row of a report; and rows for the modules that are left.

    Args:
        model: The network.
        padding: The padding to convert to.
        count_include_pad: The new value for average pooling; None leaves it alone.
        outside: What was seen of zeros padded outside of convolutions.

    Returns:
        Both.
    """
    changes, left, wrapped, within = [], [], _wrapped(model, padding), set()
    taken, borders = set(), padding != "zeros" and takes_borders_within(model)
    for name, module in model.named_modules():
        zeros = outside.before(name) if padding != "zeros" else None
        reason = _why_left(module, padding, count_include_pad)
        if reason == "" and borders and calls_pad(module):
            reason = UNSEEN
        if zeros == CHANGED and reason is None:
            zeros = None  # they are a part of the input, around which the convolution pads
        if isinstance(module, nn.modules.conv._ConvNd) and zeros is not None and reason in (None, NO_PADDING):
            reason = _why_not_taken(module, padding, zeros)
        if reason is None:
            reason = wrapped.get(module)
        current = padding_of(module) or "-"
        row = LayerRow(name or "(root)", type(module).__name__, current, current, reason or "", weights_of(module))
        if reason is None and isinstance(module, nn.modules.conv._ConvNd):
            changes.append((row, module))
            taken.add(name)
            rule = rule_of(own_of(module))
            if rule is not None and rule.padding is not None:
                within.update(set(module.modules()) - {module})  # layers that pad, whose part it takes over
        elif reason:
            left.append((module, row))
    unused = {row.name for _, row in left if row.why == OUTSIDE and _nothing_calls(row.name, model, outside)}
    rows = (_by_whom(row, module in within, row.name in unused, taken, outside) for module, row in left)
    return changes, [row for row in rows if row is not None]


def add_configured(model: nn.Module, outside: Observed) -> None:
    """Add the modules that pad by the size, as long as their configuration says so.

    Args:
        model: The network.
        outside: What was seen of it, which grows.
    """
    for name, module in model.named_modules():
        if pads_by_config(module):
            convolution = f"{name}.convolution".lstrip(".")
            outside.zeros[convolution] = [BY_CONFIG]
            outside.seen.add(name)
            outside.called.add(name)
            outside.reached[name] = {convolution}
            outside.elsewhere.pop(name, None)


def _why_not_taken(module: nn.modules.conv._ConvNd, padding: str, zeros: Zeros) -> str | None:
    """Why the zeros that a convolution's input comes with cannot be replaced; None if they can."""
    if isinstance(zeros, str) and zeros != BY_CONFIG:
        return zeros
    rule = rule_of(own_of(module))
    if rule is None or rule.hands_on or rule.pads(module):
        return "its input comes with zeros around it, and its class has a forward of its own"
    return None


def _nothing_calls(name: str, model: nn.Module, outside: Observed) -> bool:
    """Whether a module is called by no code: neither by what was followed, nor in training or by another method."""
    if name in outside.called or name == "(root)":
        return False
    path = name.split(".")
    for at in range(len(path) - 1, -1, -1):
        caller = ".".join(path[:at])
        module = model.get_submodule(caller)
        if caller in outside.seen:
            return not may_call(type(module), path[at])
        if not isinstance(module, _CONTAINERS):
            return False
    return False


def _by_whom(row: LayerRow, within: bool, unused: bool, taken: set[str], outside: Observed) -> LayerRow | None:
    """The report's reason for a module that pads outside of convolutions, once these are known."""
    pads_elsewhere = row.why in (OUTSIDE, BY_HAND, UNSEEN)
    if within and pads_elsewhere:
        return row._replace(why=REPLACED)
    name = row.name.removeprefix("(root)")
    if unused:
        return row._replace(why=UNUSED)
    if not pads_elsewhere or name not in outside.called:
        return row
    reached = outside.reached.get(name, set())
    if row.why != OUTSIDE and any(outside.before(reach) == CHANGED for reach in reached - taken):
        return None  # the convolution's row says more
    if row.why == UNSEEN and name in outside.returned:
        return row
    if row.why == UNSEEN and name in outside.elsewhere:
        return row._replace(why=HANDED) if name in outside.handed else None
    if name in outside.elsewhere:
        return row if row.why == OUTSIDE else row._replace(why=outside.elsewhere[name])
    if reached and reached <= taken:
        return row._replace(why=REPLACED)
    # Convolutions that are left have a row of their own; code that never padded needs none.
    return row if row.why == OUTSIDE else None


def _base(module: nn.Module) -> type:
    """The module's class, without the one that a parametrization puts in front."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def own_of(module: nn.modules.conv._ConvNd) -> type:
    """The class of a convolution as it was before any conversion.

    Args:
        module: The convolution.
    """
    base = _base(module)
    return _PLAIN[len(module.kernel_size) - 1] if base in _OURS else own_class(base)


def padding_of(module: nn.Module) -> str | None:
    """A module's padding, as far as its class and attributes show.

    Args:
        module: Any.

    Returns:
        The padding's name; None for a module without one.
    """
    base = _base(module)
    if issubclass(base, _PARTIAL):
        return "partial"
    if issubclass(base, layers.ExplicitPadConv2d):
        return "explicit"
    if any(kind.__name__ == "PanopticPartialConv2d" for kind in base.__mro__):
        return "partial"
    for kind, mode in _PAD_MODULES.items():
        if isinstance(module, kind):
            return mode if getattr(module, "value", 0) == 0 else "constant"
    return getattr(module, "padding_mode", None)


def _why_left(module: nn.Module, padding: str, count_include_pad: bool | None) -> str | None:
    """Why a module that could matter is left alone; None for one to convert, "" for one that does not matter."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript: convert before scripting"
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return CROPS
    if isinstance(module, nn.modules.conv._ConvNd):
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            return "not initialized yet: run it once first"
        return _why_kept(module, padding)
    if pool_pads(module) and count_include_pad is None:
        return f"{POOLS} with count_include_pad={module.count_include_pad}: ask for a change by name"
    if isinstance(module, tuple(_PAD_MODULES)) or (isinstance(module, nn.Unfold) and _unfold_pads(module)):
        return OUTSIDE
    return padding_of_its_own(module) or ""


def _why_kept(module: nn.modules.conv._ConvNd, padding: str) -> str | None:
    """Why a convolution is left as it is; None for one to convert."""
    rule = rule_of(own_of(module))
    if rule is None:
        return NO_PADDING if max(module.kernel_size) == 1 and not pads(module) else OWN_KIND
    if getattr(module, "return_mask", False) and padding != "partial":
        return "it returns masks, which only partial convolution has"
    if not (pads(module) or rule.pads(module)):
        return NO_PADDING
    if not isinstance(module, Guarded):
        taken = next((name for name in _OUR_ATTRIBUTES if hasattr(module, name)), None)
        if taken is not None:
            return f"it has an attribute `{taken}` of its own, and layers of pcpad use that name"
        if "forward" in vars(module) and (rule.weight or rule.padding):
            return "its own forward has been replaced, by a wrapper of another library or by hand"
    if rule.hands_on and padding == "explicit":
        return "its class has a forward of its own, which knows one filter where explicit padding has nine"
    return None


def _wrapped(model: nn.Module, padding: str) -> dict[nn.Module, str]:
    """The convolutions whose new padding would be lost under the module that wraps them, and why."""
    found = {}
    for wrapper in model.modules() if padding != "zeros" else ():
        for name, layer in wrapper._modules.items():
            # The convolutions that an adapter has made are converted with the layer, whatever their class.
            reason = isinstance(layer, nn.modules.conv._ConvNd) and lost_under(wrapper, name, padding, made=False)
            if layer is not None and reason:
                found[layer] = reason
    return found


_PAD_MODULES: dict[type, str] = {
    nn.modules.padding._ConstantPadNd: "zeros",
    nn.modules.padding._ReflectionPadNd: "reflect",
    nn.modules.padding._ReplicationPadNd: "replicate",
    nn.modules.padding._CircularPadNd: "circular",
}


def _unfold_pads(module: nn.Unfold) -> bool:
    return any(module.padding if isinstance(module.padding, tuple) else (module.padding,))


def pool_pads(module: nn.Module) -> bool:
    """Whether a module is average pooling that pads.

    Args:
        module: Any.
    """
    if not isinstance(module, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
        return False
    return any(module.padding if isinstance(module.padding, tuple) else (module.padding,))
