"""Judge synthesized streets by the people and vehicles that a detector finds in them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pcpad.distributed import gathered, in_turns
from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.models.street_detector import OBJECTS, load_detector

__all__ = ["DetectionJudge", "street_objects"]

_UNKNOWN = 34  # a license plate in label maps, which instance maps do not have


class _Seen(NamedTuple):
    """One image's objects, and the detections in it and in the real image."""

    objects: dict[str, Tensor]
    fake: dict[str, Tensor]
    real: dict[str, Tensor]


class DetectionJudge:
    """Average precision of a detector's boxes in generated images, and in the real images of the same maps.

    COCO's box AP: the mean over IoU thresholds 0.50, 0.55, … 0.95 and over the classes that both the detector and the
    maps have. A COCO detector has no class for riders, who count neither in the mean nor as persons. Images are
    evaluated at the generator's size, H×W, against the boxes of the instance map, see `street_objects`. torchvision's
    limits apply: at most 100 boxes per image, with a score of at least 0.05. Not an `nn.Module`, so that the detector's
    weights stay out of its owner's checkpoints.

    Args:
        weights: See `load_detector`.

    Raises:
        ModuleNotFoundError: faster-coco-eval is not installed.
        FileNotFoundError: There is no such file.
        ValueError: The file holds other weights.
    """

    def __init__(self, weights: str | Path) -> None:
        if find_spec("faster_coco_eval") is None:
            message = "detAP needs faster-coco-eval: pip install 'pcpad[detection]'"
            raise UserModuleNotFoundError(message, name="faster_coco_eval")
        self.detector = load_detector(weights)
        self._seen: list[_Seen] = []
        self._size = (0, 0)

    def to(self, device: torch.device) -> DetectionJudge:
        """Move the network to a device."""
        self.detector.to(device)
        return self

    def update(self, image: Tensor, truth: Tensor, label: Tensor, instance: Tensor) -> None:
        """Add one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], generated.
            truth: (N, 3, H, W) in [0, 1], the real images.
            label: (N, 1, H, W), Cityscapes' label ids.
            instance: (N, 1, H, W), Cityscapes' instance ids.

        Raises:
            ValueError: The images' size differs from before, or the instance ids are not Cityscapes'.
        """
        size = (int(image.shape[-2]), int(image.shape[-1]))
        if self._seen and size != self._size:
            raise UserValueError(_sizes_differ(size, self._size))
        self._size = size
        objects = [self._known(one) for one in street_objects(label, instance)]
        finds = [[_on_cpu(one) for one in self.detector(images)] for images in (image, truth)]
        self._seen += [_Seen(*one) for one in zip(objects, *finds, strict=True)]

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores over all batches and processes, and reset.

        Returns:
            `PROTOCOL/detAP`, `PROTOCOL/detAP50` (at an IoU threshold of 0.50 alone) and, for the real images,
            `PROTOCOL/real_detAP`, `PROTOCOL/real_detAP50`, in [0, 1]; NaN if the maps have no object of the detector's
            classes. PROTOCOL names the detector and the images' size: `faster_rcnn_coco_256x512`.

        Raises:
            ValueError: The images' size differs between processes.
        """
        from torchmetrics.detection import MeanAveragePrecision

        # In the order of the data set, which is interleaved over processes: AP breaks ties by the order.
        parts = gathered((self._seen, self._size))
        seen = in_turns(part for part, _ in parts)
        self._seen = []
        sizes = sorted({size for part, size in parts if part}) or [self._size]
        if len(sizes) > 1:
            raise UserValueError(_sizes_differ(sizes[1], sizes[0]))
        protocol = f"{self.detector.name}_{sizes[0][0]}x{sizes[0][1]}"
        scores: dict[str, Tensor] = {}
        for prefix, kind in (("", "fake"), ("real_", "real")):
            # All processes have all data already. The metric's own synchronization runs image by image, and would hang
            # if processes have different numbers of images.
            metric = MeanAveragePrecision(backend="faster_coco_eval", sync_on_compute=False)
            metric.update([getattr(one, kind) for one in seen], [one.objects for one in seen])
            found = metric.compute()
            for name, key in (("detAP", "map"), ("detAP50", "map_50")):
                value = found[key].float()
                scores[f"{protocol}/{prefix}{name}"] = value.where(value >= 0, torch.nan)  # -1: no object
        return scores

    def _known(self, objects: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = torch.tensor([int(label) in self.detector.labels for label in objects["labels"]], dtype=torch.bool)
        return {name: values[kept] for name, values in objects.items()}


def _sizes_differ(size: tuple[int, int], other: tuple[int, int]) -> str:
    return f"Expected all images for detAP to have one size, but got {size} after {other}"


def street_objects(label: Tensor, instance: Tensor) -> list[dict[str, Tensor]]:
    """The boxes of people and vehicles in Cityscapes' maps.

    An instance id of 1000 or more is a single object with label id `instance // 1000`. A smaller one is the label id
    itself, for a group without separate objects: all of its pixels in an image form one box, which is marked as a
    crowd. Detections in a crowd are not counted as false, and the crowd need not be detected.

    Args:
        label: (N, 1, H, W) integers, label ids 0 … 33, or 34 for objects that the instance map does not have.
        instance: (N, 1, H, W) integers.

    Returns:
        Per image, on the CPU, in order of instance ids: `boxes` (M, 4) float, left, top, right and bottom edges in
        pixels; `labels` (M,), keys of `OBJECTS`; `iscrowd` (M,), 0 or 1; `area` (M,), in pixels.

    Raises:
        ValueError: The instance ids do not follow this scheme.

    Example:
        >>> instance = torch.tensor([[[[7, 26001, 26001], [26, 26, 7]]]])
        >>> objects = street_objects(torch.where(instance == 7, 7, 26), instance)[0]
        >>> objects["boxes"].tolist(), objects["iscrowd"].tolist()
        ([[0.0, 1.0, 2.0, 2.0], [1.0, 0.0, 3.0, 1.0]], [1, 0])
    """
    label, instance = label[:, 0].cpu().long(), instance[:, 0].cpu().long()
    meant = torch.where(instance >= 1000, instance // 1000, instance)
    wrong = (meant != label) & (label != _UNKNOWN) & ((label >= min(OBJECTS)) | (meant >= min(OBJECTS)))
    # A few wrong pixels are tolerated; ids of another scheme are wrong everywhere.
    if 2 * int(wrong.sum()) > int((label >= min(OBJECTS)).sum()):
        number, row, column = wrong.nonzero()[0].tolist()
        message = (
            f"Instance {int(instance[number, row, column])} at row {row}, column {column} of sample {number} has label "
            f"{int(label[number, row, column])}: detAP needs Cityscapes' ids, where a single object's id is 1000 times "
            "its label id plus a number, and a group's id is its label id"
        )
        raise UserValueError(message)
    return [_boxes(one) for one in instance]


def _boxes(instance: Tensor) -> dict[str, Tensor]:
    height, width = instance.shape
    ids, which, area = instance.unique(return_inverse=True, return_counts=True)
    rows = torch.arange(height).view(-1, 1).expand(height, width).reshape(-1)
    columns = torch.arange(width).expand(height, width).reshape(-1)
    edges = []
    for places in (columns, rows):
        first = torch.full_like(ids, max(height, width)).scatter_reduce(0, which.view(-1), places, "amin")
        last = torch.zeros_like(ids).scatter_reduce(0, which.view(-1), places, "amax")
        edges.append((first, last + 1))
    (left, right), (top, bottom) = edges
    labels = torch.where(ids >= 1000, ids // 1000, ids)
    kept = torch.isin(labels, torch.tensor(list(OBJECTS)))
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    found = {"boxes": boxes, "labels": labels, "iscrowd": (ids < 1000).long(), "area": area}
    return {name: values[kept] for name, values in found.items()}


def _on_cpu(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in found.items()}
