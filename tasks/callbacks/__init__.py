"""Callbacks around a task: checkpoints, results, predictions, sample pictures.

This folder holds Lightning callbacks. Test results are reported by `pcpad.tasks.evaluation`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.tasks.callbacks.checkpoint import BestAndLast as BestAndLast
    from pcpad.tasks.callbacks.inpainted import InpaintedPictures as InpaintedPictures
    from pcpad.tasks.callbacks.interruption import Interruption as Interruption
    from pcpad.tasks.callbacks.label_maps import LabelMaps as LabelMaps
    from pcpad.tasks.callbacks.last_state import LastState as LastState
    from pcpad.tasks.callbacks.per_image import PerImage as PerImage
    from pcpad.tasks.callbacks.predictions import PredictionTable as PredictionTable
    from pcpad.tasks.callbacks.predictions import VideoPredictionTable as VideoPredictionTable
    from pcpad.tasks.callbacks.randomness import RandomState as RandomState
    from pcpad.tasks.callbacks.results import RunResults as RunResults
    from pcpad.tasks.callbacks.resume import OptimizerOnResume as OptimizerOnResume
    from pcpad.tasks.callbacks.sample_images import SampleImages as SampleImages
    from pcpad.tasks.callbacks.synthesized import SynthesizedPictures as SynthesizedPictures
    from pcpad.tasks.evaluation.files import EvaluationFiles as EvaluationFiles

    __all__: list[str]
else:
    from pcpad._lazy import attach

    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "BestAndLast": "pcpad.tasks.callbacks.checkpoint",
            "EvaluationFiles": "pcpad.tasks.evaluation.files",
            "InpaintedPictures": "pcpad.tasks.callbacks.inpainted",
            "Interruption": "pcpad.tasks.callbacks.interruption",
            "LabelMaps": "pcpad.tasks.callbacks.label_maps",
            "LastState": "pcpad.tasks.callbacks.last_state",
            "OptimizerOnResume": "pcpad.tasks.callbacks.resume",
            "PerImage": "pcpad.tasks.callbacks.per_image",
            "PredictionTable": "pcpad.tasks.callbacks.predictions",
            "RandomState": "pcpad.tasks.callbacks.randomness",
            "RunResults": "pcpad.tasks.callbacks.results",
            "SampleImages": "pcpad.tasks.callbacks.sample_images",
            "SynthesizedPictures": "pcpad.tasks.callbacks.synthesized",
            "VideoPredictionTable": "pcpad.tasks.callbacks.predictions",
        },
    )
