"""Metrics as torchmetrics classes, of a whole set and over all processes rather than means of batches."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.metrics.band_error import BandError as BandError
    from pcpad.metrics.border import BorderIoU as BorderIoU
    from pcpad.metrics.confusion import ConfusionMatrixMetric as ConfusionMatrixMetric
    from pcpad.metrics.confusion import SegmentationIoU as SegmentationIoU
    from pcpad.metrics.inpainting import InpaintingScores as InpaintingScores
    from pcpad.metrics.precision import KeepsPrecision as KeepsPrecision
    from pcpad.metrics.precision import SampleMean as SampleMean
    from pcpad.metrics.teaching_error import TeachingError as TeachingError
    from pcpad.metrics.video import VideoAccuracy as VideoAccuracy

    __all__: list[str]
else:
    from pcpad._lazy import attach as _attach

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "BandError": "pcpad.metrics.band_error",
            "BorderIoU": "pcpad.metrics.border",
            "ConfusionMatrixMetric": "pcpad.metrics.confusion",
            "InpaintingScores": "pcpad.metrics.inpainting",
            "KeepsPrecision": "pcpad.metrics.precision",
            "SampleMean": "pcpad.metrics.precision",
            "SegmentationIoU": "pcpad.metrics.confusion",
            "TeachingError": "pcpad.metrics.teaching_error",
            "VideoAccuracy": "pcpad.metrics.video",
        },
    )
