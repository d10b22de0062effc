"""Judging synthesized streets by the people and vehicles that a detector finds in them."""

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

_UNKNOWN = 34  # a license plate in label maps, which instance maps do not show


class _Seen(NamedTuple):
    """One image: what is in it, and what was found in it and in the real one."""

    objects: dict[str, Tensor]
    fake: dict[str, Tensor]
    real: dict[str, Tensor]


class DetectionJudge:
    """Average precision of a detector's boxes in generated images, and in the real ones of the same maps.

    COCO's box AP: the mean over overlaps 0.50, 0.55, … 0.95 and over the classes that the detector knows and the maps
    have. Riders are no class of a COCO detector and count neither in the mean nor as persons. Images are shown at the
    generator's size, H×W, and compared at it with the boxes of the instance map, see `street_objects`. At most 100
    boxes an image, of a score of at least 0.05, are torchvision's limits.
    No `nn.Module`, so that what holds it keeps the detector's weights out of checkpoints.

    Args:
        weights: See `load_detector`.

    Raises:
        ModuleNotFoundError: faster-coco-eval is not installed.
        FileNotFoundError: There is no such file.
        ValueError: A file of other weights.
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
        """Look at one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], generated.
            truth: (N, 3, H, W) in [0, 1], the real ones.
            label: (N, 1, H, W), Cityscapes' label ids.
            instance: (N, 1, H, W), Cityscapes' instance ids.

        Raises:
            ValueError: Images of another size than before, or no instance ids of Cityscapes'.
        """
        size = (int(image.shape[-2]), int(image.shape[-1]))
        if self._seen and size != self._size:
            raise UserValueError(_sizes_differ(size, self._size))
        self._size = size
        objects = [self._known(one) for one in street_objects(label, instance)]
        finds = [[_on_cpu(one) for one in self.detector(images)] for images in (image, truth)]
        self._seen += [_Seen(*one) for one in zip(objects, *finds, strict=True)]

    def compute(self) -> dict[str, Tensor]:
        """The scores over all that was looked at, over all processes, and a new start.

        Returns:
            `PROTOCOL/detAP`, `PROTOCOL/detAP50` (at overlap 0.50 alone) and, of the real images,
            `PROTOCOL/real_detAP`, `PROTOCOL/real_detAP50`, in [0, 1]; NaN where the maps have no object of a class
            that the detector knows. PROTOCOL names the detector and the images' size: `faster_rcnn_coco_256x512`.

        Raises:
            ValueError: The processes' images differ in size.
        """
        from torchmetrics.detection import MeanAveragePrecision

        # In the data's order, of which the processes took turns: AP breaks ties by it.
        parts = gathered((self._seen, self._size))
        seen = in_turns(part for part, _ in parts)
        self._seen = []
        sizes = sorted({size for part, size in parts if part}) or [self._size]
        if len(sizes) > 1:
            raise UserValueError(_sizes_differ(sizes[1], sizes[0]))
        protocol = f"{self.detector.name}_{sizes[0][0]}x{sizes[0][1]}"
        scores: dict[str, Tensor] = {}
        for prefix, kind in (("", "fake"), ("real_", "real")):
            # All processes have everything by now. The metric's own exchange goes image by image, and would wait
            # forever where processes have unequally many.
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
    return f"Expected images of one size for detAP, but got {size} after {other}"


def street_objects(label: Tensor, instance: Tensor) -> list[dict[str, Tensor]]:
    """The boxes of the people and vehicles of Cityscapes' maps.

    A pixel's instance id of 1000 or more is a single object of label id // 1000. A smaller one is the label id itself,
    of a group whose members are not told apart: all pixels of it in an image make one box, which is marked as a crowd.
    Boxes in a crowd are not held against a detector, and the crowd need not be found.

    Args:
        label: (N, 1, H, W) integers, label ids 0 … 33, or 34 for what the instance map does not show.
        instance: (N, 1, H, W) integers.

    Returns:
        For each image, on the CPU, by instance id: `boxes` (M, 4) float, left, top, right and bottom edges in pixels;
        `labels` (M,), keys of `OBJECTS`; `iscrowd` (M,), 0 or 1; `area` (M,), how many pixels.

    Raises:
        ValueError: The instance ids are not made of the label ids in this way.

    Example:
        >>> instance = torch.tensor([[[[7, 26001, 26001], [26, 26, 7]]]])
        >>> objects = street_objects(torch.where(instance == 7, 7, 26), instance)[0]
        >>> objects["boxes"].tolist(), objects["iscrowd"].tolist()
        ([[0.0, 1.0, 2.0, 2.0], [1.0, 0.0, 3.0, 1.0]], [1, 0])
    """
    label, instance = label[:, 0].cpu().long(), instance[:, 0].cpu().long()
    meant = torch.where(instance >= 1000, instance // 1000, instance)
    wrong = (meant != label) & (label != _UNKNOWN) & ((label >= min(OBJECTS)) | (meant >= min(OBJECTS)))
    # A stray pixel stops no test; ids of another kind are wrong everywhere.
    if 2 * int(wrong.sum()) > int((label >= min(OBJECTS)).sum()):
        number, row, column = wrong.nonzero()[0].tolist()
        message = (
            f"Instance {int(instance[number, row, column])} at row {row}, column {column} of sample {number} has label "
            f"{int(label[number, row, column])}: detAP needs Cityscapes' ids, where single objects are 1000 times "
            "their label id and a number, and groups of objects their label id"
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
