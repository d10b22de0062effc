"""The only import of albumentations, with workarounds for defaults that would be wrong in training.

- Importing it checks the network for a newer version.
- It only warns about unknown arguments, and ignores them.
- It draws from its own random generators, which no global seed reaches.
- Pixels that it fills in from outside of an image are class 0 in a label map.
"""

import inspect
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

__all__ = ["A", "compose", "draw_from", "is_albumentation", "strictly", "with_fill"]


@contextmanager
def strictly() -> Iterator[None]:
    """Turn warnings about unknown arguments into errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Argument.*not valid for transform")
        yield


def is_albumentation(value: Any) -> bool:
    """Whether a class or an object is a transform of albumentations."""
    kinds = (A.BasicTransform, A.BaseCompose)
    return issubclass(value, kinds) if isinstance(value, type) else isinstance(value, kinds)


def compose(steps: Sequence[Any], maps: Sequence[str] = ()) -> A.Compose:
    """Chain transforms of an image and its maps.

    Args:
        steps: Transforms.
        maps: Names of the maps, besides `mask`.

    Returns:
        A callable that takes `image=` and the maps by name, each (H, W) or (H, W, C).
    """
    return A.Compose(list(steps), additional_targets=dict.fromkeys(maps, "mask"), strict=True)


def draw_from(steps: A.Compose, draws: np.random.Generator) -> None:
    """Make transforms draw from one generator, a single stream for all of them.

    albumentations' own `set_random_seed` gives each step the same numbers, so that the σ of a blur would depend on the
    change of brightness.

    Args:
        steps: The transforms, changed in place.
        draws: The generator.
    """
    steps.set_random_state(draws, random.Random(int(draws.integers(2**63))))


def with_fill(kind: type, arguments: Mapping[str, Any], fill: int) -> dict[str, Any]:
    """Fill pixels from outside of an image with the unknown value in its maps, unless another fill is given.

    Args:
        kind: A transform's class.
        arguments: Its arguments.
        fill: The maps' value for unknown pixels.

    Returns:
        The arguments, with `fill_mask` if the transform has it and fills maps by default.
    """
    known = inspect.signature(kind).parameters
    filled = "fill_mask" in known and known["fill_mask"].default is not None
    return {**({"fill_mask": fill} if filled else {}), **arguments}
