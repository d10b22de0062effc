"""Runs that would wait for a metric that is never logged are refused before they train."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim import SGD

from pcpad import configs, tasks
from pcpad.errors import UserValueError
from pcpad.tasks.callbacks import BestAndLast, RunResults
from pcpad.tasks.monitoring import known_names, refuse_unlogged

RECIPES = sorted(Path(configs.__path__[0]).glob("*.yaml"))
SMALL = {
    "ClassificationTask": {"network": "resnet18", "num_classes": 10},
    "SegmentationTask": {"architecture": "Unet", "encoder": "resnet18", "num_classes": 3},
    "ActionRecognitionTask": {"network": "resnet3d18", "num_classes": 6, "width": 2},
    "InpaintingTask": {"depth": 2, "width": 4},
    "SynthesisTask": {"ngf": 4, "ndf": 8, "num_labels": 3},
    "GaussianFilteringTask": {"width": 2},
    "AdaptationTask": {"network": "resnet18", "num_classes": 10},
}


def synthesis(**options):
    return tasks.SynthesisTask(**SMALL["SynthesisTask"], **options)


def run_with(*callbacks):
    return SimpleNamespace(callbacks=list(callbacks))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_watch_what_their_tasks_log(recipe):
    content = yaml.safe_load(recipe.read_text())
    model, monitor = content["model"], content["checkpoint"]["monitor"]
    kept = {name: model["init_args"][name] for name in ("loss_weights", "margin") if name in model["init_args"]}
    task = getattr(tasks, model["class_path"])(**SMALL[model["class_path"]] | kept)
    assert monitor in known_names(task, run_with())
    refuse_unlogged(task, run_with(BestAndLast(monitor), RunResults(monitor)))


@pytest.mark.faults
def test_a_term_that_is_not_computed_is_refused_before_training(tmp_path):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(**quiet, callbacks=[BestAndLast("val/vgg", "min", str(tmp_path))], num_sanity_val_steps=0)
    with pytest.raises(UserValueError, match=r"BestAndLast would wait for val/vgg.*it logs.*val/l1.*--checkpoint.mon"):
        trainer.fit(synthesis(loss_weights={"vgg": 0}), [{}], [{}])


def test_the_recipes_alternatives_without_vgg_are_accepted():
    refuse_unlogged(synthesis(loss_weights={"vgg": 0}), run_with(BestAndLast("val/l1", "min")))
    inpainting = tasks.InpaintingTask(**SMALL["InpaintingTask"], loss_weights={"perceptual": 0, "style": 0})
    refuse_unlogged(inpainting, run_with(BestAndLast("val/psnr")))


def test_miou_of_synthesis_needs_a_judge():
    assert "val/mIoU" not in known_names(synthesis(), run_with())
    assert "val/mIoU" in known_names(synthesis(judge="judge.pth"), run_with())


@pytest.mark.faults
def test_a_schedule_that_waits_for_another_metric_is_refused():
    task = tasks.GaussianFilteringTask(**SMALL["GaussianFilteringTask"])
    schedule = ReduceLROnPlateau(SGD(task.parameters(), lr=0.1), monitor="val/loss")
    waiting = SimpleNamespace(scheduler=schedule, monitor="val/loss", reduce_on_plateau=True)
    with pytest.raises(UserValueError, match="ReduceLROnPlateau would wait for val/loss"):
        refuse_unlogged(task, run_with(), [waiting])


class Mine(tasks.SynthesisTask):
    """A task that may log more than its base says."""


class Logs(Callback):
    """A callback that may log metrics of its own."""


@pytest.mark.parametrize("monitor", [None, "train/loss", "val/l1/dataloader_idx_1", "step"])
def test_other_names_are_accepted(monitor):
    refuse_unlogged(synthesis(), run_with(BestAndLast(monitor)))


def test_names_that_others_may_log_are_accepted():
    assert known_names(Mine(**SMALL["SynthesisTask"]), run_with()) is None
    assert known_names(synthesis(), run_with(Logs())) is None
    refuse_unlogged(Mine(**SMALL["SynthesisTask"]), run_with(BestAndLast("val/mine")))
    refuse_unlogged(synthesis(), run_with(BestAndLast("val/mine"), Logs()))
