"""Metrics as torchmetrics classes: exact over a whole set and over processes."""

from pcpad.metrics.band_error import BandError
from pcpad.metrics.border import BorderIoU
from pcpad.metrics.confusion import ConfusionMatrixMetric, SegmentationIoU
from pcpad.metrics.inpainting import InpaintingScores
from pcpad.metrics.precision import KeepsPrecision
from pcpad.metrics.video import VideoAccuracy

__all__ = [
    "BandError",
    "BorderIoU",
    "ConfusionMatrixMetric",
    "InpaintingScores",
    "KeepsPrecision",
    "SegmentationIoU",
    "VideoAccuracy",
]
