"""Subclasses of `nn.ConvNd` in other libraries: what each does, and the same under another padding.

A class is recognized by its module and its name; the libraries themselves are not imported. What a known class
does by itself (padding by the input's size, standardizing its weight) is written here once and holds under every
padding. A class with a forward of its own that calls `nn.ConvNd`'s needs no rule: the converted class comes after
it in the method resolution order.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from pcpad import layers
from pcpad._other_layers import Guarded, check_unfused
from pcpad._own_padding import hands_on

__all__ = [
    "BY_CONFIG",
    "Rule",
    "class_for",
    "own_class",
    "pads_by_config",
    "rule_of",
    "same_padding",
    "set_config_padding",
]

Pairs = tuple[tuple[int, int], ...]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LIBRARIES = ("timm", "geffnet", "segmentation_models_pytorch", "efficientnet_pytorch", "transformers")


class Rule(NamedTuple):
    """What a class of convolutions does by itself.

    Args:
        weight: Makes the effective weight, from the layer and a weight of its shape (several of them for border
            filters). None uses the weight itself.
        padding: What is padded, from the layer and its input: pairs (before, after) per axis. None uses
            `layer.padding`.
        uneven: Whether a layer pads by `padding` at all, whatever the input.
        hands_on: Whether the class has a forward of its own that calls `nn.ConvNd`'s, and is kept.
    """

    weight: Callable[[Any, Tensor], Tensor] | None = None
    padding: Callable[[Any, Tensor], Pairs] | None = None
    uneven: Callable[[Any], bool] = lambda _layer: False
    hands_on: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the class does nothing by itself."""
        return not (self.weight or self.padding or self.hands_on)

    def pads(self, layer: nn.Module) -> bool:
        """Whether a layer of the class pads, besides by its attribute `padding`."""
        return self.padding is not None and self.uneven(layer)


def same_padding(
    input: Tensor,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    spread: bool = False,
) -> Pairs:
    """TensorFlow's "SAME" padding: the least that gives one output per `stride` inputs, the odd one last.

    Args:
        input: (…, *spatial).
        kernel_size: One int per axis, like the others.
        stride: Step between windows.
        dilation: Step between taps.
        spread: Multiply the padding of windows without dilation by it, as transformers' MobileNets do.

    Returns:
        Pairs (before, after), the first axis first.

    Example:
        >>> same_padding(torch.zeros(1, 1, 7, 8), (3, 3), (2, 2), (1, 1))
        ((1, 1), (0, 1))
    """
    if has_torch_function_unary(input):  # torch.fx's proxies: the size is not known yet
        return handle_torch_function(same_padding, (input,), input, kernel_size, stride, dilation, spread=spread)
    pairs = []
    size = input.shape[-len(kernel_size) :]
    for length, k, s, d in zip(size, kernel_size, stride, dilation, strict=True):
        reach = k if spread else d * (k - 1) + 1
        total: Any = reach - s + (-length) % s
        if reach < s:  # windows that do not meet; `sym_max` decides nothing for a size that is still a symbol
            total = torch.sym_max(total, 0)
        times = d if spread else 1
        pairs.append((total // 2 * times, (total - total // 2) * times) if k > 1 else (0, 0))
    return tuple(pairs)


def _same(layer: Any, input: Tensor) -> Pairs:
    return same_padding(input, tuple(layer.kernel_size), tuple(layer.stride), tuple(layer.dilation))


def _and_own(layer: Any, pairs: Pairs) -> Pairs:
    """The padding of the convolution after it, which smp sets when it dilates a network."""
    own = pairs_of(layer)
    if not any(map(any, own)):
        return pairs
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, own, strict=True))


def _same_and_own(layer: Any, input: Tensor) -> Pairs:
    return _and_own(layer, _same(layer, input))


def _same_if_asked(layer: Any, input: Tensor) -> Pairs:
    return _same_and_own(layer, input) if layer.same_pad else pairs_of(layer)


