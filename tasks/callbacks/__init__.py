"""What happens around a task: checkpoints, results, predictions, pictures.

At home here: Lightning callbacks. What a test found is told by `pcpad.tasks.evaluation`.
"""

from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.inpainted import InpaintedPictures
from pcpad.tasks.callbacks.label_maps import LabelMaps
from pcpad.tasks.callbacks.predictions import PredictionTable, VideoPredictionTable
from pcpad.tasks.callbacks.randomness import RandomState
from pcpad.tasks.callbacks.results import RunResults
from pcpad.tasks.callbacks.resume import OptimizerOnResume
from pcpad.tasks.callbacks.sample_images import SampleImages
from pcpad.tasks.callbacks.synthesized import SynthesizedPictures
from pcpad.tasks.evaluation.files import EvaluationFiles

__all__ = [
    "BestAndLast",
    "EvaluationFiles",
    "InpaintedPictures",
    "LabelMaps",
    "OptimizerOnResume",
    "PredictionTable",
    "RandomState",
    "RunResults",
    "SampleImages",
    "SynthesizedPictures",
    "VideoPredictionTable",
]
