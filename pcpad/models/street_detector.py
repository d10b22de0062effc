"""Finding people and vehicles in pictures of streets: torchvision's Faster R-CNN, its classes told as Cityscapes'."""

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
"""Cityscapes' label ids whose single objects are told apart and evaluated."""

# COCO's category ids. It has no rider: a rider is a person there, on a bicycle or motorcycle of its own.
_FROM_COCO = {1: 24, 2: 33, 3: 26, 4: 32, 6: 28, 7: 31, 8: 27}
_COCO_CLASSES = 91
_HEAD = "roi_heads.box_predictor.cls_score.weight"


class StreetDetector(nn.Module):
    """A detector of torchvision's kind whose finds are told as Cityscapes' label ids.

    Args:
        network: From a list of images (3, H, W) in [0, 1] to dicts of `boxes`, `labels` and `scores`.
        labels: The label id of each of its classes but background, by its own number; others are left out.
        name: Short, for the names of scores.
    """

    def __init__(self, network: nn.Module, labels: dict[int, int], name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.labels = frozenset(labels.values())
        self._from_class = dict(labels)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Look for objects; in float32, also where mixed precision is on.

        Args:
            image: (N, 3, H, W), RGB in [0, 1]. The network enlarges it itself, the shorter side to 800 pixels or the
                longer to 1333, whichever comes first.

        Returns:
            For each image `boxes` (M, 4), left, top, right and bottom in the image's own pixels; `labels` (M,), keys
            of `OBJECTS`; `scores` (M,) in [0, 1], falling.
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
    """Load a Faster R-CNN with ResNet-50 and feature pyramid (`fasterrcnn_resnet50_fpn`).

    Weights without batch-norm counters were trained with frozen statistics, as torchvision's are, and run with ε = 0,
    as torchvision runs them; others with batch norm's usual 1e-5.

    Args:
        weights: `published` for torchvision's COCO weights, from torchvision's own cache; or a local file with these
            or with your own, of 91 classes (COCO's) or of 9: background, then those of `OBJECTS` in that order.
            Nothing is fetched.

    Returns:
        The detector, frozen, in evaluation mode. Of COCO's classes seven are told; it has no rider.

    Raises:
        FileNotFoundError: The file is not there; the message says how to get it.
        ValueError: The file carries code, or holds another network or other classes.
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
        message = f"{path} is no Faster R-CNN of torchvision's: expected one `{_HEAD}`, but it has {len(heads)}"
        raise UserValueError(message)
    classes = len(heads[0])
    if classes == _COCO_CLASSES:
        labels, name = _FROM_COCO, "faster_rcnn_coco"
    elif classes == 1 + len(OBJECTS):
        labels, name = dict(enumerate(OBJECTS, start=1)), "faster_rcnn_cityscapes"
    else:
        message = (
            f"The detector {path} tells {classes} classes apart: expected {_COCO_CLASSES}, COCO's, or "
            f"{1 + len(OBJECTS)}, background and {', '.join(OBJECTS.values())} in this order"
        )
        raise UserValueError(message)
    frozen = not any(one.endswith("num_batches_tracked") for one in state)
    norm = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm)
    network = load_state(FasterRCNN(backbone, num_classes=classes), state, path)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0  # they were trained so: https://github.com/pytorch/vision/pull/2940
    return StreetDetector(network, labels, name).requires_grad_(False).eval()
