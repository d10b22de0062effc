"""Detect people and vehicles in street scenes with torchvision's Faster R-CNN, as Cityscapes' classes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.models.classifiers import read_published_or_own
from pcpad.models.weights import load_state

__all__ = ["OBJECTS", "StreetDetector", "load_detector"]

OBJECTS = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Cityscapes' label ids of classes with instances that are evaluated."""

# COCO's category ids. COCO has no riders: a rider is a person there, and the bicycle or motorcycle another object.
_FROM_COCO = {1: 24, 2: 33, 3: 26, 4: 32, 6: 28, 7: 31, 8: 27}
_COCO_CLASSES = 91
_HEAD = "roi_heads.box_predictor.cls_score.weight"


class StreetDetector(nn.Module):
    """A torchvision detector whose detections have Cityscapes' label ids.

    Args:
        network: Maps a list of images (3, H, W) in [0, 1] to dicts of `boxes`, `labels` and `scores`.
        labels: Label ids by the network's class numbers; detections of other classes are left out.
        name: A short name, for the names of scores.
    """

    def __init__(self, network: nn.Module, labels: dict[int, int], name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.labels = frozenset(labels.values())
        self._from_class = dict(labels)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Detect objects, in float32 even with mixed precision.

        Args:
            image: (N, 3, H, W), RGB in [0, 1]. The network resizes it itself: the shorter side to 800 pixels, or the
                longer one to 1333 if that is smaller.

        Returns:
            Per image `boxes` (M, 4), left, top, right and bottom in pixels of the image; `labels` (M,), keys of
            `OBJECTS`; `scores` (M,) in [0, 1], in descending order.
        """
        with torch.autocast(image.device.type, enabled=False):
            found = self.network(list(image.float()))
        finds = []
        for one in found:
            labels = torch.zeros_like(one["labels"])
            for number, label in self._from_class.items():
                labels[one["labels"] == number] = label
            kept = labels > 0
            finds.append({"boxes": one["boxes"][kept], "labels": labels[kept], "scores": one["scores"][kept]})
        return finds


def load_detector(weights: str | Path = "published") -> StreetDetector:
    """Load a Faster R-CNN with a ResNet-50 feature pyramid network (`fasterrcnn_resnet50_fpn`).

    Weights without batch norm counters were trained with frozen statistics, like torchvision's, and run with ε = 0, as
    in torchvision; others with batch norm's default of 1e-5.

    Args:
        weights: `published` for torchvision's COCO weights, from torchvision's cache; or a local file with these or
            your own weights, for 91 classes (COCO's) or 9: background, then those of `OBJECTS` in that order. Nothing
            is downloaded.

    Returns:
        The detector, frozen, in evaluation mode. With COCO's classes it detects seven of `OBJECTS`, all but riders.

    Raises:
        FileNotFoundError: There is no such file; the message says how to get it.
        ValueError: The file contains code, or holds another network or other classes.
    """
    try:
        state, path = read_published_or_own(weights, "fasterrcnn_resnet50_fpn", "COCO_V1", "detector")
    except FileNotFoundError as error:
        message = (
            f"{error} Expected the detector of people and vehicles: torchvision's fasterrcnn_resnet50_fpn, published "
            "or your own."
        )
        raise UserFileNotFoundError(message) from error
    heads = [value for name, value in state.items() if name.endswith(_HEAD)]
    if len(heads) != 1:
        message = f"{path} is not a Faster R-CNN of torchvision: expected one `{_HEAD}`, but got {len(heads)}"
        raise UserValueError(message)
    classes = len(heads[0])
    if classes == _COCO_CLASSES:
        labels, name = _FROM_COCO, "faster_rcnn_coco"
    elif classes == 1 + len(OBJECTS):
        labels, name = dict(enumerate(OBJECTS, start=1)), "faster_rcnn_cityscapes"
    else:
        message = (
            f"The detector {path} has {classes} classes: expected {_COCO_CLASSES}, COCO's, or "
            f"{1 + len(OBJECTS)}, background and {', '.join(OBJECTS.values())} in this order"
        )
        raise UserValueError(message)
    frozen = not any(one.endswith("num_batches_tracked") for one in state)
    norm = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm)
    network = load_state(FasterRCNN(backbone, num_classes=classes), state, path)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0  # they were trained this way: https://github.com/pytorch/vision/pull/2940
    return StreetDetector(network, labels, name).requires_grad_(False).eval()
