"""User-defined augmentation: lists of albumentations' or torchvision's transforms, for images and their maps.

Label maps, masks and instance ids are transformed with their image, with nearest-neighbor interpolation, and pixels
that are filled in from outside are unknown in them. Random numbers depend on the item's own seed only.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pcpad.datamodules.datasets.epochs import Crop, CropDataset, drawing_from
from pcpad.errors import UserError, UserTypeError, UserValueError, did_you_mean
from pcpad.trust import imported

__all__ = ["Augment", "Augmentations", "AugmentedItems"]

Augment = list[dict[str, Any]]
"""`[{class_path: albumentations.RandomBrightnessContrast, init_args: {p: 0.5}}, …]`"""

_HOMES = ("albumentations", "torchvision.transforms.v2")
_EXPECTED = (
    "Expected `augment` to be a list of transforms, each {class_path: albumentations.HorizontalFlip, init_args: "
    "{p: 0.5}} or of torchvision.transforms.v2"
)
Maps = dict[str, Tensor]


class Augmentations:
    """A list of transforms, ready to be applied to an image and its maps.

    Args:
        items: Transforms, or their description as in YAML. Classes are imported from `albumentations` and
            `torchvision.transforms.v2`, and from other packages if they are such transforms.
        fill: The maps' value for unknown pixels: 255 for labels, 1 (valid) for masks.

    Raises:
        UserValueError: An item is not such a transform, or a transform refuses its arguments.
    """

    def __init__(self, items: Sequence[Any], fill: int = 255) -> None:
        if isinstance(items, (str, Mapping)) or not isinstance(items, Sequence):
            message = f"{_EXPECTED}, but got {items!r}"
            raise UserValueError(message)
        self.fill = fill
        self.steps = [_made(item, fill) for item in items]
        self._composed: dict[tuple[int | str, ...], Any] = {}

    def __call__(self, image: Tensor, maps: Maps, seed: int) -> tuple[Tensor, Maps]:
        """Apply the transforms.

        Args:
            image: (C, H, W) uint8.
            maps: By name, integers (H, W) or (1, H, W).
            seed: Determines all random numbers.

        Returns:
            The image and the maps, of the same sizes and types.

        Raises:
            UserValueError: A transform changes the size or the type of the image, or fails.
        """
        shape, kind = image.shape, image.dtype
        numbers = np.random.default_rng([seed, 1])
        for number, step in enumerate(self.steps):
            try:
                if _is_of_torchvision(step):
                    with drawing_from(int(numbers.integers(2**63))):
                        image, maps = _by_torchvision(step, image, maps)
                else:
                    image, maps = _by_albumentations(self._chain(number, tuple(maps)), image, maps, numbers)
            except UserError:
                raise
            except Exception as error:  # raised by a library, or by the user's own transform
                message = f"augment: {_name(step)} fails on an image {tuple(shape)} {kind}: {error}"
                raise UserValueError(message) from error
            if not isinstance(image, Tensor) or image.shape != shape or image.dtype != kind:
                held = f"{tuple(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
                message = (
                    f"augment: {_name(step)} returns {held} for an image {tuple(shape)} {kind}. Transforms must keep "
                    "size and type: the data module crops and resizes, the task converts bytes to floats and normalizes"
                )
                raise UserValueError(message)
        return image, maps

    def _chain(self, number: int, names: tuple[str, ...]) -> Any:
        """An albumentations transform that takes maps of these names, cached: creating it takes as long as using it."""
        from pcpad.datamodules.datasets.albumentation import compose

        key: tuple[int | str, ...] = (number, *names)
        if key not in self._composed:
            self._composed[key] = compose([self.steps[number]], [f"map_{name}" for name in names])
        return self._composed[key]


class AugmentedItems(CropDataset[dict[str, Any]]):
    """A training set with additional augmentation.

    Args:
        dataset: Its items hold `image` (C, H, W) and maps of the same height and width.
        augment: The augmentation.
        maps: The names of an item's maps; an item may lack some.
    """

    def __init__(self, dataset: Dataset[Any], augment: Augmentations, maps: Sequence[str]) -> None:
        self.dataset = dataset
        self.augment = augment
        self.maps = tuple(maps)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        item = dict(self.dataset[crop])
        image = item["image"]
        maps = {name: item[name] for name in self.maps if _is_map(item.get(name), image)}
        seed = crop.seed if isinstance(crop, Crop) else crop
        item["image"], changed = self.augment(image, maps, seed)
        return item | changed


def _is_map(value: Any, image: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() >= 2 and value.shape[-2:] == image.shape[-2:]


def _name(step: Any) -> str:
    return f"{type(step).__module__.partition('.')[0]}.{type(step).__name__}"


# Building transforms


def _made(item: Any, fill: int) -> Any:
    """A transform built from its description; objects are returned unchanged."""
    if _is_transform(item):
        return item
    if not isinstance(item, Mapping) or not isinstance(item.get("class_path"), str):
        message = f"{_EXPECTED}, but got {item!r}"
        raise UserValueError(message)
    other = set(item) - {"class_path", "init_args"}
    if other:
        message = f"{_EXPECTED}, but got the unknown key {sorted(map(str, other))[0]!r} in {dict(item)!r}"
        raise UserValueError(message)
    path, given = item["class_path"], item.get("init_args") or {}
    kind = _class(path)
    arguments = {name: _nested(value, fill) for name, value in dict(given).items()}
    if _is_of_torchvision(kind):
        arguments = _with_fill(kind, arguments, fill)
    try:
        if _is_of_torchvision(kind):
            return kind(**arguments)
        from pcpad.datamodules.datasets.albumentation import strictly, with_fill

        with strictly():
            return kind(**with_fill(kind, arguments, fill))
    except (TypeError, ValueError, Warning) as error:
        message = f"augment: {path} does not take {dict(given)!r}: {error}"
        raise UserValueError(message) from error


def _nested(value: Any, fill: int) -> Any:
    """Transforms among a transform's arguments: of OneOf, RandomApply, Compose."""
    if isinstance(value, Mapping) and "class_path" in value:
        return _made(value, fill)
    if isinstance(value, (list, tuple)):
        return [_nested(each, fill) for each in value]
    return value


