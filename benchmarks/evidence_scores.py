"""Further scores of a finished run: features by position, what they encode of positions, and tiles' seams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import benchmarks.evidence_networks  # noqa: F401  # registers the networks that checkpoints name
from pcpad.commands.loading import load_datamodule, load_task
from pcpad.datamodules.datasets.panoptic_scenes import TRAIN_IDS
from pcpad.tasks.base import Task, unit
from pcpad.tasks.judges.segmentation import load_judge
from pcpad.tasks.segmentation import IGNORE
from pcpad.tiling import Tiling, tiled_argmax

__all__ = [
    "JUDGE",
    "classification_scores",
    "instance_shares",
    "knows_place",
    "ridge",
    "segmentation_scores",
    "shares_off",
    "synthesis_scores",
]

JUDGE = "judge/run/checkpoints/last.ckpt"
"""Where the judge of synthesized images is, in the data's folder."""
TILE = 96
SEAM = 8  # pixels on each side of a seam
SMALLEST, LARGE = 4, 64  # pixels of an instance at 64×128: smaller ones are not scored; from 64 on they are not small
_PENALTY = 1e-3
_TRUSTED = ["benchmarks.evidence_networks.NormedSegmentationTask"]
_PLACED = 256  # images whose features are kept for the regression


@torch.inference_mode()
def classification_scores(checkpoint: Path, root: Path, paddings: Sequence[str]) -> dict[str, Any]:
    """Score a classifier's test images under each padding.

    Args:
        checkpoint: The run's.
        root: The data's folder.
        paddings: What it is tested under; the first is its own.

    Returns:
        `correct`: padding to a text of a 0 or 1 for each test image. `moved`: padding to the mean absolute difference
        of the last maps to those under its own padding, by place, (H, W). `activation`: the mean of the last maps over
        channels and images, (H, W). `place`: R² of a linear regression from the vector of one position in the last
        maps to its row and to its column, on test images.
    """
    scores: dict[str, Any] = {"correct": {}, "moved": {}}
    own: list[Tensor] = []
    for padding in paddings:
        task = load_task(checkpoint, padding=padding, trusted=_TRUSTED)
        right, moved, kept = [], [], []
        for number, batch in enumerate(_batches(checkpoint, root, "test")):
            features = _features(task, batch["image"])
            right.append(task.network.fc(features.mean(dim=(2, 3))).argmax(1) == batch["label"])
            if padding == paddings[0]:
                own.append(features)
            else:
                moved.append((features - own[number]).abs().mean(dim=1))
            kept.append(features)
        scores["correct"][padding] = "".join(map(str, torch.cat(right).int().tolist()))
        if padding == paddings[0]:
            scores["activation"] = _rounded(torch.cat(own).mean(dim=(0, 1)))
            fitted_on = torch.cat([_features(task, batch["image"]) for batch in _batches(checkpoint, root, "val")])
            scores["place"] = knows_place(_some(fitted_on), _some(torch.cat(own)))
        else:
            scores["moved"][padding] = _rounded(torch.cat(moved).mean(dim=0))
    return scores


def knows_place(fitted_on: Tensor, scored_on: Tensor) -> dict[str, float]:
    """How well the vector of one position tells which position it is.

    Args:
        fitted_on: Maps (N, C, H, W) that a linear regression is fitted to.
        scored_on: Maps of other images.

    Returns:
        R² of the row, of the column, and of the distance to the nearest border; 0 is the R² of the mean.
    """
    found = {}
    for name, target in _places(*fitted_on.shape[-2:]).items():
        x, y = _vectors(fitted_on), target.repeat(len(fitted_on))
        weights = ridge(x, y)
        x, y = _vectors(scored_on), target.repeat(len(scored_on))
        found[name] = round(1 - float(((x @ weights - y) ** 2).mean() / y.var(correction=0)), 6)
    return found


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights of the linear regression of y (N,) on x (N, C), with a small penalty."""
    gram = x.T @ x
    gram += _PENALTY * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, x.T @ y)


def _places(height: int, width: int) -> dict[str, Tensor]:
    row = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    column = torch.arange(width, dtype=torch.float64)[None].expand(height, width)
    border = torch.minimum(torch.minimum(row, height - 1 - row), torch.minimum(column, width - 1 - column))
    return {"row": row.flatten(), "column": column.flatten(), "border": border.flatten()}


def _vectors(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) to vectors (N·H·W, C + 1) with a constant."""
    vectors = maps.double().permute(0, 2, 3, 1).flatten(0, 2)
    return torch.cat([vectors, torch.ones(len(vectors), 1, dtype=vectors.dtype)], dim=1)


