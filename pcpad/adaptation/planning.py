"""Which crops of photographs are compared, with how much context, and which maps of the network."""

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

_STEP = 64  # pixels; a multiple of all strides that are looked for
_CROP = 128  # wanted, in pixels, where the network does not look further than half of it

Normalize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """What is compared, where."""

    kind: Literal["dense", "classifier"]
    crop: int
    context: int
    alignment: int
    places: dict[str, Place]  # by map; "" is the output
    layers: tuple[str, ...]  # of these, what is reported
    last: str  # the last feature map, "" for a dense network: what the error is of
    reach: int | None
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]
    choice: str = ""  # which of several outputs it is of


class Photographs:
    """Photographs as the network takes them, cut from their middle, on its device."""

    def __init__(self, photographs: Sequence[Tensor], normalize: Normalize | None, model: nn.Module) -> None:
        self.photographs, self.normalize = photographs, normalize
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        self.device, self.dtype = like.device, like.dtype
        self.least = min(min(image.shape[-2:]) for image in photographs)

    def __len__(self) -> int:
        return len(self.photographs)

    def cut(self, indices: Sequence[int], side: int) -> Tensor:
        """The middles of some of them, (N, C, side, side)."""
        images = torch.stack([middle(self.photographs[index], side) for index in indices])
        if self.normalize is not None:
            images = self.normalize(images)
        if not images.is_floating_point():
            message = (
                f"Expected images of floats, as the network takes them, but got {images.dtype}: pass `normalize`, "
                "which brings them to its range"
            )
            raise UserTypeError(message)
        return images.to(self.device, self.dtype)


def middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image (..., H, W), as a square."""
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def plan_for(
    network: nn.Module, images: Photographs, crop: int | None, context: int | None, output_key: OutputKey
) -> Plan:
    """Look at the network once, and decide which crops, which maps.

    Args:
        network: A `shared_copy`.
        images: What there is.
        crop: The crops' side, where that is asked for.
        context: The pixels around, likewise.
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        The plan.

    Raises:
        UserValueError: The images are too small, or nothing in the network belongs to a place.
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
            taken = f", and runs on {probe}×{probe}" if larger else ""
            message = (
                f"{error}{taken}. Borders are measured on crops of several sizes, {probe}×{probe} first and larger "
                "ones for what lies around: pass a `crop` (--crop) far below the largest size that it takes, or, where "
                "it takes one size alone, the part of it that takes any"
            )
            raise UserRuntimeError(message) from error

    smaller, larger = run(probe), run(probe + _STEP)
    strides, alignment = strides_of(smaller, larger, _STEP)
    kind: Literal["dense", "classifier"] = "dense" if smaller.output.dim() == 4 else "classifier"
    if kind == "dense" and "" not in strides:
        sizes = " and ".join("×".join(map(str, run.output.shape[-2:])) for run in (smaller, larger))
        message = (
            f"The output does not grow with the image: {sizes} for images of {probe}² and {probe + _STEP}² pixels, so "
            "no part of it belongs to a part of the image. Pass `output_key` for a map that does"
        )
        raise UserValueError(message)
    grown = [key for key in smaller.maps if key in strides and min(smaller.maps[key].shape[-2:]) > 1]
    last = "" if kind == "dense" else next(reversed(grown), None)
    if last is None:
        message = "No feature map of the network grows with the image, so there is nothing to compare near borders"
        raise UserValueError(message)
    # Of several outputs the others may look further.
    several = smaller.choice or output_key is not None
    target = UpTo(network, last) if last else Picked(network, output_key) if several else network
    reach, aligned, obstacles = _reach(target, first)
    side, around, notes = _geometry(images.least, max(alignment, aligned), reach, obstacles, crop, context)
    places = places_of(run(side), run(side + 2 * around), strides, around)
    if last not in places:
        message = (
            f"The network's maps of crops of {side}² pixels are no part of those with {around} pixels of context: "
            "sizes do not add up. Pass another `crop` and `context` (--crop, --context), multiples of its strides"
        )
        raise UserValueError(message)
    layers = tuple(key for key in places if key and _is_named_stage(network, key))
    choice = (
        f"Of the network's outputs this is {smaller.choice} (`output_key`, --output_key)." if smaller.choice else ""
    )
    return Plan(kind, side, around, max(alignment, aligned), places, layers, last, reach, obstacles, notes, choice)


def _is_named_stage(network: nn.Module, key: str) -> bool:
    """Whether it is a convolution, or a part that its author gave a name near the top."""
    module = network.get_submodule(key.rpartition(" (call ")[0] or key)
    if isinstance(module, nn.modules.conv._ConvNd):
        return True
    return key.count(".") <= 1 and any(True for _ in module.children())


def _reach(network: nn.Module, image: Tensor) -> tuple[int | None, int, tuple[str, ...]]:
    """How far the network looks, its alignment, and what has no bound; None, 1 and nothing where that is not known."""
    try:
        found = receptive_field(network, image[:, :, :_CROP, :_CROP])
    except UserError:
        return None, 1, ()
    inner = "network." if isinstance(network, Picked | UpTo) else ""
    return max(found.margin), max(found.alignment), tuple(name.removeprefix(inner) for name in found.obstacles)


def _geometry(
    least: int, alignment: int, reach: int | None, obstacles: tuple[str, ...], crop: int | None, context: int | None
) -> tuple[int, int, tuple[str, ...]]:
    """The side of the crops, the context around, and what is to be said of them."""
    wanted = alignment * -(-(reach if reach is not None else _CROP // 2) // alignment)
    if context is None:
        context = wanted if crop is None else (least - crop) // 2 // alignment * alignment
        context = min(context, wanted)
        if crop is None and least - 2 * context < max(_CROP, 2 * alignment):
            # Too little room for both: half of it for the crop, a quarter on each side.
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
            f"The network looks {reach} pixels far and the images allow {context} of context: influences of borders "
            "from farther away are in the reference too, and are not measured."
        )
    if obstacles:
        some = "; ".join(obstacles[:3]) + (f"; and {len(obstacles) - 3} more" if len(obstacles) > 3 else "")
        notes.append(
            f"No margin covers its receptive field ({some}): part of the error is other content, not the border."
        )
    return crop, context, tuple(notes)
