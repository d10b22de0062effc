"""Judge synthesized streets by a segmentation network's predictions for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import at_home
from pcpad.metrics.confusion import SegmentationIoU
from pcpad.models.drn import drn_d_105
from pcpad.models.weights import load_weights, read_weights
from pcpad.tasks.base import unit
from pcpad.tasks.segmentation import IGNORE, SegmentationTask

PROTOCOLS = ("upsample_image", "upsample_logits", "downsample_labels")
"""How images are compared with larger labels; published numbers differ in this."""

_DRN_MEAN, _DRN_STD = (0.2901, 0.3281, 0.2870), (0.1830, 0.1866, 0.1845)


class SegmentationJudge:
    """mIoU and pixel accuracy of a segmentation network on generated images, and on the real images of the same maps.

    The protocols: `upsample_image` resizes the image (bilinear) to the labels' original size before the judge sees it;
    `upsample_logits` resizes the logits instead; `downsample_labels` compares at the image's size. Not an `nn.Module`,
    so that the judge's weights stay out of its owner's checkpoints.

    Args:
        weights: A checkpoint of this suite's segmentation task, or the public DRN-D-105 of Cityscapes
            (`drn-d-105_ms_cityscapes.pth`).
        train_ids: The judge's class of each label, or 255 for none; None if the data does not define them.
        protocols: One or more.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An unknown protocol, a file of other weights, or more classes than the judge has.
    """

    def __init__(self, weights: str | Path, train_ids: Sequence[int] | None, protocols: Sequence[str]) -> None:
        check_protocols(protocols)
        if train_ids is None:
            message = "A judge needs the class of each label: use a data module with `train_ids`"
            raise UserValueError(message)
        self.protocols = tuple(protocols)
        self.name = Path(weights).name
        self.network, classes = load_judge(weights)
        known = 1 + max((one for one in train_ids if one != IGNORE), default=0)
        if known > classes:
            message = f"The data has {known} evaluated classes, but the judge {weights} has {classes}"
            raise UserValueError(message)
        self._train_ids = torch.tensor(train_ids)
        # One metric per kind of images and protocol.
        self.metrics = {
            (kind, name): SegmentationIoU(classes, IGNORE) for kind in ("fake", "real") for name in self.protocols
        }

    def to(self, device: torch.device) -> SegmentationJudge:
        """Move the network and the counts to a device."""
        self.network.to(device)
        self._train_ids = self._train_ids.to(device)
        for metric in self.metrics.values():
            metric.to(device)
        return self

    @torch.no_grad()
    def update(self, image: Tensor, truth: Tensor, label: Tensor, label_full: Tensor | None = None) -> None:
        """Add one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], generated.
            truth: (N, 3, H, W) in [0, 1], the real images.
            label: (N, 1, H, W), the labels.
            label_full: (N, 1, H0, W0), the labels at their original size, for the protocols that upsample.

        Raises:
            ValueError: `label_full` is missing.
        """
        for kind, images in (("fake", image), ("real", truth)):
            logits = None
            for protocol in self.protocols:
                target = label if protocol == "downsample_labels" else label_full
                if target is None:
                    message = f"The protocol {protocol} needs the labels at their original size, `label_full`"
                    raise UserValueError(message)
                wanted = self._train_ids[target[:, 0].long()]
                size = (int(target.shape[-2]), int(target.shape[-1]))
                if protocol == "upsample_image":
                    seen = self.network(_resized(images, size)).float()
                else:
                    logits = self.network(images).float() if logits is None else logits
                    seen = logits if protocol == "downsample_labels" else _resized(logits, size)
                self.metrics[kind, protocol].update(seen, wanted)

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores over all batches and processes, and reset.

        Returns:
            `PROTOCOL/mIoU`, `PROTOCOL/accuracy`, and `PROTOCOL/real_mIoU`, `PROTOCOL/real_accuracy`; in [0, 1].
        """
        scores: dict[str, Tensor] = {}
        for (kind, protocol), metric in self.metrics.items():
            found = metric.compute()
            prefix = "real_" if kind == "real" else ""
            scores |= {f"{protocol}/{prefix}{name}": found[name].float() for name in ("mIoU", "accuracy")}
            metric.reset()
        return scores


class _DrnJudge(nn.Module):
    """DRN-D-105 with the normalization it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.network = load_weights(drn_d_105(), weights)
        self.register_buffer("mean", torch.tensor(_DRN_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(_DRN_STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network((unit(image) - self.mean) / self.std)
        return logits


def load_judge(weights: str | Path) -> tuple[nn.Module, int]:
    """Load a judge.

    Args:
        weights: See `SegmentationJudge`.

    Returns:
        The network from images in [0, 1] to logits of their size, frozen, in evaluation mode; and its number of
        classes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds something else.
    """
    path = at_home(weights)
    try:
        content = read_weights(path)
    except FileNotFoundError as error:
        message = (
            f"{error} Expected a judge of synthesized images: a checkpoint of this suite's segmentation (pcpad fit "
            "--config seg_demo.yaml), or the public drn-d-105_ms_cityscapes.pth."
        )
        raise UserFileNotFoundError(message) from error
    settings = content.get("hyper_parameters")
    judge: nn.Module
    if isinstance(settings, dict):
        if not str(settings.get("_class_path", "")).endswith(".SegmentationTask"):
            message = f"Expected a checkpoint of SegmentationTask, but {path} is one of {settings.get('_class_path')}"
            raise UserValueError(message)
        training = {"optimizer", "scheduler", "encoder_weights"}
        kept = {name: value for name, value in settings.items() if name not in training and name[0] != "_"}
        judge = SegmentationTask(**kept)
        if not isinstance(content.get("state_dict"), dict):
            message = f"{path} is a checkpoint without weights: it has no `state_dict`"
            raise UserValueError(message)
        judge.load_state_dict(content["state_dict"])
        classes = judge.num_classes or 0
    else:
        judge, classes = _DrnJudge(path), 19
    return judge.requires_grad_(False).eval(), classes


def check_protocols(protocols: Sequence[str]) -> None:
    """Refuse unknown protocols.

    Raises:
        ValueError: A protocol is unknown, or there is none.
    """
    if not protocols or isinstance(protocols, str) or not set(protocols) <= set(PROTOCOLS):
        message = f"Expected argument `protocols` to be a list of some of {', '.join(PROTOCOLS)}, but got {protocols}"
        raise UserValueError(message)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
