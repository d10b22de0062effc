"""Choose the crops of photographs to compare, their context, and the network's maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pcpad.adaptation.observing import Observed, OutputKey, Picked, Place, UpTo, observe, places_of, strides_of
from pcpad.adaptation.reach import receptive_field
from pcpad.errors import UserError, UserRuntimeError, UserTypeError, UserValueError

__all__ = ["Normalize", "Photographs", "Plan", "middle", "plan_for"]

_STEP = 64  # pixels; a multiple of all strides that can be found
_CROP = 128  # preferred crop in pixels, if the receptive field extends at most half of it to each side

Normalize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """The crops and maps to compare."""

    kind: Literal["dense", "classifier"]
    crop: int
    context: int
    alignment: int
    places: dict[str, Place]  # by map; "" is the output
    layers: tuple[str, ...]  # the reported ones of these
    last: str  # the map whose error is measured: the last feature map, or "" for a dense network
    reach: int | None
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]
    choice: str = ""  # says which of several outputs is measured


class Photographs:
    """Center crops of photographs as the network takes them, on its device."""

    def __init__(self, photographs: Sequence[Tensor], normalize: Normalize | None, model: nn.Module) -> None:
        self.photographs, self.normalize = photographs, normalize
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        self.device, self.dtype = like.device, like.dtype
        self.least = min(min(image.shape[-2:]) for image in photographs)

    def __len__(self) -> int:
        return len(self.photographs)

    def cut(self, indices: Sequence[int], side: int) -> Tensor:
        """The center crops of some photographs, (N, C, side, side)."""
        images = torch.stack([middle(self.photographs[index], side) for index in indices])
        if self.normalize is not None:
            images = self.normalize(images)
        if not images.is_floating_point():
            message = (
                f"Expected images of floats, as the network takes them, but got {images.dtype}: pass `normalize` to "
                "convert them to its range"
            )
            raise UserTypeError(message)
        return images.to(self.device, self.dtype)


def middle(image: Tensor, side: int) -> Tensor:
    """The square center crop of an image (..., H, W)."""
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def plan_for(
    network: nn.Module, images: Photographs, crop: int | None, context: int | None, output_key: OutputKey
) -> Plan:
    """Inspect the network, and choose crops and maps.

    Args:
        network: A `shared_copy`.
        images: The photographs.
        crop: The crops' side in pixels; chosen if None.
        context: Pixels of context on each side; chosen if None.
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        The plan.

    Raises:
        UserValueError: The images are too small, or no map of the network grows with the image.
        UserRuntimeError: The network fails at the sizes needed.
    """
    first = images.cut([0], images.least)
    probe = max(_STEP, min(_CROP, images.least // _STEP * _STEP)) if crop is None else crop

    def run(side: int) -> Observed:
        blank = first.new_zeros(1, first.shape[1], side, side)
        try:
            return observe(network, blank, None, output_key)
        except UserRuntimeError as error:
            larger = side != probe
            taken = f", but runs on {probe}×{probe}" if larger else ""
            message = (
                f"{error}{taken}. Borders are measured on crops of several sizes, {probe}×{probe} first and larger "
                "ones for the context: pass a `crop` (--crop) far below the largest size that the network takes, or, "
                "if it takes one size only, pass the part of it that takes any size"
            )
            raise UserRuntimeError(message) from error

    smaller, larger = run(probe), run(probe + _STEP)
    strides, alignment = strides_of(smaller, larger, _STEP)
    kind: Literal["dense", "classifier"] = "dense" if smaller.output.dim() == 4 else "classifier"
    if kind == "dense" and "" not in strides:
        sizes = " and ".join("×".join(map(str, run.output.shape[-2:])) for run in (smaller, larger))
        message = (
            f"The output does not grow with the image: {sizes} for images of {probe}² and {probe + _STEP}² pixels, so "
            "its pixels correspond to no part of the image. Pass `output_key` to select a map that grows"
        )
        raise UserValueError(message)
    grown = [key for key in smaller.maps if key in strides and min(smaller.maps[key].shape[-2:]) > 1]
    last = "" if kind == "dense" else next(reversed(grown), None)
    if last is None:
        message = "No feature map of the network grows with the image, so there is nothing to compare near borders"
        raise UserValueError(message)
    # Other outputs may have a larger receptive field.
    several = smaller.choice or output_key is not None
    target = UpTo(network, last) if last else Picked(network, output_key) if several else network
    reach, aligned, obstacles = _reach(target, first)
    side, around, notes = _geometry(images.least, max(alignment, aligned), reach, obstacles, crop, context)
    places = places_of(run(side), run(side + 2 * around), strides, around)
    if last not in places:
        message = (
            f"The network's maps for crops of {side}² pixels are not part of those with {around} pixels of context: "
            "the sizes do not match. Pass another `crop` and `context` (--crop, --context), multiples of its strides"
        )
        raise UserValueError(message)
    layers = tuple(key for key in places if key and _is_named_stage(network, key))
    choice = f"The measured output is {smaller.choice} (`output_key`, --output_key)." if smaller.choice else ""
    return Plan(kind, side, around, max(alignment, aligned), places, layers, last, reach, obstacles, notes, choice)


def _is_named_stage(network: nn.Module, key: str) -> bool:
    """Whether a map is from a convolution, or from a named part near the top of the network."""
    module = network.get_submodule(key.rpartition(" (call ")[0] or key)
    if isinstance(module, nn.modules.conv._ConvNd):
        return True
    return key.count(".") <= 1 and any(True for _ in module.children())


def _reach(network: nn.Module, image: Tensor) -> tuple[int | None, int, tuple[str, ...]]:
    """The receptive field's margin, its alignment and its obstacles; None, 1 and () if they are unknown."""
    try:
        found = receptive_field(network, image[:, :, :_CROP, :_CROP])
    except UserError:
        return None, 1, ()
    inner = "network." if isinstance(network, Picked | UpTo) else ""
    return max(found.margin), max(found.alignment), tuple(name.removeprefix(inner) for name in found.obstacles)


