"""torchvision's DeepLabV3 and FCN with a chosen padding."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserValueError, did_you_mean
from pcpad.models.classifiers import published_file
from pcpad.models.heads import check_head, head_of
from pcpad.models.weights import convert_and_load, encoder_state, fit_names, read_weights, unwrap

if TYPE_CHECKING:
    from pcpad.models.heads import Head

__all__ = ["TorchvisionSegmentation", "torchvision_segmentation"]

# Used there in training only; published files contain it.
_AUXILIARY = "aux_classifier."
_KINDS = ("deeplabv3", "fcn")


def torchvision_segmentation(
    architecture: str,
    encoder: str = "resnet50",
    num_classes: int = 21,
    padding: str = "partial",
    encoder_weights: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    head: Head | None = None,
    fallback: str | None = None,
) -> TorchvisionSegmentation:
    """Build a segmentation network of torchvision and give its convolutions a padding.

    Args:
        architecture: `deeplabv3` or `fcn`.
        encoder: `resnet50` or `resnet101`; for `deeplabv3` also `mobilenet_v3_large`.
        num_classes: Logits per pixel.
        padding: One of `pcpad.padding_names()`.
        encoder_weights: For the encoder alone: a classifier's local file, or `imagenet` or the name of a torchvision
            weight set for the file in torchvision's cache.
        weights: For the whole network: a local file, or `published` or a set's name (`COCO_WITH_VOC_LABELS_V1`) for the
            file in torchvision's cache. Auxiliary classifiers, which only training uses, are left out.
        head: `new` leaves the last layer of `weights` out: it is for other classes.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.

    Returns:
        The network, from `(N, 3, H, W)` floats to `(N, num_classes, H, W)` logits.

    Raises:
        ValueError: There is no such network or padding, or the weights do not fit.
        FileNotFoundError: There is no such weight file.
    """
    from torchvision import models

    name = f"{architecture}_{encoder}"
    known = [one for one in models.list_models(module=models.segmentation) if one.split("_")[0] in _KINDS]
    if name not in known:
        near = did_you_mean(name, known, most=3, cutoff=0.5, between=", ")
        message = f"torchvision has no {architecture!r} on {encoder!r}: expected one of {', '.join(known)}.{near}"
        raise UserValueError(message)
    check_num_classes(num_classes)
    check_head(head, weights)
    made = models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False)
    model = TorchvisionSegmentation(made.backbone, made.classifier)
    if weights is not None:
        state = unwrap(read_weights(_file(name, weights)), str(weights))
        state = {key: value for key, value in state.items() if f".{_AUXILIARY}" not in f".{key}"}
        left_out = head_of(model, num_classes) if head else ()
        fit, source = partial(fit_names, state=state), f"weights={str(weights)!r}"
        convert_and_load(model, padding, fallback, fit, source, left_out=left_out, file=weights)
        return model
    parts = [part for part, _ in model.backbone.named_children()]
    fit_encoder = None if encoder_weights is None else encoder_state(_encoder_file(encoder, encoder_weights), parts)
    convert_and_load(model, padding, fallback, fit_encoder, f"encoder_weights={encoder_weights!r}", into=model.backbone)
    return model


class TorchvisionSegmentation(nn.Module):
    """A backbone and a classifier; returns only the logits, resized to the image's size.

    Args:
        backbone: Returns a dict with `out`.
        classifier: Maps `out` to logits.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) for normalized images (N, 3, H, W)."""
        logits = self.classifier(self.backbone(image)["out"])
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _file(name: str, weights: str | Path) -> Path:
    from torchvision import models

    named = weights == "published" or weights in models.get_model_weights(name).__members__
    return published_file(name, str(weights)) if named else Path(weights)


def _encoder_file(encoder: str, weights: str | Path) -> Path:
    from torchvision import models

    name = "IMAGENET1K_V1" if weights == "imagenet" else str(weights)
    if name in models.get_model_weights(encoder).__members__:
        return published_file(encoder, name, "encoder_weights")
    return Path(weights)
