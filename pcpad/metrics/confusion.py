"""Counting pixels by true and predicted class, and what follows from the counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pcpad.class_counts import check_class_matrices, check_num_classes
from pcpad.errors import UserTypeError, UserValueError

__all__ = ["ConfusionMatrixMetric", "SegmentationIoU", "count_pairs", "segmentation_scores"]

_BAND = 1 << 21  # pixels that are counted at once: an image of Cityscapes


def count_pairs(
    prediction: Tensor,
    label: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    zones: Tensor | tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Count pixels by zone, true class and predicted class.

    Rows are counted in bands, so that what is needed besides the arguments is some 50 MB, whatever the map's size.

    Args:
        prediction: (N, H, W) integers in [0, num_classes), or logits (N, num_classes, H, W) whose largest counts.
        label: (N, H, W) integers in [0, num_classes), or `ignore_index`.
        num_classes: How many classes there are, K.
        ignore_index: True label of pixels that are not counted, whatever was predicted for them.
        zones: (H, W) bytes: to which matrix a pixel is counted; or (H,) and (W,), of which the larger says so; all to
            one if None.

    Returns:
        (Z, K, K) int64, Z one more than the largest zone: rows are true classes and columns predictions.

    Raises:
        ValueError: Shapes do not fit, or a value is out of range.
        TypeError: Labels are not integers.
    """
    logits = prediction.dim() == 4 and prediction.is_floating_point()
    if logits and prediction.shape[1] != num_classes:
        message = f"Expected logits of {num_classes} classes (N, K, H, W), but got {tuple(prediction.shape)}"
        raise UserValueError(message)
    shape = (prediction.shape[0], *prediction.shape[2:]) if logits else tuple(prediction.shape)
    if len(shape) != 3 or shape != tuple(label.shape):
        message = (
            "Expected predictions and labels of one shape (N, H, W), or logits (N, K, H, W), but got predictions "
            f"{shape} and labels {tuple(label.shape)}"
        )
        raise UserValueError(message)
    for name, tensor in (("predictions", prediction), ("labels", label)):
        if (tensor.is_floating_point() and not (logits and tensor is prediction)) or (
            tensor.is_complex() or tensor.dtype == torch.bool
        ):
            message = f"Expected integer {name}, but got {tensor.dtype}"
            raise UserTypeError(message)
    parts = (zones,) if isinstance(zones, Tensor) else zones or ()
    count = 1 + max((int(part.max()) for part in parts if part.numel()), default=0)
    check_class_matrices(num_classes, count)
    total = torch.zeros(count, num_classes, num_classes, dtype=torch.int64, device=label.device)
    _, height, width = shape
    rows = max(1, _BAND // max(width, 1))
    for sample in range(shape[0] if label.numel() else 0):
        for top in range(0, height, rows):
            band = slice(top, top + rows)
            guess = prediction[sample, :, band].argmax(dim=0) if logits else prediction[sample, band]
            total += _count(guess, label[sample, band], num_classes, ignore_index, _zones_of(zones, band), count)
    return total


def _zones_of(zones: Tensor | tuple[Tensor, Tensor] | None, band: slice) -> Tensor | None:
    """The zones of some rows: (h, W)."""
    if zones is None or isinstance(zones, Tensor):
        return None if zones is None else zones[band]
    return torch.maximum(zones[0][band, None], zones[1])


def _count(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int, zones: Tensor | None, count: int
) -> Tensor:
    """`count_pairs` of some rows of one map, all (h, W): (count, K, K)."""
    label = label if label.dtype in (torch.int32, torch.int64) else label.int()
    ignored = label == ignore_index
    row = label.masked_fill(ignored, 0)
    _check_range(row, num_classes, "label", f", and {ignore_index} for pixels to ignore")
    _check_range(prediction, num_classes, "prediction", "")
    block = num_classes * num_classes
    dtype = torch.int32 if count * block < 2**31 - 1 else torch.int64  # half the memory to pass over
    index = row.to(dtype).mul_(num_classes).add_(prediction)
    if zones is not None:
        index.add_(zones.to(index.device), alpha=block)  # bytes are widened on the way: no memory of their own
    # What is ignored is counted too, in a last place of its own: cheaper than selecting the others.
    pairs = torch.bincount(index.masked_fill_(ignored, count * block).flatten(), minlength=count * block + 1)
    return pairs[:-1].view(count, num_classes, num_classes)


def _check_range(values: Tensor, end: int, what: str, besides: str) -> None:
    low, high = (int(value) for value in values.aminmax())
    if low < 0 or high >= end:
        message = f"Expected every {what} to be in 0…{end - 1}{besides}, but found {low if low < 0 else high}"
        raise UserValueError(message)


def segmentation_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Intersection over union and accuracy from confusion matrices.

    Args:
        confusion: (..., K, K) counts, rows true and columns predicted classes.

    Returns:
        Fractions in [0, 1] as float64. `IoU` (..., K), NaN for a class in neither truth nor prediction; `mIoU` (...),
        the mean of the others; `accuracy` (...), of all pixels; `class_accuracy` (...), the mean over true classes
        of the fraction of their pixels that are right. NaN where no pixel was counted.
    """
    counts = confusion.to(torch.float64)
    right = counts.diagonal(dim1=-2, dim2=-1)
    true, predicted = counts.sum(dim=-1), counts.sum(dim=-2)
    iou = right / (true + predicted - right)  # 0 / 0 is NaN
    return {
        "mIoU": iou.nanmean(dim=-1),
        "accuracy": right.sum(dim=-1) / true.sum(dim=-1),
        "class_accuracy": (right / true).nanmean(dim=-1),
        "IoU": iou,
    }


class ConfusionMatrixMetric(Metric):
    """Confusion matrices summed over a whole set, and over processes.

    Args:
        num_classes: How many classes there are, K.
        ignore_index: True label of pixels that are not counted; not in [0, K).
        matrices: How many matrices are kept, for parts of the image.

    Raises:
        ValueError: An argument is out of range.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255, matrices: int = 1) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if 0 <= ignore_index < num_classes:
            message = f"Expected argument `ignore_index` to be no class, but {ignore_index} is one of {num_classes}"
            raise UserValueError(message)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        check_class_matrices(num_classes, matrices)
        zeros = torch.zeros(matrices, num_classes, num_classes, dtype=torch.int64)
        # Integers: exact however the images are shared out among processes.
        self.add_state("confusion", zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: (N, H, W) integers in [0, K), or logits (N, K, H, W).
            label: (N, H, W) integers in [0, K), or `ignore_index`.

        Raises:
            ValueError: Shapes do not fit, or a value is out of range.
            TypeError: Labels are not integers.
        """
        self.confusion += count_pairs(prediction, label, self.num_classes, self.ignore_index).to(self.confusion.device)

    def set_dtype(self, dst_type: Any) -> ConfusionMatrixMetric:
        """Counts stay whole numbers: float16 would stop at 65504."""
        return self

    def compute(self) -> Any:
        """The counts so far: (matrices, K, K) int64, rows true and columns predicted classes."""
        return self.confusion.clone()


class SegmentationIoU(ConfusionMatrixMetric):
    """Mean intersection over union of a whole set, as Cityscapes scores it.

    One confusion matrix over all pixels of all images: not a mean of images' values.

    Args:
        num_classes: How many classes there are, K.
        ignore_index: True label of pixels that are not counted.

    Example:
        >>> metric = SegmentationIoU(num_classes=3)
        >>> metric.update(torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 255]]]))
        >>> scores = metric.compute()
        >>> scores["IoU"].tolist(), float(scores["mIoU"])
        ([0.5, 0.5, nan], 0.5)
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__(num_classes, ignore_index)

    def compute(self) -> dict[str, Tensor]:
        """`mIoU`, `accuracy`, `class_accuracy` and per-class `IoU` (K,): see `segmentation_scores`."""
        return segmentation_scores(self.confusion[0])
