"""l1, PSNR and SSIM of filled pictures, by the share of the picture that was a hole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pcpad.errors import UserTypeError, UserValueError

__all__ = ["PAPER_BINS", "SIX_BINS", "InpaintingScores", "composite", "hole_bin", "picture_scores"]

Bins = Sequence[tuple[float, float]]

PAPER_BINS = ((0.01, 0.2), (0.2, 0.4), (0.4, 0.6))
"""The hole ratios of the 2022 paper's Table 6."""

SIX_BINS = tuple(pairwise((0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))
"""The hole ratios of the 2018 inpainting paper's test set; each is there with and without a hole near the border."""

_SCORES = ("l1", "psnr", "ssim")
_WINDOW, _SIGMA = 11, 1.5
_UNIT = 2.0**-32


def composite(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Put a prediction into the holes of the true image: (N, 3, H, W), `mask` (N, 1, H, W) 1 = valid."""
    return torch.where(mask != 0, target, prediction.to(target.dtype))


def hole_bin(share: float, bins: Bins) -> int:
    """Which bin a hole share falls into: the first is [low, high], the others are (low, high].

    Args:
        share: Of the picture that is a hole, in [0, 1].
        bins: Rising, without overlap.

    Returns:
        Its position, or `len(bins)` for none.

    Example:
        >>> [hole_bin(share, PAPER_BINS) for share in (0.005, 0.01, 0.2, 0.21, 0.7)]
        [3, 0, 0, 1, 3]
    """
    for position, (low, high) in enumerate(bins):
        if low < share <= high or (position == 0 and share == low):
            return position
    return len(bins)


def picture_scores(image: Tensor, target: Tensor) -> tuple[float, float, float]:
    """Scores of one picture against the true one.

    SSIM as published: Gaussian window of 11 x 11 with σ 1.5, population covariances, the mean over channels and over
    the positions at which the window lies within the picture. scikit-image gives the same number with
    `gaussian_weights=True, use_sample_covariance=False`.

    Args:
        image: (C, H, W), float in [0, 1]; H and W at least 11.
        target: The same.

    Returns:
        l1 in percent of the value range, PSNR in dB (infinite where the two are equal), SSIM.

    Raises:
        ValueError: The picture is smaller than SSIM's window.
    """
    if min(image.shape[-2:]) < _WINDOW:
        message = f"SSIM needs pictures of at least {_WINDOW} x {_WINDOW} pixels, but got {tuple(image.shape[-2:])}"
        raise UserValueError(message)
    # SSIM subtracts a mean square from a square mean; in half precision nothing would be left. Apple's GPUs have no
    # float64.
    exact = torch.float32 if image.device.type == "mps" else torch.float64
    image, target = image.to(exact), target.to(exact)
    difference = image - target
    l1, error = 100 * float(difference.abs().mean()), difference.square().mean()
    psnr = float(-10 * error.log10())
    return l1, psnr, float(_structural_similarity(image, target))


def _structural_similarity(image: Tensor, target: Tensor) -> Tensor:
    """SSIM of (C, H, W) in [0, 1].

    torchmetrics has the same in a window of two dimensions: 2.2 s for 256 x 256 pixels on one thread, where two passes
    of one dimension take 0.06 s. Its mean moreover includes windows that reach into pixels mirrored at the border.
    """
    maps = torch.stack([image, target, image * image, target * target, image * target])
    for dim in (-2, -1):
        maps = _blurred(maps, dim)
    mean, true_mean, square, true_square, product = maps
    both, means = mean * true_mean, mean * mean + true_mean * true_mean
    variances = (square + true_square - means).clamp_min(0)
    c1, c2 = 0.01**2, 0.03**2
    similarity: Tensor = ((2 * both + c1) * (2 * (product - both) + c2) / ((means + c1) * (variances + c2))).mean()
    return similarity


def _blurred(maps: Tensor, dim: int) -> Tensor:
    """Weighted sums of 11 neighbors along a dimension, where there are 11."""
    distances = [(place - _WINDOW // 2) / _SIGMA for place in range(_WINDOW)]
    weights = [exp(-distance * distance / 2) for distance in distances]
    length, total = maps.shape[dim] - _WINDOW + 1, sum(weights)
    blurred = maps.narrow(dim, 0, length) * (weights[0] / total)
    for place in range(1, _WINDOW):
        blurred.add_(maps.narrow(dim, place, length), alpha=weights[place] / total)
    return blurred


class InpaintingScores(Metric):
    """l1 %, PSNR and SSIM of composites (valid pixels from the true image), each the mean over pictures.

    PSNR and SSIM are computed picture by picture and then averaged; a pooled PSNR would be another number. A picture
    that is filled without any error has an infinite PSNR; it is left out of the mean of PSNR alone, and counted.

    Sums are kept as whole multiples of 2^-32, so that they are the same in whatever order and on however many
    processes pictures are counted.

    Args:
        bins: Hole shares to group by, rising, each a (low, high]; the first includes its low end.
        border: Tell pictures with a hole within this many pixels of the border from the others; None doesn't.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> metric = InpaintingScores()
        >>> target, mask = torch.full((2, 3, 32, 32), 0.5), torch.ones(2, 1, 32, 32)
        >>> mask[..., :16] = 0  # half of the picture
        >>> metric.update(target + 0.1, target, mask)
        >>> scores = metric.compute()
        >>> [round(float(scores[name]), 3) for name in ("l1", "psnr", "psnr/0.40-0.60", "images/0.40-0.60")]
        [5.0, 23.01, 23.01, 2.0]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, bins: Bins = PAPER_BINS, border: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bins = tuple((float(low), float(high)) for low, high in bins)
        flat = [edge for pair in self.bins for edge in pair]
        if not flat or flat != sorted(flat) or any(low == high for low, high in self.bins):
            message = f"Expected argument `bins` to be rising pairs (low, high) without overlap, but got {bins!r}"
            raise UserValueError(message)
        if not 0 <= flat[0] <= flat[-1] <= 1:
            message = f"Expected argument `bins` to be shares in [0, 1], but got {bins!r}"
            raise UserValueError(message)
        if border is not None and border < 1:
            message = f"Expected argument `border` to be None or at least 1 pixel, but got {border}"
            raise UserValueError(message)
        self.border = border
        names = [_bin_name(low, high) for low, high in self.bins]
        self.groups = (
            names if border is None else [f"{name}/{where}" for name in names for where in ("inside", "border")]
        )
        # The last row counts pictures in no bin.
        self.sums: Tensor
        self.images: Tensor
        self.exact: Tensor
        rows = len(self.groups) + 1
        self.add_state("sums", torch.zeros(rows, len(_SCORES), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(rows, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("exact", torch.zeros(rows, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: (N, 3, H, W), float; clamped to [0, 1].
            target: (N, 3, H, W), the true images, float in [0, 1].
            mask: (N, 1, H, W), 1 = valid, 0 = hole, of any type.

        Raises:
            ValueError: Shapes do not fit, images are smaller than SSIM's window, or the prediction is not finite.
            TypeError: Images are not floating point.
        """
        _check(prediction, target, mask)
        filled = composite(prediction.clamp(0, 1), target, mask)
        for image, true, valid in zip(filled, target, mask[:, 0] != 0, strict=True):
            group = self._group(valid)
            l1, psnr, ssim = picture_scores(image, true)
            if psnr == float("inf"):
                psnr = 0.0
                self.exact[group] += 1
            units = torch.tensor([round(score / _UNIT) for score in (l1, psnr, ssim)])
            self.sums[group] += units.to(self.sums.device)
            self.images[group] += 1

    def compute(self) -> dict[str, Tensor]:
        """The scores over all pictures and by bin.

        Returns:
            `l1` (percent), `psnr` (dB), `ssim` and `images`, their number; the same for each bin as `l1/0.01-0.20` …
            (with `border`: `l1/0.01-0.20/inside`, `…/border`); scalars in float64, or float32 on Apple's GPUs.
            `images/other` are in no bin and `images/exact` filled without error; these count in no PSNR, unless all
            pictures of a group are such: then it is infinite. A group without pictures has no scores.
        """
        scores = {"images": self.images.sum(), "images/exact": self.exact.sum()}
        scores |= self._means(self.sums.sum(0), scores["images"], scores["images/exact"], "")
        for row, name in enumerate(self.groups):
            scores[f"images/{name}"] = self.images[row]
            scores |= self._means(self.sums[row], self.images[row], self.exact[row], f"/{name}")
        scores["images/other"] = self.images[-1]
        return scores

    def _means(self, sums: Tensor, images: Tensor, exact: Tensor, suffix: str) -> dict[str, Tensor]:
        count, finite = int(images), int(images - exact)
        if not count:
            return {}
        counts = {"l1": count, "psnr": finite, "ssim": count}
        kind = torch.float32 if sums.device.type == "mps" else torch.float64
        return {
            f"{name}{suffix}": torch.tensor(
                int(total) * _UNIT / counts[name] if counts[name] else float("inf"), dtype=kind, device=sums.device
            )
            for name, total in zip(_SCORES, sums.tolist(), strict=True)
        }

    def _group(self, valid: Tensor) -> int:
        height, width = valid.shape
        holes = height * width - int(valid.sum())
        position = hole_bin(holes / (height * width), self.bins)
        if self.border is None or position == len(self.bins):
            return position if self.border is None else len(self.groups)
        middle = valid[self.border : height - self.border, self.border : width - self.border]
        inner = middle.numel() - int(middle.sum())
        return 2 * position + (inner < holes)


def _bin_name(low: float, high: float) -> str:
    digits = 2 if all(abs(round(edge, 2) - edge) < 1e-12 for edge in (low, high)) else 4
    return f"{low:.{digits}f}-{high:.{digits}f}"


def _check(prediction: Tensor, target: Tensor, mask: Tensor) -> None:
    if prediction.dim() != 4 or prediction.shape != target.shape:
        sizes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        message = f"Expected `prediction` and `target` to be (N, C, H, W) and of one shape, but got {sizes}"
        raise UserValueError(message)
    if mask.shape != (len(target), 1, *target.shape[2:]):
        message = f"Expected `mask` to be {(len(target), 1, *target.shape[2:])}, but got {tuple(mask.shape)}"
        raise UserValueError(message)
    if not (prediction.is_floating_point() and target.is_floating_point()):
        message = f"Expected floating-point images in [0, 1], but got {prediction.dtype} and {target.dtype}"
        raise UserTypeError(message)
    if not bool(prediction.isfinite().all()):
        message = "The prediction holds values that are not finite: the weights are broken."
        raise UserValueError(message)