def _some(maps: Tensor) -> Tensor:
    return maps[:: max(1, len(maps) // _PLACED)][:_PLACED]


def _features(task: Task, image: Tensor) -> Tensor:
    return task.network.forward_features(task.normalize(image))


def _batches(checkpoint: Path, root: Path, split: str) -> Any:
    data: Any = load_datamodule(checkpoint, trusted=_TRUSTED, root=str(root))
    data.setup("test" if split == "test" else "validate")
    return data.test_dataloader() if split == "test" else data.val_dataloader()


def _rounded(values: Tensor) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in row] for row in values.tolist()]


@torch.inference_mode()
def segmentation_scores(checkpoint: Path, root: Path, paddings: Sequence[str]) -> dict[str, Any]:
    """How often non-overlapping tiles predict another class than the whole image, near seams and away from them.

    Args:
        checkpoint: The run's.
        root: The data's folder.
        paddings: Its own.

    Returns:
        `near` and `far`: the share of each test image's pixels.
    """
    task = load_task(checkpoint, trusted=_TRUSTED)
    found: dict[str, list[float]] = {"near": [], "far": []}
    for batch in _batches(checkpoint, root, "test"):
        whole = tiled_argmax(task, batch["image"], None)
        tiles = tiled_argmax(task, batch["image"], Tiling(TILE))
        for name, share in shares_off(whole[0], tiles[0]).items():
            found[name].append(round(share, 6))
    return found


def shares_off(whole: Tensor, tiles: Tensor, tile: int = TILE, seam: int = SEAM) -> dict[str, float]:
    """The shares of pixels in which two maps (H, W) differ, within `seam` pixels of the tiles' seams and elsewhere."""
    rows, columns = (_near(size, tile, seam) for size in whole.shape)
    near = rows[:, None] | columns[None]
    off = whole != tiles
    return {"near": float(off[near].float().mean()), "far": float(off[~near].float().mean())}


def _near(size: int, tile: int, seam: int) -> Tensor:
    places = torch.arange(size)
    near = torch.zeros(size, dtype=torch.bool)
    for middle in range(tile, size, tile):
        near |= (places >= middle - seam) & (places < middle + seam)
    return near


@torch.inference_mode()
def synthesis_scores(checkpoint: Path, root: Path, paddings: Sequence[str]) -> dict[str, Any]:
    """How well a judge finds single instances in generated images, small and large ones separately.

    Args:
        checkpoint: The run's.
        root: The data's folder, with `test/` and the judge.
        paddings: Its own.

    Returns:
        `small` and `large`, and `real_small` and `real_large` in the real images of the same maps: for each test map
        the number of instances and the mean share of an instance's pixels that the judge gives its class, 0 where
        there are none.
    """
    task = load_task(checkpoint, trusted=_TRUSTED)
    judge, _ = load_judge(root / JUDGE)
    train_ids = torch.tensor(TRAIN_IDS)
    found: dict[str, list[list[float]]] = {f"{kind}{size}": [] for kind in ("", "real_") for size in ("small", "large")}
    for batch in _batches(checkpoint, root / "test", "test"):
        height, width = batch["label_full"].shape[-2:]
        step = height // batch["label"].shape[-2]
        images = {"": task(batch["label"], batch["instance"]), "real_": unit(batch["image"]).float()}
        for kind, image in images.items():
            large = F.interpolate(image, (height, width), mode="bilinear", align_corners=False)
            # The positions from which the maps at the images' size were picked.
            seen = judge(large).argmax(1)[:, step // 2 :: step, step // 2 :: step]
            for said, instance in zip(seen, batch["instance"][:, 0], strict=True):
                for size, shares in instance_shares(said, instance, train_ids).items():
                    mean = sum(shares) / len(shares) if shares else 0.0
                    found[f"{kind}{size}"].append([len(shares), round(mean, 6)])
    return found


def instance_shares(said: Tensor, instance: Tensor, train_ids: Tensor) -> dict[str, list[float]]:
    """The share of each instance's pixels that are given its class.

    Args:
        said: Classes (H, W).
        instance: Instance ids (H, W), 1000 times the label plus a number; smaller ids are no single objects.
        train_ids: The class of each label, 255 for none.

    Returns:
        `small`: of instances of `SMALLEST` to less than `LARGE` pixels. `large`: of the others above.
    """
    shares: dict[str, list[float]] = {"small": [], "large": []}
    for number in instance.unique().tolist():
        known = int(train_ids[number // 1000]) if number >= 1000 else IGNORE
        there = instance == number
        pixels = int(there.sum())
        if known != IGNORE and pixels >= SMALLEST:
            shares["small" if pixels < LARGE else "large"].append(float((said[there] == known).float().mean()))
    return shares
