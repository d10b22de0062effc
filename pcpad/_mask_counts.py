"""Masks of one channel: holes filled with zeros, valid taps counted and the ratio looked up, in few kernels.

Private to the package: `pcpad.functional` is the public face. Everything is exact: values are selected by multiplying
their bits, as integers, by 0 or 1 (on a CPU a quarter of the time of `torch.where`, for an image of 64 channels and
256x256), and counts are integers, with which the ratio is looked up in a table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import starmap
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.utils.weak import WeakTensorKeyDictionary

from pcpad import _border
from pcpad._border import Geometry, kept_calls

__all__ = [
    "Valid",
    "ask_for_mask",
    "asked_mask",
    "can_count",
    "count",
    "counted_once",
    "full_mask",
    "known_full",
    "ratio_of",
    "ratio_of_counts",
]

_BITS = {
    torch.float32: torch.int32,
    torch.float64: torch.int64,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
_MOST_TAPS = 1 << 12  # per window: the table has an entry for each number of valid taps


class Valid(NamedTuple):
    """A mask of zeros and ones, with the padding around it."""

    padded: Tensor  # (N|1, 1, *padded size) of int32 or int64
    inside: tuple[Any, ...]  # where the mask is in it

    def fill(self, input: Tensor) -> Tensor:
        """The input (N, C, *spatial), zeros under the holes, whatever was there."""
        bits = _BITS[input.dtype]
        # An int32's lower half is an int16 of the same small value.
        step = self.padded.element_size() // bits.itemsize
        valid = self.padded.view(bits)[..., (0 if sys.byteorder == "little" else step - 1) :: step][self.inside]
        if torch.is_grad_enabled() and input.requires_grad:
            selected: Tensor = _Select.apply(input, valid)
            return selected
        return _select(input, valid)

    def ratio(
        self, geometry: Geometry, dtype: torch.dtype, mask_dtype: torch.dtype, *, with_mask: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`r` in a dtype, 0 where no tap is valid, and the new mask of zeros and ones: (N|1, 1, *output size)."""
        windows, dims = self.padded, len(geometry.kernel)
        if prod(geometry.kernel) == 1:  # the only tap is valid or it is not: ratio and mask are one
            strided: tuple[Any, ...] = (..., *(slice(None, None, s) for s in geometry.stride))
            found = windows[strided].to(mask_dtype)
            return found, found
        apart = _border.on_cpu(windows)  # one pass less would read k times as much, which a GPU's cache makes up for
        for axis, (k, s, d) in enumerate(zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True)):
            windows = windows.unfold(2 + axis, d * (k - 1) + 1, s)[..., ::d]
            if apart:
                windows = windows.sum(-1, dtype=windows.dtype)
        if not apart:
            windows = windows.sum([-1 - axis for axis in range(dims)], dtype=windows.dtype)
        return _look_up(windows, prod(geometry.kernel), dtype, mask_dtype, with_mask=with_mask)


