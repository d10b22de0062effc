"""All that judges synthesized images in a test: segmentation, detection, Inception."""

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
        """Show them one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], generated; where it is, the judges go.
            truth: (N, 3, H, W) in [0, 1], the real ones.
            batch: Holds `label` and `instance`, (N, 1, H, W), and `label_full` where there is one.
        """
        if self.segmentation is not None:
            self.segmentation.to(image.device).update(image, truth, batch["label"], batch.get("label_full"))
        if self.detection is not None:
            self.detection.to(image.device).update(image, truth, batch["label"], batch["instance"])
        if self.inception is not None:
            self.inception.to(image.device).update(image, truth)

    def compute(self) -> dict[str, Tensor]:
        """Their scores by name, over all processes; after it they start again."""
        scores: dict[str, Tensor] = {}
        for judge in (self.segmentation, self.detection, self.inception):
            if judge is not None:
                scores |= judge.compute()
        if self.inception is not None:
            self.inception.reset()
        return scores


@dataclass(frozen=True)
class JudgeFiles:
    """Which judges a task is to have, and where their weights are.

    Args:
        segmentation: See `SegmentationJudge`; None for no such judge, as for the others.
        protocols: How it compares.
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
        """Load what a stage needs: all of them for `test`, segmentation by the first protocol where validating.

        Args:
            stage: "fit", "validate", "test" or "predict".
            train_ids: For each label the segmentation judge's class; None where the data does not say.

        Returns:
            The judges.

        Raises:
            FileNotFoundError: A file is missing.
            ModuleNotFoundError: An optional package is.
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