def _geometry(
    least: int, alignment: int, reach: int | None, obstacles: tuple[str, ...], crop: int | None, context: int | None
) -> tuple[int, int, tuple[str, ...]]:
    """The side of the crops, their context, and notes."""
    wanted = alignment * -(-(reach if reach is not None else _CROP // 2) // alignment)
    if context is None:
        context = wanted if crop is None else (least - crop) // 2 // alignment * alignment
        context = min(context, wanted)
        if crop is None and least - 2 * context < max(_CROP, 2 * alignment):
            # Too little room for both: half of it for the crop, a quarter for the context on each side.
            context = least // 4 // alignment * alignment
    if crop is None:
        room = least - 2 * context
        crop = min(room, max(_CROP, 2 * min(reach or 0, least)))
        crop = crop // alignment * alignment
    if context < 1 or context % alignment or crop < 2 or crop + 2 * context > least:
        need = max(4 * alignment, 32)
        message = (
            f"Crops of {crop}×{crop} pixels with {context} pixels of context on each side do not fit: the smallest "
            f"image is {least} pixels high or wide, and the context has to be a multiple of {alignment}, the "
            f"network's strides. Leave out images below {need} pixels, enlarge them, or pass a smaller `crop`"
        )
        raise UserValueError(message)
    notes = []
    if reach is not None and reach > context:
        notes.append(
            f"The receptive field extends {reach} pixels to each side, but the images allow {context} of context: "
            "influences of borders farther away are in the reference too, and are not measured."
        )
    if obstacles:
        some = "; ".join(obstacles[:3]) + (f"; and {len(obstacles) - 3} more" if len(obstacles) > 3 else "")
        notes.append(
            f"No margin covers its receptive field ({some}): part of the error is due to other content, not the border."
        )
    return crop, context, tuple(notes)
