"""What happens around a task: checkpoints, results, predictions."""

from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.inpainted import InpaintedPictures
from pcpad.tasks.callbacks.predictions import PredictionTable, VideoPredictionTable
from pcpad.tasks.callbacks.randomness import RandomState
from pcpad.tasks.callbacks.results import RunResults
from pcpad.tasks.callbacks.resume import OptimizerOnResume
from pcpad.tasks.callbacks.sample_images import SampleImages
from pcpad.tasks.callbacks.synthesized import SynthesizedPictures
from pcpad.tasks.evaluation.segmentation_files import EvaluationFiles

__all__ = [
    "BestAndLast",
    "EvaluationFiles",
    "InpaintedPictures",
    "OptimizerOnResume",
    "PredictionTable",
    "RandomState",
    "RunResults",
    "SampleImages",
    "SynthesizedPictures",
    "VideoPredictionTable",
]