def can_count(input: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> bool:
    """Whether a mask can be counted here; not under function transforms, nor while a program is recorded."""
    if _border.is_recorded() or any(t is not None and _border.is_wrapped(t) for t in (weight, bias)):
        return False
    known = input.dtype in _BITS and prod(geometry.kernel) <= _MOST_TAPS
    return known and mask.shape[1] == 1 and _border.is_ordinary(input) and _border.is_ordinary(mask)


_Found = dict[Any, Any]
_PASS: ContextVar[Any] = ContextVar("_PASS", default=None)


@contextmanager
def counted_once() -> Iterator[None]:
    """During one pass through a network, count a mask once for all layers of a geometry.

    Only within a pass, since between passes the mask's owner may overwrite its memory, unseen by torch. Counts are
    dropped with the mask, so that no pass needs more memory.
    """
    if torch.compiler.is_compiling() or _PASS.get() is not None:
        yield
        return
    token = _PASS.set(WeakTensorKeyDictionary())
    try:
        yield
    finally:
        _PASS.reset(token)


def _found_of(mask: Tensor) -> _Found | None:
    """The cached counts of an unchanged mask; None without any."""
    masks = _PASS.get()
    if masks is None:
        return None
    version = _version(mask)
    found: _Found | None = masks.get(mask)
    if found is None or found["version"] != version:
        found = masks[mask] = {"version": version}
    return found


def _version(mask: Tensor) -> int | None:
    """Torch's count of changes in place, which it does not keep for tensors made under `inference_mode`."""
    return None if mask.is_inference() else mask._version


def ask_for_mask(mask: Tensor) -> None:
    """Have the next layer that is called keep the new mask that it counts along with its output."""
    found = _found_of(mask)
    if found is not None:
        found["asked"] = None


def asked_mask(mask: Tensor, geometry: Geometry, dtype: torch.dtype) -> Tensor | None:
    """The new mask that the layer called last has kept; None if it counted none.

    Args:
        mask: What the layer was given, and `ask_for_mask`.
        geometry: The layer's.
        dtype: Of the layer's input, and of the new mask.
    """
    found = _found_of(mask)
    left = None if found is None else found.pop("asked", None)
    return left[2] if left is not None and left[:2] == (geometry, dtype) else None


def ratio_of(
    mask: Tensor, valid: Valid, geometry: Geometry, dtype: torch.dtype, mask_dtype: torch.dtype, *, with_mask: bool
) -> tuple[Tensor, Tensor | None]:
    """`valid.ratio` of a mask that was counted; within `counted_once` the new mask always comes with it."""
    found = _found_of(mask)
    if found is None:
        return valid.ratio(geometry, dtype, mask_dtype, with_mask=with_mask)
    key = (geometry, dtype, mask_dtype)
    ratio, new_mask, version = found.get(key, (None, None, None))
    if new_mask is None or version != _version(new_mask):
        ratio, new_mask = valid.ratio(geometry, dtype, mask_dtype, with_mask=True)
        assert new_mask is not None
        if not (mask.is_inference() or new_mask.is_inference()):
            found[key] = (ratio, new_mask, _version(new_mask))
    if "asked" in found:
        found["asked"] = (geometry, mask_dtype, new_mask)
    assert ratio is not None
    return ratio, new_mask


# Masks without holes that layers have made, with torch's number of changes in place when they did.
_FULL: Any = WeakTensorKeyDictionary()


def full_mask(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A new mask without holes in the dtype of `like`; on a GPU it is known to have none until torch changes it."""
    if not _is_followed(like):
        return torch.ones(shape, dtype=like.dtype, device=like.device)
    with torch.inference_mode(False), torch.no_grad():  # changes are only counted for ordinary tensors
        mask = torch.ones(shape, dtype=like.dtype, device=like.device)
    _FULL[mask] = mask._version
    return mask


def known_full(mask: Tensor) -> bool:
    """Whether a layer has made this mask without holes, and torch has not changed it since.

    Not on a CPU, where NumPy may change it unseen.
    """
    return _is_followed(mask) and not mask.is_inference() and _FULL.get(mask) == mask._version


def _is_followed(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or _border.on_cpu(x) or torch._C._get_tracing_state() is not None:
        return False
    return _border.is_ordinary(x) and forward_ad._current_level < 0


def count(input: Tensor, mask: Tensor, geometry: Geometry) -> Valid:
    """Where a mask (N|1, 1, *spatial) is not 0, for inputs of its size."""
    found, key = _found_of(mask), (geometry.lead, geometry.trail, input.dtype == torch.float64)
    if found is None or mask.is_inference():
        return _count(input, mask, geometry)
    if key not in found:
        found[key] = _count(input, mask, geometry)
    valid: Valid = found[key]
    return valid


def _count(input: Tensor, mask: Tensor, geometry: Geometry) -> Valid:
    size = mask.shape[2:]
    ends = [length + before + after for length, before, after in zip(size, geometry.lead, geometry.trail, strict=True)]
    inside: tuple[Any, ...] = (
        ...,
        *starmap(slice, ((before, before + n) for before, n in zip(geometry.lead, size, strict=True))),
    )
    dtype = torch.int64 if input.dtype == torch.float64 else torch.int32
    with torch.no_grad():
        make = torch.zeros if ends != list(size) else torch.empty
        padded = make(*mask.shape[:2], *ends, dtype=dtype, device=mask.device)
        torch.ne(mask, 0, out=padded[inside])
    return Valid(padded, inside)


def ratio_of_counts(count: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """`taps / count` in a dtype, 0 where the count is 0, by a table; of int32 counts of any shape."""
    return _look_up(count, taps, dtype, dtype, with_mask=False)[0]


def _select(input: Tensor, valid: Tensor) -> Tensor:
    return torch.mul(input.detach().view(valid.dtype), valid).view(input.dtype)


class _Select(Function):
    """The input where it is valid, else 0; its own derivative."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, valid: Tensor) -> Tensor:
        ctx.valid = valid
        return _select(input, valid)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Select.apply(gradient, ctx.valid), None


def _look_up(
    count: Tensor, taps: int, dtype: torch.dtype, mask_dtype: torch.dtype, *, with_mask: bool
) -> tuple[Tensor, Tensor | None]:
    device = count.device
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        ratios, masks, both = _tables(taps, dtype, mask_dtype, device)
    else:
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        ratios, masks, both = _memoized_tables(taps, dtype, mask_dtype, device, stream)
    flat, shape = count.flatten(), count.shape
    if not with_mask:
        return ratios.index_select(0, flat).view(shape), None
    if both is None or _border.on_cpu(count):  # its vector units read the ratios contiguously
        return ratios.index_select(0, flat).view(shape), masks.index_select(0, flat).view(shape)
    found = both.index_select(0, flat).view(shape)
    step = 8 // mask_dtype.itemsize
    return found.view(dtype)[..., ::2], found.view(mask_dtype)[..., step // 2 :: step]


@kept_calls(64)
def _memoized_tables(
    taps: int, dtype: torch.dtype, mask_dtype: torch.dtype, device: torch.device, _stream: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A pure function of its arguments, as `_border.memoized` requires."""
    return _tables(taps, dtype, mask_dtype, device)


def _tables(
    taps: int, dtype: torch.dtype, mask_dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`r` and the new mask by the number of valid taps; and both in one 64-bit word where they fit."""
    with torch.inference_mode(False), torch.no_grad():
        counts = torch.arange(taps + 1, device=device).to(dtype)
        ratios = torch.where(counts > 0, taps / counts, torch.zeros_like(counts))
        masks = (counts > 0).to(mask_dtype)
        both = None
        if dtype.itemsize == 4 and mask_dtype.itemsize <= 4:
            both = torch.zeros(taps + 1, dtype=torch.int64, device=device)
            both.view(dtype)[::2] = ratios
            step = 8 // mask_dtype.itemsize
            both.view(mask_dtype)[step // 2 :: step] = masks
    return ratios, masks, both
