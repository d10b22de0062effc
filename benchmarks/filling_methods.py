"""The methods that `benchmarks.filling` compares: each fills the hole of a picture of 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import skimage
import torch
from skimage.restoration import inpaint_biharmonic
from torch import nn

from pcpad.filling import Method, fill_picture, shipped_network

__all__ = ["COMPETITORS", "NAMES", "OURS", "Filler", "filler"]

OURS = ("fill", "network")
COMPETITORS = ("ns", "telea", "ns@20", "telea@20", "biharmonic", "mean")
NAMES = (*OURS, *COMPETITORS)
_RADIUS = 3.0  # of OpenCV's tutorial and sample; the function has no default. 20 is the best for large holes.
_FLAGS = {"ns": cv2.INPAINT_NS, "telea": cv2.INPAINT_TELEA}


@dataclass
class Filler:
    """A method.

    Attributes:
        run: (H, W, 3) uint8 RGB and hole (H, W) bool to the filled picture, of the same type.
        version: What its results depend on besides the picture; results of another version are recomputed.
        took: For `fill` only: how many pixels it filled by which method in its last picture.
    """

    run: Callable[[np.ndarray, np.ndarray], np.ndarray]
    version: str
    took: dict[str, int] = field(default_factory=dict)


def filler(name: str) -> Filler:
    """A method by its name.

    Args:
        name: `fill` (`pcpad fill` as it comes), `network` (its network alone), `ns` and `telea` (OpenCV's, or with
            another radius: `ns@5`), `biharmonic` (scikit-image's), or `mean` (of the valid pixels).

    Returns:
        The method.

    Raises:
        FileNotFoundError: Its network is missing.
        ValueError: There is no such method.
    """
    kind, _, radius = name.partition("@")
    if kind in _FLAGS:
        run = partial(_opencv, radius=float(radius or _RADIUS), flag=_FLAGS[kind])
        return Filler(run, f"opencv {cv2.__version__}")
    if name == "biharmonic":
        return Filler(_biharmonic, f"scikit-image {skimage.__version__}")
    if name == "mean":
        return Filler(_mean, "1")
    if name not in OURS:
        message = f"Expected a method of {', '.join(NAMES)}, ns@RADIUS or telea@RADIUS, but got {name!r}"
        raise ValueError(message)
    network = shipped_network()  # `auto` would work without it, which would be another row
    made = Filler(lambda picture, hole: picture, _weights(network))
    made.run = partial(_ours, method="auto" if name == "fill" else "network", made=made)
    return made


def _opencv(picture: np.ndarray, hole: np.ndarray, *, radius: float, flag: int) -> np.ndarray:
    return cv2.inpaint(picture, hole.astype(np.uint8), radius, flag)


def _biharmonic(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    filled = inpaint_biharmonic(picture, hole, channel_axis=-1)
    return np.rint(filled.clip(0, 1) * 255).astype(np.uint8)


def _mean(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    filled = picture.copy()
    filled[hole] = np.rint(picture[~hole].mean(axis=0)).astype(np.uint8)
    return filled


def _ours(picture: np.ndarray, hole: np.ndarray, *, method: Method, made: Filler) -> np.ndarray:
    image, mask = torch.from_numpy(picture).movedim(-1, 0).contiguous(), torch.from_numpy(~hole)[None]
    filled = fill_picture(image, mask, method)
    made.took = dict(filled.methods)
    return filled.image.movedim(0, -1).contiguous().numpy()


def _weights(network: object) -> str:
    """Identifies a network by its weights."""
    found = hashlib.sha256()
    if isinstance(network, nn.Module):
        for name, tensor in network.state_dict().items():
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return f"weights {found.hexdigest()[:12]}"