def _static(layer: Any, _input: Tensor) -> Pairs:
    left, right, top, bottom = _pads_of(layer.static_padding)
    return _and_own(layer, ((top, bottom), (left, right)))


def _pads_of(module: Any) -> list[int]:
    """A module's padding, in the order of `torch.nn.functional.pad`; none for `nn.Identity`."""
    return list(getattr(module, "padding", (0, 0, 0, 0)))


def _exported(layer: Any, input: Tensor) -> Pairs:
    """The export class of timm keeps the padding of its first input."""
    if layer.pad is None:
        return _same_and_own(layer, input)
    left, right, top, bottom = layer.pad.padding
    return _and_own(layer, ((top, bottom), (left, right)))


def _dynamic(layer: Any, input: Tensor) -> Pairs:
    """BiT, as in transformers, keeps the layer that pads in `pad`."""
    return pairs_of(layer) if layer.pad is None else _same_and_own(layer, input)


def _taps(layer: Any) -> bool:
    wider: bool = max(layer.kernel_size) > 1
    return wider


def _standardized(layer: Any, weight: Tensor) -> Tensor:
    """Mean 0 and variance 1 per filter (Qiao et al. 2019, arXiv 1903.10520)."""
    return _normalized(layer, weight, None)


def _scaled(layer: Any, weight: Tensor) -> Tensor:
    """Standardized and times a learned gain (Brock et al. 2021, arXiv 2101.08692)."""
    gain = (layer.gain * layer.scale).view(-1)
    return _normalized(layer, weight, gain.repeat(weight.shape[0] // gain.shape[0]))


def _normalized(layer: Any, weight: Tensor, gain: Tensor | None) -> Tensor:
    # As timm computes it, so that numbers agree to the last bit.
    flat = weight.reshape(1, weight.shape[0], -1)
    return F.batch_norm(flat, None, None, gain, training=True, momentum=0.0, eps=layer.eps).reshape_as(weight)


_RULES: dict[str, Rule] = {
    "Conv2dSame": Rule(padding=_same, uneven=_taps),
    "Conv2dSameExport": Rule(padding=_exported, uneven=_taps),
    "Conv2dDynamicSamePadding": Rule(padding=_same_and_own, uneven=_taps),
    "Conv2dStaticSamePadding": Rule(padding=_static, uneven=lambda layer: any(_pads_of(layer.static_padding))),
    "StdConv2d": Rule(weight=_standardized),
    "StdConv2dSame": Rule(_standardized, _same_if_asked, lambda layer: layer.same_pad and _taps(layer)),
    "ScaledStdConv2d": Rule(weight=_scaled),
    "ScaledStdConv2dSame": Rule(_scaled, _same_if_asked, lambda layer: layer.same_pad and _taps(layer)),
    "WeightStandardizedConv2d": Rule(_standardized, _dynamic, lambda layer: layer.pad is not None and _taps(layer)),
}
_PLAIN = Rule()
# Modules of transformers that pad before `convolution` if their configuration says so, and ask it each time.
_HOLDERS = ("MobileNetV1ConvLayer", "MobileNetV2ConvLayer")
BY_CONFIG = "config.tf_padding"


def pads_by_config(module: nn.Module) -> bool:
    """Whether a module pads before its convolution because its configuration says so.

    Args:
        module: Any.
    """
    kind = type(module)
    if kind.__name__ not in _HOLDERS or kind.__module__.split(".")[0] not in _LIBRARIES:
        return False
    held: Any = module
    return type(held.convolution) is nn.Conv2d and bool(held.config.tf_padding) and _taps(held.convolution)


def set_config_padding(module: Any, pads: bool) -> None:
    """Have such a module pad, or leave that to its convolution. It then gets its own copy of the configuration.

    Args:
        module: One for which `pads_by_config` was true once; any other stays as it is.
        pads: Whether it should pad.
    """
    if pads and "_config_that_pads" in vars(module):
        module.config = vars(module).pop("_config_that_pads")
    elif not pads and pads_by_config(module):
        module._config_that_pads, module.config = module.config, copy.copy(module.config)
        module.config.tf_padding = False


def pairs_of(layer: Any) -> Pairs:
    """A convolution's attribute `padding` as pairs (before, after), the first axis first."""
    pads = layers.f_pad_order(layer)
    return tuple((pads[at], pads[at + 1]) for at in range(len(pads) - 2, -1, -2))


@lru_cache(maxsize=4096)
def rule_of(kind: type) -> Rule | None:
    """What a class of convolutions does, or None if that is not known.

    Args:
        kind: A subclass of `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`, not one of this package's.

    Returns:
        The rule.

    Example:
        >>> class Named(nn.Conv2d):
        ...     "A name, and nothing else."
        >>> rule_of(Named).is_plain, rule_of(nn.ConvTranspose2d) is None
        (True, True)
    """
    torch_s = next((base for base in kind.__mro__ if base in _CONVOLUTIONS), None)
    if torch_s is None or issubclass(kind, Guarded):
        return None
    above = kind.__mro__[: kind.__mro__.index(torch_s)]
    # torch's own subclasses (of quantization, say) are looked up by their exact class later.
    if any(base.__module__.startswith("torch.") for base in above):
        return None
    if any({"__call__", "_call_impl"} & vars(base).keys() for base in above):
        return None
    own = [base for base in above if {"forward", "_conv_forward"} & vars(base).keys()]
    if not own:
        return _PLAIN
    if own[0].__module__.split(".")[0] in _LIBRARIES and own[0].__name__ in _RULES:
        return _RULES[own[0].__name__]
    if all(hands_on(base, kind) for base in own):
        return Rule(hands_on=True)
    return None


class _Front:
    """Placed before a class whose weight or padding differs from its attributes.

    `zeros_before` are zeros that its input comes with, as pairs (before, after) per axis: they are cropped, and
    padded again in the layer's own way. `BY_CONFIG` are those that the module around it no longer pads.
    """

    rule: Rule
    zeros_before: Pairs | str | None = None

    @property
    def pads_by_itself(self) -> bool:
        """Whether it pads besides what the attribute `padding` says."""
        layer: Any = self
        return self.zeros_before is not None or self.rule.pads(layer)

    @property
    def most_padding(self) -> Any:
        """The widest padding for any input."""
        layer: Any = self
        if isinstance(self.zeros_before, tuple) or not self.pads_by_itself:
            return self.padding_for(layer.weight)
        totals = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)

    def padding_for(self, input: Tensor) -> Any:
        """The padding around an input without `zeros_before`."""
        layer: Any = self
        if self.rule.padding is not None:
            return self.rule.padding(layer, input)
        if self.zeros_before is None:
            return layer.padding
        if isinstance(self.zeros_before, str):
            return same_padding(input, layer.kernel_size, layer.stride, layer.dilation, spread=True)
        pairs = zip(self.zeros_before, pairs_of(layer), strict=True)
        return tuple((more[0] + before, more[1] + after) for more, (before, after) in pairs)

    def _cropped(self, input: Tensor) -> Tensor:
        if not isinstance(self.zeros_before, tuple):
            return input
        return input[(..., *(slice(before, -after or None) for before, after in self.zeros_before))]

    def _weight(self, weight: Tensor) -> Tensor:
        return weight if self.rule.weight is None else self.rule.weight(self, weight)

    def _why_not_fused(self) -> str | None:
        if self.rule.weight is not None:
            return "its weight is standardized whenever it is used"
        reason: str | None = super()._why_not_fused()  # type: ignore[misc]
        return reason

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        more = f", zeros_before={self.zeros_before}" if self.zeros_before else ""
        inherited: str = super().extra_repr()  # type: ignore[misc]
        return inherited + more


class _FrontPartial(_Front):
    def forward(self, input: Tensor, mask: Tensor | None = None, **options: Any) -> Any:
        """Like `PartialConv2d.forward`; the mask is as large as the input."""
        layer: Any = self
        if mask is not None:
            check_unfused(layer)
            mask = self._cropped(mask)
        input = self._cropped(input)
        padding = self.padding_for(input)
        return layer._convolve(input, self._weight(layer.weight), layer.bias, padding, mask=mask, **options)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        layer: Any = self
        input = self._cropped(input)
        return layer._convolve(input, self._weight(weight), bias, self.padding_for(input))


class _FrontPadded(_Front):
    def forward(self, input: Tensor) -> Tensor:
        """Pad and convolve (N, C, *spatial)."""
        layer: Any = self
        return self._conv_forward(input, layer.weight, layer.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer: Any = self
        input = self._cropped(input)
        output: Tensor = layer._convolve(input, self._weight(weight), bias, self.padding_for(input))
        return output


class _FrontExplicit(_Front):
    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W), each output position with its class's filter."""
        layer: Any = self
        return self._conv_forward(input, layer.weight, layer.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer: Any = self
        input, border = self._cropped(input), layer.border_weight
        filters = self._weight(border.flatten(0, 1)).view_as(border)
        output: Tensor = layer._convolve(input, self._weight(weight), filters, self.padding_for(input))
        return output


class _HandsOn:
    """Placed after a class with a forward of its own: its calls of `nn.ConvNd`'s methods use the layer's padding."""

    hands_on = True

    def forward(self, input: Tensor) -> Any:
        """Like `nn.ConvNd.forward`, through the methods of the class in front."""
        layer: Any = self
        return layer._conv_forward(input, layer.weight, layer.bias)


_FRONTS: dict[type, type] = {
    layers.PartialConv1d: _FrontPartial, layers.PartialConv2d: _FrontPartial, layers.PartialConv3d: _FrontPartial,
    layers.PaddedConv1d: _FrontPadded, layers.PaddedConv2d: _FrontPadded, layers.PaddedConv3d: _FrontPadded,
    layers.ExplicitPadConv2d: _FrontExplicit,
}  # fmt: skip


def own_class(kind: type) -> type:
    """The class that a converted layer of this class had before; itself for any other."""
    own: type = vars(kind).get("_own_class", kind)
    return own


def class_for(own: type, family: type, *, zeros_before: bool = False) -> type:
    """The class of a layer under another padding.

    Args:
        own: Its class under zeros: torch's, or one that `rule_of` knows.
        family: The class of this package that has the padding.
        zeros_before: Whether the layer's input comes with zeros that it has to replace.

    Returns:
        `family` for torch's own classes, else one that is both, and whose layers pickle.

    Raises:
        TypeError: The two cannot be one class.
    """
    if own in _CONVOLUTIONS and not zeros_before:
        return family
    return _both(own, family, zeros_before)


@cache
def _both(own: type, family: type, zeros_before: bool) -> type:
    rule = rule_of(own)
    assert rule is not None
    more = (own,) if own not in _CONVOLUTIONS else ()
    bases: tuple[type, ...]
    if rule.weight or rule.padding or zeros_before:
        bases = (_FRONTS[family], *more, family)
    elif rule.hands_on:
        bases = (*more, _HandsOn, family)
    else:
        bases = (*more, family)
    name = family.__name__.removesuffix("1d").removesuffix("2d").removesuffix("3d").removesuffix("Conv")

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(__module__=__name__, __doc__=own.__doc__, __reduce_ex__=_reduce)
        namespace.update(_own_class=own, _parts=(family, zeros_before))
        if rule.weight or rule.padding or zeros_before:
            namespace["rule"] = rule

    return types.new_class(f"{name}{own.__name__}", bases, {}, fill)


def _reduce(layer: Any, _protocol: object) -> tuple[Any, ...]:
    """Generated classes cannot be found by name, so what they are made from is pickled."""
    kind: Any = next(base for base in type(layer).__mro__ if "_parts" in vars(base))
    return _blank, (kind._own_class, *kind._parts), layer.__getstate__()


def _blank(own: type, family: type, zeros_before: bool) -> nn.Module:
    kind: Any = class_for(own, family, zeros_before=zeros_before)
    layer: nn.Module = kind.__new__(kind)
    return layer