def _class(path: str) -> Any:
    home, _, name = path.rpartition(".")
    if not home:
        message = f"{_EXPECTED}, but got the class {path!r}: write its module too, as {_HOMES[0]}.{path}"
        raise UserValueError(message)
    try:
        kind = imported(path)
    except (ImportError, AttributeError) as error:
        module = sys.modules.get(home)
        hint = did_you_mean(name, [one for one in dir(module) if one[:1].isupper()]) if module else ""
        message = f"augment: there is no transform {path} ({error}).{hint}"
        raise UserValueError(message) from error
    if not _is_transform(kind):
        message = f"{_EXPECTED}, but {path} is neither"
        raise UserTypeError(message)
    return kind


def _is_of_torchvision(value: Any) -> bool:
    from torchvision.transforms import v2

    return issubclass(value, v2.Transform) if isinstance(value, type) else isinstance(value, v2.Transform)


def _is_transform(value: Any) -> bool:
    """Whether an object is a transform of either library, without importing the slow one if it is not."""
    if _is_of_torchvision(value):
        from torchvision.transforms import v2

        mixing = (v2.MixUp, v2.CutMix)
        return not (issubclass(value, mixing) if isinstance(value, type) else isinstance(value, mixing))
    if "albumentations" not in sys.modules:
        return False
    from pcpad.datamodules.datasets.albumentation import is_albumentation

    return is_albumentation(value)


def _with_fill(kind: type, arguments: dict[str, Any], fill: int) -> dict[str, Any]:
    """Apply torchvision's `fill`, by default or as given, to images only."""
    from torchvision import tv_tensors

    if "fill" not in inspect.signature(kind).parameters:
        return arguments
    given = arguments.get("fill", 0)
    if isinstance(given, Mapping):
        return arguments
    return {**arguments, "fill": {tv_tensors.Image: given, tv_tensors.Mask: fill}}


# Applying transforms


def _by_torchvision(step: Any, image: Tensor, maps: Maps) -> tuple[Tensor, Maps]:
    from torchvision import tv_tensors

    given = {name: tv_tensors.Mask(value) for name, value in maps.items()}
    done = step({"image": tv_tensors.Image(image), **given})
    plain = {name: value.as_subclass(Tensor) if isinstance(value, Tensor) else value for name, value in done.items()}
    return plain.pop("image"), plain


def _by_albumentations(steps: Any, image: Tensor, maps: Maps, numbers: np.random.Generator) -> tuple[Tensor, Maps]:
    from pcpad.datamodules.datasets.albumentation import draw_from

    draw_from(steps, numbers)
    arrays = {f"map_{name}": _as_array(value) for name, value in maps.items()}
    done = steps(image=np.ascontiguousarray(image.permute(1, 2, 0).numpy()), **arrays)
    pixels = done["image"]
    if isinstance(pixels, np.ndarray) and pixels.ndim == 2:  # a single channel
        pixels = pixels[..., None]
    changed = pixels
    if isinstance(pixels, np.ndarray):
        changed = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    moved = {name: torch.from_numpy(done[f"map_{name}"].astype(np.int64)) for name in maps}
    return changed, {name: value.to(maps[name].dtype).reshape(maps[name].shape) for name, value in moved.items()}


def _as_array(values: Tensor) -> np.ndarray:
    """(H, W), in the smallest type that OpenCV can warp; it has no 64-bit type."""
    least, most = int(values.min()), int(values.max())
    kind = np.uint8 if least >= 0 and most < 2**8 else np.uint16 if least >= 0 and most < 2**16 else np.float64
    return np.ascontiguousarray(values.reshape(values.shape[-2:]).numpy().astype(kind))
