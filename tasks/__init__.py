"""LightningModules, one task a file. A batch's form is stated in each class's docstring."""

from pcpad.tasks.action_recognition import ActionRecognitionTask
from pcpad.tasks.classification import ClassificationTask
from pcpad.tasks.gaussian_filtering import GaussianFilteringTask
from pcpad.tasks.inpainting import InpaintingTask
from pcpad.tasks.segmentation import SegmentationTask
from pcpad.tasks.synthesis import SynthesisTask

__all__ = [
    "ActionRecognitionTask",
    "ClassificationTask",
    "GaussianFilteringTask",
    "InpaintingTask",
    "SegmentationTask",
    "SynthesisTask",
]
