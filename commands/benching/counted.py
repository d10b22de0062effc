"""The layers whose operations are counted, and at which sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pcpad.commands.benching.counting import Counts, count
from pcpad.layers import ExplicitPadConv2d, PaddedConv2d, PartialConv2d
from pcpad.panoptic import PanopticPartialConv2d, PanopticPlan

__all__ = ["DTYPES", "LAYERS", "SIZES", "Case", "counts_of", "measure"]

# (H, W), and channels: few where maps are large, since these are computed and not just counted.
SIZES = {"7x7": ((7, 7), 64), "56x56": ((56, 56), 64), "368x368": ((368, 368), 4), "1024x2048": ((1024, 2048), 1)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_MIB = 2**20


class Case(NamedTuple):
    """One layer in one setting.

    Args:
        layer: A name in `LAYERS`.
        size: A name in `SIZES`.
        dtype: A name in `DTYPES`.
        bias: Whether the layer has one.
        training: Whether gradients of input and parameters are wanted.
    """

    layer: str
    size: str = "56x56"
    dtype: str = "float32"
    bias: bool = False
    training: bool = False


def _mask(x: Tensor) -> Tensor:
    """A single-channel mask of `x` with a hole."""
    mask = torch.ones_like(x[:, :1])
    mask[..., 2:5, 1:4] = 0
    return mask


def _ids(x: Tensor) -> Tensor:
    """Ids of two instances, so that few windows mix them."""
    ids = torch.zeros(len(x), 1, *x.shape[2:], dtype=torch.int32)
    ids[..., 3:] = 1
    return ids


Prepared = Callable[[Tensor], Any]


def _plain(kind: Callable[..., nn.Module], **options: Any) -> Callable[..., tuple[nn.Module, Prepared]]:
    def make(channels: int, bias: bool) -> tuple[nn.Module, Prepared]:
        layer = kind(channels, channels, 3, padding=1, bias=bias, **options)
        return layer, lambda x: partial(layer, x)

    return make


def _masked(channels: int, bias: bool) -> tuple[nn.Module, Prepared]:
    layer = PartialConv2d(channels, channels, 3, padding=1, bias=bias, return_mask=True)
    return layer, lambda x: partial(_first_of, layer, x, _mask(x))


def _first_of(layer: nn.Module, *arguments: Any) -> Tensor:
    output: Tensor = layer(*arguments)[0]
    return output


def _panoptic(channels: int, bias: bool) -> tuple[nn.Module, Prepared]:
    layer = PanopticPartialConv2d(channels, channels, 3, padding=1, bias=bias)
    return layer, lambda x: partial(layer, x, PanopticPlan.build(_ids(x), 3, padding=1))


def _plan(channels: int, bias: bool) -> tuple[nn.Module, Prepared]:
    layer = PanopticPartialConv2d(channels, channels, 3, padding=1, bias=bias)
    return layer, lambda x: partial(_plan_and_use, layer, x, _ids(x))


def _plan_and_use(layer: nn.Module, x: Tensor, ids: Tensor) -> Tensor:
    output: Tensor = layer(x, PanopticPlan.build(ids, 3, padding=1))
    return output


LAYERS: dict[str, Callable[[int, bool], tuple[nn.Module, Prepared]]] = {
    "zeros": _plain(nn.Conv2d),
    "partial": _plain(PartialConv2d),
    "masked": _masked,
    "explicit": _plain(ExplicitPadConv2d),
    "reflect": _plain(PaddedConv2d, padding_mode="reflect"),
    "mean": _plain(PaddedConv2d, padding_mode="mean"),
    "extrapolate": _plain(PaddedConv2d, padding_mode="extrapolate"),
    "panoptic": _panoptic,
    "panoptic with its plan": _plan,
}


def counts_of(case: Case) -> tuple[Counts, Counts]:
    """Count one case with warm caches.

    Args:
        case: The layer and its setting.

    Returns:
        The counts of a forward pass, and of the backward pass after it (of nothing where there is none).
    """
    torch.manual_seed(0)
    size, channels = SIZES[case.size]
    layer, prepare = LAYERS[case.layer](channels, case.bias)
    layer.to(DTYPES[case.dtype])
    x = torch.randn(1, channels, *size, dtype=DTYPES[case.dtype])
    call = prepare(x.requires_grad_(case.training))
    with torch.set_grad_enabled(case.training):
        warm = call()
        if case.training:  # the second time round adds to no gradient either
            warm.backward(torch.ones_like(warm))
            layer.zero_grad()
            x.grad = None
        results: list[Tensor] = []
        forward = count(lambda: results.append(call()))
        given = torch.ones_like(results[0])
        backward = count(lambda: results[0].backward(given)) if case.training else Counts()
    return forward, backward


def measure(case: Case) -> dict[str, object]:
    """A row of the table.

    Args:
        case: The layer and its setting.
    """
    forward, backward = counts_of(case)
    plain, plain_backward = counts_of(case._replace(layer="zeros"))
    row: dict[str, object] = {
        "layer": case.layer,
        "size": case.size,
        "dtype": case.dtype,
        "bias": "yes" if case.bias else "no",
        "mode": "training" if case.training else "inference",
        "forward": forward.total,
        "backward": backward.total if case.training else "",
        "waits": forward.waits + backward.waits,
        "forward, MiB": f"{forward.bytes / _MIB:.2f}",
        "× zeros": f"{forward.bytes / plain.bytes:.3f}",
        "backward, MiB": f"{backward.bytes / _MIB:.2f}" if case.training else "",
        "× zeros ": f"{backward.bytes / plain_backward.bytes:.3f}" if case.training else "",
    }
    return row
