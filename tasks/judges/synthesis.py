"""All judges of synthesized images: segmentation, detection, Inception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pcpad.tasks.judges.detection import DetectionJudge
from pcpad.tasks.judges.inception import InceptionJudge
from pcpad.tasks.judges.segmentation import SegmentationJudge, check_protocols


@dataclass(frozen=True)
class SynthesisJudges:
    """The judges of a stage; each may be None.

    Args:
        segmentation: For mIoU and accuracy, see `SegmentationJudge`.
        detection: For detAP, see `DetectionJudge`.
        inception: For FID and the Inception Score, see `InceptionJudge`.
    """

    segmentation: SegmentationJudge | None = None
    detection: DetectionJudge | None = None
    inception: InceptionJudge | None = None

    def update(self, image: Tensor, truth: Tensor, batch: Mapping[str, Any]) -> None:
        """Add one batch to all judges.

        Args:
            image: (N, 3, H, W) in [0, 1], generated; the judges move to its device.
            truth: (N, 3, H, W) in [0, 1], the real images.
            batch: Holds `label` and `instance`, (N, 1, H, W), and optionally `label_full`.
        """
        if self.segmentation is not None:
            self.segmentation.to(image.device).update(image, truth, batch["label"], batch.get("label_full"))
        if self.detection is not None:
            self.detection.to(image.device).update(image, truth, batch["label"], batch["instance"])
        if self.inception is not None:
            self.inception.to(image.device).update(image, truth)

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores by name over all processes, and reset."""
        scores: dict[str, Tensor] = {}
        for judge in (self.segmentation, self.detection, self.inception):
            if judge is not None:
                scores |= judge.compute()
        if self.inception is not None:
            self.inception.reset()
        return scores


@dataclass(frozen=True)
class JudgeFiles:
    """The judges of a task, and the files of their weights.

    Args:
        segmentation: See `SegmentationJudge`; None for no such judge, also for the others.
        protocols: The segmentation judge's protocols.
        detection: See `DetectionJudge`.
        inception: See `InceptionJudge`.

    Raises:
        ValueError: An unknown protocol.
    """

    segmentation: str | None
    protocols: Sequence[str]
    detection: str | None
    inception: str | None

    def __post_init__(self) -> None:
        check_protocols(self.protocols)

    def read(self, stage: str, train_ids: Sequence[int] | None) -> SynthesisJudges:
        """Load the judges of a stage: all of them for `test`, segmentation with the first protocol for validation.

        Args:
            stage: "fit", "validate", "test" or "predict".
            train_ids: The segmentation judge's class of each label; None if the data does not define them.

        Returns:
            The judges.

        Raises:
            FileNotFoundError: A file is missing.
            ModuleNotFoundError: An optional package is missing.
            ValueError: A file holds something else, or a judge does not fit the data.
        """
        if stage == "predict":
            return SynthesisJudges()
        test, segmentation = stage == "test", None
        if self.segmentation is not None:
            protocols = self.protocols if test else self.protocols[:1]
            segmentation = SegmentationJudge(self.segmentation, train_ids, protocols)
        return SynthesisJudges(
            segmentation,
            DetectionJudge(self.detection) if test and self.detection is not None else None,
            InceptionJudge(self.inception) if test and self.inception is not None else None,
        )
