"""Every number that the tasks log says its unit, and which direction is better."""

import json
from types import SimpleNamespace

import pytest
import torch

from pcpad.tasks import (
    ActionRecognitionTask,
    ClassificationTask,
    GaussianFilteringTask,
    InpaintingTask,
    SegmentationTask,
    SynthesisTask,
)
from pcpad.tasks.callbacks import RunResults
from pcpad.tasks.evaluation.metric_names import meaning_of

pytestmark = pytest.mark.faults
FRACTION = ("fraction of 1", "higher")
SQUARE = ("square of the value range", "lower")
LOGGED = {
    ClassificationTask: {"loss": ("nats", "lower"), "top1": FRACTION, "top5": FRACTION},
    ActionRecognitionTask: {"clip_top1": FRACTION, "video_top5": FRACTION, "videos": ("count", None)},
    SegmentationTask: {"mIoU": FRACTION, "IoU/road": FRACTION, "border_tile1024/leave_0.500/class_accuracy": FRACTION},
    InpaintingTask: {
        "l1/0.01-0.20": ("percent of the value range", "lower"),
        "psnr/0.10-0.20/border": ("dB", "higher"),
        "ssim": ("similarity, at most 1", "higher"),
        "fid": ("distance between features", "lower"),
    },
    SynthesisTask: {
        "l1": ("value range", "lower"),
        "upsample_image/real_mIoU": FRACTION,
        "faster_rcnn_coco_256x512/detAP50": FRACTION,
        "inception_score": ("exp(nats)", "higher"),
    },
    GaussianFilteringTask: {"mse": SQUARE, "border_mse": SQUARE},
}


@pytest.mark.parametrize("task", LOGGED, ids=lambda task: task.__name__)
def test_numbers_of(task):
    for name, (unit, better) in LOGGED[task].items():
        assert meaning_of(f"test/{name}", task.units) == {"unit": unit, "better": better}


def test_results_say_what_their_numbers_mean(tmp_path):
    task = GaussianFilteringTask(width=4)
    metrics = {"test/mse": torch.tensor(0.5), "test/own": torch.tensor(1.0)}
    trainer = SimpleNamespace(callback_metrics=metrics, ckpt_path=None, log_dir=str(tmp_path), is_global_zero=True)
    RunResults().on_test_end(trainer, task)
    written = json.loads((tmp_path / "results.json").read_text())["test"]
    assert written["meanings"] == {
        "test/mse": {"unit": "square of the value range", "better": "lower"},
        "test/own": {"unit": None, "better": None},
    }
