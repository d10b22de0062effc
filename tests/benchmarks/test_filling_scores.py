"""PSNR in holes, SSIM, and the distance of edge features."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.filling_scores import EdgeFeatures, hole_psnr, ssim
from pcpad.metrics.inpainting import picture_scores


@pytest.fixture
def pictures():
    draws = np.random.default_rng(0)
    truth = draws.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[10:30, 20:50] = True
    filled = truth.copy()
    filled[hole] = np.clip(truth[hole].astype(int) + draws.integers(-40, 40, (hole.sum(), 3)), 0, 255)
    return filled, truth, hole


def test_psnr_is_of_the_hole_alone(pictures):
    filled, truth, hole = pictures
    error = ((filled[hole].astype(float) - truth[hole]) ** 2).sum() / (3 * hole.sum())
    expected = 20 * np.log10(255) - 10 * np.log10(error)
    assert hole_psnr(filled, truth, hole) == pytest.approx(expected)
    elsewhere = np.where(hole[..., None], filled, 255 - truth)
    assert hole_psnr(elsewhere, truth, hole) == pytest.approx(expected)
    assert hole_psnr(truth, truth, hole) == pytest.approx(58.92, abs=0.01)


def test_ssim_is_the_published_one(pictures):
    filled, truth, _ = pictures
    both = [torch.from_numpy(picture).movedim(-1, 0) / 255 for picture in (filled, truth)]
    assert ssim(filled, truth) == pytest.approx(picture_scores(*both)[2], abs=1e-4)
    assert ssim(truth, truth) == 1


BLOCKS = (2, 2, 3, 3, 3)
WIDTHS = (4, 6, 8, 8, 10)


@pytest.fixture
def weights(tmp_path):
    """A file as Keras names and orders it, and the same network of PyTorch's layers."""
    torch.manual_seed(0)
    arrays, blocks, channels = {}, [], 3
    for number, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), 1):
        layers = [nn.MaxPool2d(2)] if number > 1 else []
        for place in range(count):
            conv = nn.Conv2d(channels, width, 3, padding=1)
            name = f"block{number}/layers/conv2d{f'_{place}' if place else ''}/vars"
            arrays[f"{name}/0"] = conv.weight.detach().permute(2, 3, 1, 0).numpy()
            arrays[f"{name}/1"] = conv.bias.detach().numpy()
            layers += [conv, nn.ReLU()]
            channels = width
        blocks.append(nn.Sequential(*layers))
    np.savez(tmp_path / "weights.npz", **arrays)
    return tmp_path / "weights.npz", blocks


def test_the_distance_is_that_of_the_plain_formula(pictures, weights):
    filled, truth, _ = pictures
    file, blocks = weights
    features = EdgeFeatures(file)
    assert features.distances(truth[None], features(truth[None])) == [0]

    expected = 0.0
    one, other = (
        torch.tensor((picture[..., ::-1] - np.array([104.00699, 116.66877, 122.67892])).astype(np.float32)).permute(
            2, 0, 1
        )[None]
        for picture in (filled, truth)
    )
    for block in blocks:
        one, other = block(one).detach(), block(other).detach()
        unit = [x / (x**2).sum(1, keepdim=True).sqrt().clamp_min(1e-10) for x in (one, other)]
        expected += float(((unit[0] - unit[1]) ** 2).sum(1).mean())
    assert features.distances(filled[None], features(truth[None])) == pytest.approx([expected], rel=1e-4)
