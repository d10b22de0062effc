"""Tasks: LightningModules that the command trains, tests, applies and compares, one per file.

This folder holds the network, its loss, its metrics and its steps; what all tasks share is in `base`. The networks,
losses and metrics themselves belong to the layer package. Each class's docstring states the form of its batches.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.tasks.action_recognition import ActionRecognitionTask as ActionRecognitionTask
    from pcpad.tasks.adaptation import AdaptationTask as AdaptationTask
    from pcpad.tasks.base import Task as Task
    from pcpad.tasks.classification import ClassificationTask as ClassificationTask
    from pcpad.tasks.gaussian_filtering import GaussianFilteringTask as GaussianFilteringTask
    from pcpad.tasks.inpainting import InpaintingTask as InpaintingTask
    from pcpad.tasks.segmentation import SegmentationTask as SegmentationTask
    from pcpad.tasks.synthesis import SynthesisTask as SynthesisTask

    __all__: list[str]
else:
    from pcpad._lazy import attach

    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ActionRecognitionTask": "pcpad.tasks.action_recognition",
            "AdaptationTask": "pcpad.tasks.adaptation",
            "ClassificationTask": "pcpad.tasks.classification",
            "GaussianFilteringTask": "pcpad.tasks.gaussian_filtering",
            "InpaintingTask": "pcpad.tasks.inpainting",
            "SegmentationTask": "pcpad.tasks.segmentation",
            "SynthesisTask": "pcpad.tasks.synthesis",
            "Task": "pcpad.tasks.base",
        },
    )
